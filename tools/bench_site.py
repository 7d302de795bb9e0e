"""The registries of the benchmark, near or behind slow lines, and what they were asked and sent."""

import os
import shutil
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from ssl import SSLContext, create_default_context

import trustme

from support.docker_registry import DockerProfile, DockerRegistry, TlsFiles
from support.slow_line import RelayLine, SlowLine

_MEMORY = Path("/dev/shm")  # noqa: S108 - only asked how much room there is
_ROOM_BYTES = 8 * 1024**3  # Two registries and what programs write, several times over.
_LISTENING = "127.0.0.1"
_BY_TLS = "0.0.0.0"  # noqa: S104 - nobody listens there


def storage_parent() -> Path | None:
    """Return a directory in memory where there is plenty of room, None for the usual place: disks vary, memory less."""
    if not (os.path.ismount(_MEMORY) and shutil.disk_usage(_MEMORY).free >= _ROOM_BYTES):
        return None
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return _MEMORY if available >= _ROOM_BYTES else None


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
        """Return how many requests it has answered so far; 0 where it keeps no log."""
        return 0 if self.registry.profile.quiet else len(self.registry.read_requests())

    def cpu_seconds(self) -> float:
        """Return what its process has computed so far; 0 where the system does not tell (no /proc)."""
        stat = Path(f"/proc/{self.registry.pid}/stat")
        if not stat.is_file():
            return 0.0
        user, system = stat.read_text(encoding="utf-8").rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def moved_bytes(self) -> int:
        """Return what went over the line so far, both ways; 0 without a line."""
        if self.line is None:
            return 0
        carried = self.line.carried()
        return carried.to_server + carried.to_client

    def tags(self) -> int:
        """Return how many tags its storage holds."""
        return sum(1 for _ in self.registry.storage.glob("docker/registry/v2/repositories/**/_manifests/tags/*"))


@dataclass(frozen=True, slots=True)
class Ground:
    """Where registries are put up: files below *directory*, TLS where there is a *ca*, each behind a *line* of its own.

    Without a line they are *quiet*: what they log would be in the way of what is measured.
    """

    directory: Path
    ca: PrivateCa | None
    line: RelayLine | None

    @property
    def profile(self) -> DockerProfile:
        """How they are configured. They keep what they know of blobs in memory, as registries in production do."""
        return DockerProfile(cache=True, quiet=self.line is None, tls=None if self.ca is None else self.ca.server)

    @contextmanager
    def open(self, count: int) -> Generator[Sequence[Site]]:
        """Start *count* empty registries."""
        with ExitStack() as stack:
            yield [self._start(stack, None) for _ in range(count)]

    @contextmanager
    def beside(self, sites: Sequence[Site]) -> Generator[Sequence[Site]]:
        """Start another registry on this ground beside each of *sites*, over the same storage."""
        with ExitStack() as stack:
            yield [self._start(stack, site.registry.storage) for site in sites]

    def _start(self, stack: ExitStack, storage: Path | None) -> Site:
        registry = stack.enter_context(DockerRegistry(self.profile, parent=self.directory, storage=storage))
        return Site(registry, None if self.line is None else stack.enter_context(SlowLine(registry.host, self.line)))
