"""NATS and Redis servers for tests: processes on free loopback ports, with data in temporary directories."""

import shutil
import socket
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from support.ports import free_port

PASSWORD = "p@ss-word"
_START_SECONDS = 30.0  # Kafka starts slowly, above all on a busy machine.


class Server:
    """A server that can stop and start again on the same port, with everything that it had written to disk."""

    program = ""

    def __init__(self) -> None:
        self.port = free_port()
        self._directory = TemporaryDirectory(prefix=f"{self.program}-")
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def is_installed(cls) -> bool:
        """Whether the program is installed."""
        return cls.path() is not None

    @classmethod
    def path(cls) -> str | None:
        """The path of the program; Debian keeps some servers out of an ordinary user's PATH."""
        return shutil.which(cls.program) or shutil.which(cls.program, path="/usr/sbin")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()
        self._directory.cleanup()

    @property
    def url(self) -> str:
        """Its URL, with the login."""
        raise NotImplementedError

    def arguments(self, folder: Path) -> list[str]:
        """Return its arguments; its data are in *folder*."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        command = [self.path() or self.program, *self.arguments(Path(self._directory.name))]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                assert time.monotonic() < deadline, f"{self.program} did not start"
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


class Nats(Server):
    """nats-server with JetStream."""

    program = "nats-server"

    @property
    def url(self) -> str:
        """Its URL, with the login."""
        return f"nats://syncer:{PASSWORD.replace('@', '%40')}@127.0.0.1:{self.port}"

    def arguments(self, folder: Path) -> list[str]:
        """Return its arguments."""
        login = ["--user", "syncer", "--pass", PASSWORD]
        return ["-a", "127.0.0.1", "-p", str(self.port), "-js", "-sd", str(folder), *login]


class RedisServer(Server):
    """redis-server that writes every change to disk before it responds."""

    program = "redis-server"

    @property
    def url(self) -> str:
        """Its URL, with the login."""
        return f"redis://:{PASSWORD.replace('@', '%40')}@127.0.0.1:{self.port}"

    def arguments(self, folder: Path) -> list[str]:
        """Return its arguments."""
        disk = ["--dir", str(folder), "--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        return ["--bind", "127.0.0.1", "--port", str(self.port), "--requirepass", PASSWORD, *disk]
