"""The registries of the benchmark, local or behind slow lines, with their counters."""

import contextlib
import itertools
import json
import os
import shutil
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from ssl import SSLContext, create_default_context
from typing import Any, Final, Self
from urllib.parse import parse_qsl, urlsplit

import trustme

from image_syncer.structs import replace
from image_syncer.testing.request_log import Request, RequestLog
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


class ZotRegistry(DockerRegistry):
    """A zot process: the same life, another configuration and log."""

    def _configuration(self, port: int) -> dict[str, Any]:
        tls = self.profile.tls
        return {
            "distSpecVersion": "1.1.1",
            "storage": {"rootDirectory": str(self.storage), "gc": False},
            "log": {"level": "error" if self.profile.quiet else "info"},
            "http": {
                "address": "127.0.0.1",
                "port": str(port),
                **({} if tls is None else {"tls": {"cert": str(tls.certificate), "key": str(tls.key)}}),
            },
        }

    def _parse(self, lines: Iterable[str]) -> RequestLog:
        return RequestLog(itertools.chain.from_iterable(map(_zot_request, lines)))


def _zot_request(line: str) -> Iterator[Request]:
    """Yield the request of a line of zot's log; most lines have none."""
    with contextlib.suppress(json.JSONDecodeError):
        entry = json.loads(line)
        if isinstance(entry, dict) and {"method", "path"} <= entry.keys():
            uri = urlsplit(str(entry["path"]))  # pyright: ignore[reportUnknownArgumentType]
            yield Request(str(entry["method"]), uri.path, tuple(parse_qsl(uri.query)))  # pyright: ignore[reportUnknownArgumentType]


@dataclass(frozen=True, slots=True)
class RegistryKind:
    """A kind of registry: the name of its *program*, and the class that runs it.

    Where only one process at a time can use a storage, no second one *shares* it to count requests.
    """

    about: str
    program: str
    runs: type[DockerRegistry] = DockerRegistry
    shares: bool = True

    def find(self, directory: Path | None) -> Self | None:
        """Return this kind with the path of its program, in *directory* or on PATH; None if it is absent."""
        beside = shutil.which(self.program, path=str(directory)) if directory else None
        found = beside or shutil.which(self.program)
        return replace(self, program=found) if found else None


REGISTRIES: Final[Mapping[str, RegistryKind]] = {
    "v3": RegistryKind("distribution 3 (`registry`)", "registry"),
    "2.8": RegistryKind("distribution 2.8 (Debian's `docker-registry`)", "docker-registry"),
    "zot": RegistryKind("zot", "zot", ZotRegistry, shares=False),
}
"""The registries that a row may run on; the first that is present is the default."""


@dataclass(frozen=True, slots=True)
class Ground:
    """A place for registries of one *kind*: files below *directory*, TLS with a *ca*, each behind its own *line*.

    They log their requests only if *logged*, or if no second process can do so: writing a log disturbs the measurement.
    """

    directory: Path
    kind: RegistryKind
    ca: PrivateCa | None
    line: RelayLine | None
    logged: bool = False

    @property
    def profile(self) -> DockerProfile:
        """Their configuration. They cache blob descriptors in memory, as registries in production do."""
        tls = None if self.ca is None else self.ca.server
        return DockerProfile(cache=True, quiet=self.kind.shares and not self.logged, tls=tls, program=self.kind.program)

    @contextmanager
    def open(self, count: int) -> Generator[Sequence[Site]]:
        """Start *count* empty registries."""
        with ExitStack() as stack:
            yield [self._start(stack, None) for _ in range(count)]

    @contextmanager
    def beside(self, sites: Sequence[Site]) -> Generator[Sequence[Site]]:
        """Start another registry next to each of *sites*, over the same storage; or only another line to it."""
        with ExitStack() as stack:
            if self.kind.shares:
                yield [self._start(stack, site.registry.storage) for site in sites]
            else:
                yield [self._connect(stack, site.registry) for site in sites]

    def _start(self, stack: ExitStack, storage: Path | None) -> Site:
        registry = stack.enter_context(self.kind.runs(self.profile, parent=self.directory, storage=storage))
        return self._connect(stack, registry)

    def _connect(self, stack: ExitStack, registry: DockerRegistry) -> Site:
        return Site(registry, None if self.line is None else stack.enter_context(SlowLine(registry.host, self.line)))
