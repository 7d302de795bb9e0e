"""A temporary PostgreSQL cluster on loopback, run by an unprivileged user, and stopped by its pid."""

import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

import psycopg

from support.ports import free_port
from support.server_home import ServerHome, end

PASSWORD: Final = "p@ss word"
_START_SECONDS: Final = 30
_HAS_STRATEGIES: Final = 150_000
"""PostgreSQL 15 writes a copied database to its log by default, which costs twice as much."""


class Postgres:
    """A server that lives as long as the `with` block; `stop` and `start` simulate an outage."""

    def __init__(self) -> None:
        self._bin = _programs()
        self._home = ServerHome("postgres", "postgres", "nobody")
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._templates: dict[Callable[[str], None], str] = {}

    @staticmethod
    def is_installed() -> bool:
        """Whether the server's programs are installed."""
        return _programs() is not None

    def __enter__(self) -> Self:
        password_file = self._home.write("password", PASSWORD)
        settings = ("--auth=md5", "-U", "owner", f"--pwfile={password_file}", "-E", "UTF8")
        try:
            # A login by SCRAM costs 10 ms, and a test has several connections; the client library does either.
            self._home.run(
                self._program("initdb"), "-D", str(self._data), "--no-sync", *settings, seconds=_START_SECONDS
            )
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.crash()  # An orderly shutdown would only write data that is about to be removed.
        self._home.remove()

    def url(self, database: str = "postgres") -> str:
        """Return libpq's URL of *database*, including the password."""
        return f"postgresql://owner:{quote(PASSWORD)}@127.0.0.1:{self._port}/{database}"

    def new_database(self, template: str = "template1") -> str:
        """Return the URL of a new database: a copy of *template*, by default an empty one."""
        name = f"t{secrets.token_hex(6)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            copying = " STRATEGY file_copy" if connection.info.server_version >= _HAS_STRATEGIES else ""
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"{copying}'.encode())
        return self.url(name)

    def template(self, fill: Callable[[str], None]) -> str:
        """Return the name of a database that *fill* has filled, once: a copy costs less than another migration."""
        if fill not in self._templates:
            url = self.new_database()
            fill(url)
            self._templates[fill] = url.rpartition("/")[2]
        return self._templates[fill]

    def start(self) -> None:
        """Start the server and wait until it responds; it keeps its port across an outage."""
        arguments = ["-D", str(self._data), "-k", "", "-h", "127.0.0.1", "-p", str(self._port)]
        settings = [
            part
            for setting in ("fsync=off", "max_connections=100", "logging_collector=off")
            for part in ("-c", setting)
        ]
        self._process = self._home.launch(self._program("postgres"), *arguments, *settings)
        self._home.wait_until(self._answers, self._process, _START_SECONDS)

    def stop(self) -> None:
        """Stop the server without waiting for its clients."""
        process, self._process = self._process, None
        end(process, signal.SIGINT)  # "fast": open transactions are rolled back

    def crash(self) -> None:
        """End it as a crash does: without a word to clients; the next start recovers what was committed."""
        process, self._process = self._process, None
        end(process, signal.SIGQUIT)

    def freeze(self) -> None:
        """Freeze all its processes: connections stay open, and get no response."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume all its processes."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise RuntimeError("the server is not running")
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        for process in (pid, *map(int, children)):
            os.kill(process, number)

    @property
    def _data(self) -> Path:
        return self._home.directory / "data"

    def _program(self, name: str) -> str:
        if self._bin is None:
            raise RuntimeError("PostgreSQL is not installed")
        return str(self._bin / name)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


def _programs() -> Path | None:
    """Return the directory of `initdb` and `postgres`; Debian keeps them out of PATH."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    found = debian[-1] if debian else shutil.which("initdb")
    return None if found is None else Path(found).resolve().parent
