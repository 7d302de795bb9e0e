"""A PostgreSQL cluster of the tests' own: temporary, on loopback, run by an unprivileged user, stopped by its pid."""

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

import psycopg

PASSWORD: Final = "p@ss word"
_START_SECONDS: Final = 30
_STOP_SECONDS: Final = 20


class Postgres:
    """A server that lives as long as the `with` block; `stop` and `start` play an outage."""

    def __init__(self) -> None:
        self._bin = _programs()
        self._directory = Path(tempfile.mkdtemp(prefix="image-syncer-postgres-"))
        self._user = _unprivileged()
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def is_installed() -> bool:
        """Whether the server's programs are here."""
        return _programs() is not None

    def __enter__(self) -> Self:
        if self._user is not None:
            shutil.chown(self._directory, self._user)
        password_file = self._directory / "password"
        password_file.write_text(PASSWORD, encoding="utf-8")
        if self._user is not None:
            shutil.chown(password_file, self._user)
        try:
            self._run(
                "initdb", "--no-sync", "--auth=scram-sha-256", "-U", "owner", f"--pwfile={password_file}", "-E", "UTF8"
            )
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self._directory)

    def url(self, database: str = "postgres") -> str:
        """Return libpq's URL of *database*, its password included."""
        return f"postgresql://owner:{quote(PASSWORD)}@127.0.0.1:{self._port}/{database}"

    def new_database(self) -> str:
        """Return the URL of a fresh, empty database."""
        name = f"t{secrets.token_hex(6)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return self.url(name)

    def start(self) -> None:
        """Start the server and wait until it answers; it keeps its port over an outage."""
        arguments = ["-D", str(self._data), "-k", "", "-h", "127.0.0.1", "-p", str(self._port)]
        settings = [
            part for setting in ("fsync=off", "max_connections=60", "logging_collector=off") for part in ("-c", setting)
        ]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._program("postgres")), *arguments, *settings],
                user=self._user,
                stdout=log,
                stderr=log,
                cwd="/",
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self._directory / "log").read_text(encoding="utf-8")[-2000:])
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop the server without waiting for its clients."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGINT)  # "fast": open transactions are rolled back
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def freeze(self) -> None:
        """Stop all its processes where they are: connections stay open, and nobody answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise RuntimeError("it does not run")
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        for process in (pid, *map(int, children)):
            os.kill(process, number)

    @property
    def _data(self) -> Path:
        return self._directory / "data"

    def _program(self, name: str) -> Path:
        if self._bin is None:
            raise RuntimeError("PostgreSQL is not installed")
        return self._bin / name

    def _run(self, name: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._program(name)), "-D", str(self._data), *arguments],
            user=self._user,
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=_START_SECONDS,
            cwd="/",
        )

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


def _programs() -> Path | None:
    """Return where `initdb` and `postgres` are: Debian keeps them out of the path."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    found = debian[-1] if debian else shutil.which("initdb")
    return None if found is None else Path(found).resolve().parent


def _unprivileged() -> str | None:
    """Return whom to run it as, None where we are nobody special: PostgreSQL refuses to be root."""
    if os.getuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in known)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
