"""The registries of the benchmark, near or behind slow lines, and what they were asked and sent."""

from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from ssl import SSLContext, create_default_context

import trustme

from image_syncer.testing.servers import DockerProfile, DockerRegistry, TlsFiles
from image_syncer.testing.slow_line import Line, SlowLine

_LISTENING = "127.0.0.1"
_BY_TLS = "0.0.0.0"  # noqa: S104 - nobody listens there


@dataclass(frozen=True, slots=True)
class PrivateCa:
    """A CA of this run with one certificate: *authority* is what clients trust, *server* what registries show."""

    authority: Path
    server: TlsFiles

    @classmethod
    def create(cls, directory: Path) -> "PrivateCa":
        """Write its files into *directory*."""
        authority, server, key = (directory / name for name in ("ca.pem", "server.pem", "server.key"))
        made = trustme.CA()
        issued = made.issue_cert(_LISTENING, _BY_TLS)
        made.cert_pem.write_to_path(authority)
        issued.private_key_pem.write_to_path(key)
        server.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        return cls(authority, TlsFiles(server, key))

    def trust(self) -> SSLContext:
        """Return a client's context that trusts this CA alone."""
        return create_default_context(cafile=str(self.authority))


@dataclass(frozen=True, slots=True)
class Site:
    """A registry as a program sees it; *line* is what the bytes go over, None where they are not counted."""

    registry: DockerRegistry
    line: SlowLine | None

    @property
    def host(self) -> str:
        """Its address for both programs.

        On loopback addresses image-syncer does not verify certificates (ADR 0009). 0.0.0.0 leads to this machine too
        and counts as any other address, so that both programs do the same work.
        """
        near = self.registry.host if self.line is None else self.line.host
        return near if self.registry.profile.tls is None else near.replace(_LISTENING, _BY_TLS)

    def requests(self) -> int:
        """Return how many requests it has answered so far."""
        return len(self.registry.read_requests())

    def moved_bytes(self) -> int:
        """Return what went over the line so far, both ways; 0 without a line."""
        if self.line is None:
            return 0
        carried = self.line.carried()
        return carried.to_server + carried.to_client

    def tags(self) -> int:
        """Return how many tags its storage holds."""
        return sum(1 for _ in self.registry.storage.glob("docker/registry/v2/repositories/**/_manifests/tags/*"))


@contextmanager
def open_sites(count: int, line: Line | None, ca: PrivateCa | None) -> Generator[Sequence[Site]]:
    """Start *count* empty registries, with TLS where there is a *ca*, each behind a *line* of its own if there is one.

    They keep what they know of blobs in memory, as registries in production do.
    """
    profile = DockerProfile(cache=True, tls=None if ca is None else ca.server)
    with ExitStack() as stack:
        yield [open_site(stack, stack.enter_context(DockerRegistry(profile)), line) for _ in range(count)]


def open_site(stack: ExitStack, registry: DockerRegistry, line: Line | None) -> Site:
    """Return *registry* behind *line*, until *stack* is closed."""
    return Site(registry, None if line is None else stack.enter_context(SlowLine(registry.host, line)))
