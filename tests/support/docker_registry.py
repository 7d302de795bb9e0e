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
from collections.abc import Mapping
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
    """A server did not start, or stopped answering; the message has the end of its log."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """A certificate chain and its key as PEM files."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Notifications:
    """Whom a docker-registry tells of pushes, pulls and deletions: a POST to *url* with *headers*, one at a time.

    What is not answered 2xx or 3xx within *timeout_seconds* is sent again at once, after *threshold* failures in a row
    every *backoff_seconds*, and for ever; all that follow wait in the registry's memory.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    timeout_seconds: float = 5.0
    threshold: int = 3
    backoff_seconds: float = 0.2

    def as_endpoint(self) -> dict[str, Any]:
        """Return the entry in the registry's configuration (distribution, `notifications.endpoints`)."""
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
    """How a docker-registry is configured: with no login, with *passwords* (htpasswd), or with tokens of *issuer*.

    *quiet*: it logs errors alone, so its requests cannot be read. With *notifications* it tells somebody of what
    happens in it. With *cache* it keeps what it knows of blobs in memory, as in production; it then goes on speaking of
    blobs that were deleted from its storage behind its back.
    """

    passwords: Mapping[str, str] | None = field(default=None, repr=False)
    issuer: Issuer | None = None
    tls: TlsFiles | None = None
    schema1: bool = False
    notifications: Notifications | None = None
    cache: bool = False
    quiet: bool = False


class DockerRegistry:
    """A docker-registry of its own, its storage in a temporary directory; a context manager.

    *parent* is where that directory is made, None for the usual place. With *storage* it serves what lies there, beside
    whoever does so already.
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
        """Whether there is a docker-registry on this machine."""
        return _program() is not None

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
        """The process, to stop or to kill it in a test."""
        if self._process is None:
            raise RuntimeError("a DockerRegistry is used as a context manager")
        return self._process.pid

    @property
    def storage(self) -> Path:
        """The directory that its files lie in."""
        return self._storage or self._directory / "storage"

    def repository(self, path: str) -> Repository:
        """Return the name of the repository *path* at this registry."""
        return Repository(self.host, path)

    def plant(self, digest: Digest, content: bytes) -> None:
        """Let the blob *digest* have other bytes from now on, as a damaged disk would."""
        kept = self.storage / "docker/registry/v2/blobs" / digest.algorithm / digest.encoded[:2] / digest.encoded
        (kept / "data").write_bytes(content)

    def read_requests(self) -> RequestLog:
        """Return every request that was answered since the start or the last `forget_requests`, from the access log.

        The log is written behind the answers, so the registry is asked one marked question first, and its line is
        waited for. Such questions are left out.
        """
        if self.profile.quiet:
            raise RuntimeError("a quiet registry keeps no access log")
        mark = str(next(self._marks))
        self._ping(f"/v2/?{_MARK}={mark}")
        deadline = time.monotonic() + _LOG_SECONDS
        while True:
            log = parse_access_log(self._access_log())
            if any((_MARK, mark) in request.query for request in log):
                return RequestLog(list(itertools.filterfalse(_is_mark, log))[self._forgotten :])
            if time.monotonic() > deadline:
                raise ServerFailed(f"docker-registry: no line in its access log within {_LOG_SECONDS} s")
            time.sleep(_POLL_SECONDS)

    def forget_requests(self) -> None:
        """Let counting begin anew."""
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
        program = _program()
        if program is None:
            raise ServerFailed("docker-registry is not installed")
        file = self._directory / "config.yml"  # YAML holds JSON.
        file.write_text(json.dumps(self._configuration(port), indent=1))
        environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(self._directory), "OTEL_TRACES_EXPORTER": "none"}
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
        """Return whether it answers; False if it gave up at once, as it does when somebody else took the port."""
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
            connection = http.client.HTTPSConnection(self.host, timeout=_LOG_SECONDS, context=_trusting_all())
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

    def _access_log(self) -> list[str]:
        return (self._directory / "access.log").read_text(errors="replace").splitlines()

    def _tail(self) -> str:
        error = self._directory / "error.log"
        return error.read_text(errors="replace")[-2000:] if error.exists() else ""

    def _configuration(self, port: int) -> dict[str, Any]:
        http_section: dict[str, Any] = {"addr": f"127.0.0.1:{port}", "secret": "one process, one test"}
        if self.profile.tls is not None:
            http_section["tls"] = {"certificate": str(self.profile.tls.certificate), "key": str(self.profile.tls.key)}
        told = self.profile.notifications
        return {
            "version": "0.1",
            "log": {"level": "error", "accesslog": {"disabled": True}} if self.profile.quiet else {"level": "info"},
            "storage": {
                "filesystem": {"rootdirectory": str(self.storage)},
                "delete": {"enabled": True},
                "maintenance": {"uploadpurging": {"enabled": False}},
                **({"cache": {"blobdescriptor": "inmemory"}} if self.profile.cache else {}),
            },
            "http": http_section,
            "auth": self._auth_section(),
            "notifications": {"endpoints": [] if told is None else [told.as_endpoint()]},
            "validation": {"manifests": {"urls": {"allow": ["^https://"]}}},
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


def _program() -> str | None:
    return shutil.which("docker-registry")


def _is_mark(request: Request) -> bool:
    return any(key == _MARK for key, _ in request.query)


def _trusting_all() -> ssl.SSLContext:
    """Return a context for the question whether a server of our own is there yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
