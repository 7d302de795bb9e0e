"""A daemon with a native file, seen from outside: its hooks, its API and its log."""

import http.client
import json
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from support.daemons import run_daemon

TOKEN: Final = "the-token-of-the-api-0123456789abcdef"
_SECONDS: Final = 30.0
_NO_HEADERS: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True)
class Reply:
    """A response, and the time that it took."""

    status: int
    text: str
    seconds: float

    @property
    def said(self) -> Any:
        """The JSON body."""
        return json.loads(self.text)


@dataclass(frozen=True, slots=True)
class Site:
    """A daemon that listens on the loopback *port* and writes its log into *folder*."""

    port: int
    folder: Path = field(default_factory=Path)

    def call(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = _NO_HEADERS
    ) -> Reply:
        """Send one request on a new connection."""
        began = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_SECONDS)
        try:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            return Reply(response.status, response.read().decode(), time.monotonic() - began)
        finally:
            connection.close()

    def post(self, path: str, body: bytes, headers: Mapping[str, str] = _NO_HEADERS) -> Reply:
        """Send *body*."""
        return self.call("POST", path, body, headers)

    def entries(self, what: str, **wanted: str) -> list[dict[str, Any]]:
        """Return what the API lists under *what* (`events`, `jobs`, `runs`), oldest first."""
        query = "".join(f"&{name}={value}" for name, value in wanted.items())
        reply = self.call("GET", f"/api/v1/{what}?limit=500{query}", headers={"Authorization": f"Bearer {TOKEN}"})
        assert reply.status == 200, reply.text
        return list(reversed(reply.said["items"]))

    def log(self) -> str:
        """Return the log since the daemon's last start."""
        file = self.folder / "daemon.log"
        return file.read_text() if file.exists() else ""

    def hooks_answered(self) -> list[dict[str, Any]]:
        """Return the log lines of hook requests since the daemon's last start."""
        lines = [json.loads(line) for line in self.log().splitlines()]
        return [line for line in lines if line["event"] == "http.answered" and line["route"].startswith("/hooks/")]


def native_file(
    site: Site, hooks: Mapping[str, Mapping[str, object]], rules: Sequence[tuple[str, str]], **more: object
) -> str:
    """Return a native file with *hooks* and event-triggered *rules*, given as pairs of source and target."""
    document = {
        "version": 1,
        "rules": [
            {"name": f"rule-{number}", "source": source, "targets": target, "on": "event"}
            for number, (source, target) in enumerate(rules)
        ],
        "hooks": hooks,
        "server": {"listen": f"127.0.0.1:{site.port}", "auth": {"tokens": [TOKEN]}},
        "state": {"path": str(site.folder / "state")},
    }
    return json.dumps(document | more, indent=1)  # YAML is a superset of JSON.


@contextmanager
def run_site(site: Site, text: str, **environment: str) -> Generator[Site]:
    """Run the daemon with the native file *text*; *environment* extends the usual one."""
    (site.folder / "native.yaml").write_text(text)
    arguments = ("serve", "-c", "native.yaml", "--log", "daemon.log", "--log-format", "json", "--debug")
    with run_daemon(site.folder, site.port, *arguments, **environment):
        yield site
