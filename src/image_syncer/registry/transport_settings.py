"""How the requests to one registry travel: certificates, proxy, addresses, timeouts and headers."""

from typing import Final, Literal

from image_syncer.oci.reference import DOCKER_HUB
from image_syncer.structs import Struct, field

Direction = Literal["up", "down"]
"""To a registry, or from it."""

_DOCKER_HUB_API: Final = "registry-1.docker.io"


def api_host(registry: str) -> str:
    """Return the host that requests to *registry* go to: Docker Hub has another one than its name."""
    return _DOCKER_HUB_API if registry == DOCKER_HUB else registry


class ClientCertificate(Struct):
    """The paths of a client certificate and of its private key, both in PEM form."""

    certificate: str
    key: str


class BandwidthHours(Struct):
    """Bytes per second from the minute *begin* of the day until before *end*, perhaps over midnight; None: no limit."""

    begin: int
    end: int
    up: int | None = None
    down: int | None = None

    def contains(self, minute: int) -> bool:
        """Whether *minute* of the day, local time, is one of these."""
        if self.begin < self.end:
            return self.begin <= minute < self.end
        return minute >= self.begin or minute < self.end


class Bandwidth(Struct):
    """The most bytes per second that are sent (*up*) and received (*down*); None: no limit. *hours* come first."""

    up: int | None = None
    down: int | None = None
    hours: tuple[BandwidthHours, ...] = ()

    def rate(self, direction: Direction, minute: int) -> int | None:
        """Return the bytes per second at *minute* of the day; None without a limit."""
        current = next((hours for hours in self.hours if hours.contains(minute)), self)
        return current.up if direction == "up" else current.down


class TransportSettings(Struct):
    """How requests to the registry *host*, and to where it redirects them, differ from those to other registries.

    *authorities* are files of certificates in PEM form that are trusted, too. *proxy* is the URL of the proxy for all
    requests, empty for direct connections; None: as the environment says. *no_proxy* lists exceptions, as `NO_PROXY`.
    *addresses* replace those that the name server has for the registry. None: the general timeout. *client_certificate*
    and *headers* go to the registry itself only, *user_agent* to every host. *bandwidth* is that of all its bodies.
    """

    host: str = ""
    authorities: tuple[str, ...] = ()
    client_certificate: ClientCertificate | None = None
    proxy: str | None = field(default=None, repr=False)
    no_proxy: str = ""
    addresses: tuple[str, ...] = ()
    connect_seconds: float | None = None
    stall_seconds: float | None = None
    user_agent: str = ""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    bandwidth: Bandwidth | None = None


DIRECT: Final = TransportSettings()
"""The settings of registries that have none of their own."""
