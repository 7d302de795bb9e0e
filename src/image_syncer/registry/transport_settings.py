"""How the requests to one registry travel: certificates, proxy, addresses, timeouts and headers."""

from typing import Final

from image_syncer.oci.reference import DOCKER_HUB
from image_syncer.structs import Struct, field

_DOCKER_HUB_API: Final = "registry-1.docker.io"


def api_host(registry: str) -> str:
    """Return the host that requests to *registry* go to: Docker Hub has another one than its name."""
    return _DOCKER_HUB_API if registry == DOCKER_HUB else registry


class ClientCertificate(Struct):
    """The paths of a client certificate and of its private key, both in PEM form."""

    certificate: str
    key: str


class TransportSettings(Struct):
    """How requests to the registry *host*, and to where it redirects them, differ from those to other registries.

    *authorities* are files of certificates in PEM form that are trusted, too. *proxy* is the URL of the proxy for all
    requests, empty for direct connections; None: as the environment says. *no_proxy* lists exceptions, as `NO_PROXY`.
    *addresses* replace those that the name server has for the registry. None: the general timeout. *client_certificate*
    and *headers* go to the registry itself only, *user_agent* to every host.
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


DIRECT: Final = TransportSettings()
"""The settings of registries that have none of their own."""
