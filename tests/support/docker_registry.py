"""Real registries: Debian's docker-registry (distribution 2.8) as a process on a free loopback port.

with DockerRegistry(DockerProfile(passwords={"alice": "secret"})) as registry:
    ...  # talk to registry.host
    assert registry.read_requests().count(method="PUT", kind="manifest") == 1
"""

import http.client
import itertools
import json
import os
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

from image_syncer.oci import Digest, Repository
from image_syncer.testing.request_log import Request, RequestLog
from image_syncer.testing.tokens import Issuer
from support.access_log import parse_access_log
from support.htpasswd import htpasswd
from support.ports import free_port

_ATTEMPTS = 5
_START_SECONDS = 20.0
_STOP_SECONDS = 10.0
_LOG_SECONDS = 5.0
_POLL_SECONDS = 0.02
_MARK = "seen"


class ServerFailed(Exception):
    """A server did not start, or stopped responding; the message has the end of its log."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """A certificate chain and its key as PEM files.

    With *client_authority* clients need a certificate of it; *client*, a PEM file with key and chain, is one.
    """

    certificate: Path
    key: Path
    client_authority: Path | None = None
    client: Path | None = None


@dataclass(frozen=True, slots=True)
class Notifications:
    """Receiver of a docker-registry's notifications: a POST to *url* with *headers* for each push, pull and deletion.

    The registry sends one at a time. Without a 2xx or 3xx within *timeout_seconds* it repeats at once, after
    *threshold* consecutive failures every *backoff_seconds*, without an end; later notifications wait in its memory.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    timeout_seconds: float = 5.0
    threshold: int = 3
    backoff_seconds: float = 0.2

    def as_endpoint(self) -> dict[str, Any]:
        """Return the entry for the registry's configuration (distribution, `notifications.endpoints`)."""
        return {
            "name": "test",
            "url": self.url,
            "headers": {name: [value] for name, value in self.headers.items()},
            "timeout": _go_duration(self.timeout_seconds),
            "threshold": self.threshold,
            "backoff": _go_duration(self.backoff_seconds),
        }


@dataclass(frozen=True, slots=True)
class DockerProfile:
    """The configuration of a docker-registry: no login, *passwords* (htpasswd), or tokens of *issuer*.

    With *layer_urls* manifests may name https URLs of layers; the default configuration of distribution refuses all.
    A *quiet* one logs only errors, so its requests cannot be read. *notifications* names a receiver of events. With
    *cache* it caches blob descriptors in memory, as in production; it then reports blobs that were deleted from its
    storage by someone else. *program* is another binary of the same kind, for instance of distribution 3.
    """

    passwords: Mapping[str, str] | None = field(default=None, repr=False)
    issuer: Issuer | None = None
    tls: TlsFiles | None = None
    schema1: bool = False
    notifications: Notifications | None = None
    cache: bool = False
    quiet: bool = False
    layer_urls: bool = True
    program: str = "docker-registry"


class DockerRegistry:
    """A docker-registry process with its storage in a temporary directory; a context manager.

    *parent* is the parent of that directory, None for the default. With *storage* it serves that directory, which other
    registries may serve at the same time.
    """

    def __init__(
        self, profile: DockerProfile | None = None, *, parent: Path | None = None, storage: Path | None = None
    ) -> None:
        self.profile = profile or DockerProfile()
        self._parent = parent
        self._storage = storage
        self.host = ""
        self._stack = ExitStack()
        self._directory = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self._marks = itertools.count()
        self._forgotten = 0

    @staticmethod
    def is_installed() -> bool:
        """Whether docker-registry is installed."""
        return shutil.which(DockerProfile().program) is not None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            directory = stack.enter_context(TemporaryDirectory(prefix="docker-registry-", dir=self._parent))
            self._directory = Path(directory)
            stack.callback(self._stop)
            self._start()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def pid(self) -> int:
        """The pid, for tests that stop or kill it."""
        if self._process is None:
            raise RuntimeError("a DockerRegistry is used as a context manager")
        return self._process.pid

    @property
    def storage(self) -> Path:
        """The directory with its files."""
        return self._storage or self._directory / "storage"

    def repository(self, path: str) -> Repository:
        """Return the name of the repository *path* at this registry."""
        return Repository(self.host, path)

    def replace_blob(self, digest: Digest, content: bytes) -> None:
        """Replace the bytes of the blob *digest*, as a damaged disk would."""
        kept = self.storage / "docker/registry/v2/blobs" / digest.algorithm / digest.encoded[:2] / digest.encoded
        (kept / "data").write_bytes(content)

    def read_requests(self) -> RequestLog:
        """Return every request answered since the start or the last `forget_requests`, from the access log.

        The log lags behind the responses, so this sends one marked request and waits for its line. Marked requests are
        left out.
        """
        if self.profile.quiet:
            raise RuntimeError("a quiet registry keeps no access log")
        mark = str(next(self._marks))
        self._ping(f"/v2/?{_MARK}={mark}")
        deadline = time.monotonic() + _LOG_SECONDS
        while True:
            log = self._parse(self._access_log())
            if any((_MARK, mark) in request.query for request in log):
                return RequestLog(list(itertools.filterfalse(_is_mark, log))[self._forgotten :])
            if time.monotonic() > deadline:
                raise ServerFailed(f"docker-registry: no line in its access log within {_LOG_SECONDS} s")
            time.sleep(_POLL_SECONDS)

    def forget_requests(self) -> None:
        """Restart counting."""
        self._forgotten += len(self.read_requests())

    def _start(self) -> None:
        for _ in range(_ATTEMPTS):
            port = free_port()
            self.host = f"127.0.0.1:{port}"
            self._launch(port)
            if self._wait_until_ready():
                return
            self._stop()
        raise ServerFailed(f"docker-registry did not start: {self._tail()}")

    def _launch(self, port: int) -> None:
        program = shutil.which(self.profile.program)
        if program is None:
            raise ServerFailed(f"{self.profile.program} is not installed")
        file = self._directory / "config.yml"  # YAML is a superset of JSON.
        file.write_text(json.dumps(self._configuration(port), indent=1))
        environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(self._directory), "OTEL_TRACES_EXPORTER": "none"}
        environment["GOGC"] = "800"  # Memory for CPU: collecting garbage is a third of what a request costs.
        with (self._directory / "access.log").open("wb") as access, (self._directory / "error.log").open("wb") as error:
            self._process = subprocess.Popen(
                [program, "serve", str(file)],
                stdin=subprocess.DEVNULL,
                stdout=access,
                stderr=error,
                env=environment,
                cwd=self._directory,
            )

    def _wait_until_ready(self) -> bool:
        """Return whether it responds; False if it ended at once, as it does if its port was taken."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                return False
            try:
                self._ping("/v2/?" + _MARK)
            except OSError:
                time.sleep(_POLL_SECONDS)
            else:
                return True
        raise ServerFailed(f"docker-registry did not answer within {_START_SECONDS} s: {self._tail()}")

    def _ping(self, path: str) -> None:
        if self.profile.tls is None:
            connection = http.client.HTTPConnection(self.host, timeout=_LOG_SECONDS)
        else:
            context = _trusting_all(self.profile.tls.client)
            connection = http.client.HTTPSConnection(self.host, timeout=_LOG_SECONDS, context=context)
        try:
            connection.request("GET", path)
            connection.getresponse().read()
        finally:
            connection.close()

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_STOP_SECONDS)

    def _parse(self, lines: Iterable[str]) -> RequestLog:
        """Return the requests of its log."""
        return parse_access_log(lines)

    def _access_log(self) -> list[str]:
        return (self._directory / "access.log").read_text(errors="replace").splitlines()

    def _tail(self) -> str:
        error = self._directory / "error.log"
        return error.read_text(errors="replace")[-2000:] if error.exists() else ""

    def _configuration(self, port: int) -> dict[str, Any]:
        http_section: dict[str, Any] = {"addr": f"127.0.0.1:{port}", "secret": "one process, one test"}
        if self.profile.tls is not None:
            tls = self.profile.tls
            authorities = [] if tls.client_authority is None else [str(tls.client_authority)]
            http_section["tls"] = {"certificate": str(tls.certificate), "key": str(tls.key), "clientcas": authorities}
        endpoint = self.profile.notifications
        return {
            "version": "0.1",
            "log": {"level": "error", "accesslog": {"disabled": self.profile.quiet}},
            "storage": {
                "filesystem": {"rootdirectory": str(self.storage)},
                "delete": {"enabled": True},
                "maintenance": {"uploadpurging": {"enabled": False}},
                **({"cache": {"blobdescriptor": "inmemory"}} if self.profile.cache else {}),
            },
            "http": http_section,
            "auth": self._auth_section(),
            "notifications": {"endpoints": [] if endpoint is None else [endpoint.as_endpoint()]},
            "validation": {"manifests": {"urls": {"allow": ["^https://"]}}} if self.profile.layer_urls else {},
            "compatibility": {"schema1": {"enabled": self.profile.schema1}},
        }

    def _auth_section(self) -> dict[str, Any]:
        if self.profile.passwords is not None:
            file = self._directory / "htpasswd"
            file.write_text(htpasswd(self.profile.passwords))
            return {"htpasswd": {"realm": "docker-registry", "path": str(file)}}
        if self.profile.issuer is not None:
            issuer = self.profile.issuer
            token = {"realm": issuer.realm, "service": issuer.service, "issuer": issuer.name}
            return {"token": token | {"rootcertbundle": str(issuer.certificate)}}
        return {}


def _go_duration(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"


def _is_mark(request: Request) -> bool:
    return any(key == _MARK for key, _ in request.query)


def _trusting_all(client: Path | None) -> ssl.SSLContext:
    """Return a context for testing whether our own server is up, with the certificate of *client*."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if client is not None:
        context.load_cert_chain(client)
    return context
