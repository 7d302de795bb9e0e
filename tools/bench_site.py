"""The registries of the benchmark, local or behind slow lines, with their counters."""

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

_MEMORY = Path("/dev/shm")  # noqa: S108 - only to read the free space
_ROOM_BYTES = 8 * 1024**3  # Two registries and the data of both programs, several times.
_LISTENING = "127.0.0.1"
_BY_TLS = "0.0.0.0"  # noqa: S104 - a client's address, nothing listens on it


def storage_parent() -> Path | None:
    """Return a directory in memory if it has plenty of space, None for the default: disks vary, memory less so."""
    if not (os.path.ismount(_MEMORY) and shutil.disk_usage(_MEMORY).free >= _ROOM_BYTES):
        return None
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return _MEMORY if available >= _ROOM_BYTES else None


@dataclass(frozen=True, slots=True)
class PrivateCa:
    """A CA for this run with one certificate: clients trust *authority*, registries present *server*."""

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
        """Return a client context that trusts only this CA."""
        return create_default_context(cafile=str(self.authority))


@dataclass(frozen=True, slots=True)
class Site:
    """A registry as a program sees it; *line* carries its bytes, None if they are not counted."""

    registry: DockerRegistry
    line: SlowLine | None

    @property
    def host(self) -> str:
        """Its address for both programs.

        image-syncer does not verify certificates of loopback addresses (ADR 0009). 0.0.0.0 also leads to this machine
        but counts as another address, so that both programs do the same work.
        """
        near = self.registry.host if self.line is None else self.line.host
        return near if self.registry.profile.tls is None else near.replace(_LISTENING, _BY_TLS)

    def requests(self) -> int:
        """Return the number of requests so far; 0 if it keeps no log."""
        return 0 if self.registry.profile.quiet else len(self.registry.read_requests())

    def cpu_seconds(self) -> float:
        """Return the CPU seconds of its process so far; 0 without /proc."""
        stat = Path(f"/proc/{self.registry.pid}/stat")
        if not stat.is_file():
            return 0.0
        user, system = stat.read_text(encoding="utf-8").rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def moved_bytes(self) -> int:
        """Return the bytes on the line so far, in both directions; 0 without a line."""
        if self.line is None:
            return 0
        carried = self.line.carried()
        return carried.to_server + carried.to_client

    def tags(self) -> int:
        """Return the number of tags in its storage."""
        return sum(1 for _ in self.registry.storage.glob("docker/registry/v2/repositories/**/_manifests/tags/*"))


@dataclass(frozen=True, slots=True)
class Ground:
    """A place for registries: files below *directory*, TLS if there is a *ca*, each behind its own *line*.

    Without a line they are *quiet*: writing a log would disturb the measurement.
    """

    directory: Path
    ca: PrivateCa | None
    line: RelayLine | None

    @property
    def profile(self) -> DockerProfile:
        """Their configuration. They cache blob descriptors in memory, as registries in production do."""
        return DockerProfile(cache=True, quiet=self.line is None, tls=None if self.ca is None else self.ca.server)

    @contextmanager
    def open(self, count: int) -> Generator[Sequence[Site]]:
        """Start *count* empty registries."""
        with ExitStack() as stack:
            yield [self._start(stack, None) for _ in range(count)]

    @contextmanager
    def beside(self, sites: Sequence[Site]) -> Generator[Sequence[Site]]:
        """Start another registry next to each of *sites*, over the same storage."""
        with ExitStack() as stack:
            yield [self._start(stack, site.registry.storage) for site in sites]

    def _start(self, stack: ExitStack, storage: Path | None) -> Site:
        registry = stack.enter_context(DockerRegistry(self.profile, parent=self.directory, storage=storage))
        return Site(registry, None if self.line is None else stack.enter_context(SlowLine(registry.host, self.line)))
