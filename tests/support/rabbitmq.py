"""A temporary RabbitMQ node on free loopback ports, with its own epmd, stopped by its pids."""

import json
import os
import shutil
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

from support.ports import free_port
from support.server_home import ServerHome, end

USER: Final = "guest"
READER: Final = "reader"
PASSWORD: Final = "p@ss/w%rd:?#"
_COOKIE: Final = "-setcookie image-syncer"
_START_SECONDS: Final = 60


class RabbitMQ:
    """A node that lives as long as the `with` block; `stop` and `start` simulate a restart with durable data."""

    def __init__(self, certificate: Path | None = None) -> None:
        """*certificate*: the directory with `server.pem` and `server.key` for TLS; None disables TLS."""
        self._certificate = certificate
        self._home = ServerHome("rabbitmq", "nobody")
        self._epmd_port = free_port()
        self._port = free_port()
        self._tls_port = free_port()
        self._epmd: subprocess.Popen[bytes] | None = None
        self._node: subprocess.Popen[bytes] | None = None

    @staticmethod
    def is_installed() -> bool:
        """Whether the server's programs are installed."""
        return _program("rabbitmq-server") is not None and shutil.which("epmd") is not None

    def __enter__(self) -> Self:
        tls_port = None
        if self._certificate is not None:
            tls_port = self._tls_port
            for name in ("server.pem", "server.key"):
                self._home.take(self._certificate / name)
        self._home.write("rabbitmq.conf", _configuration(self._port, tls_port))
        self._home.write("definitions.json", _definitions())
        self._home.write("plugins", "[].")
        try:
            self._epmd = self._run("epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1")
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        end(self._epmd)
        self._home.remove()

    def url(self, user: str = USER, password: str | None = None) -> str:
        """Return the URL of the node, with a login in it."""
        return f"amqp://{user}:{quote(password or PASSWORD, safe='')}@{self.address}/"

    def tls_url(self, query: str = "") -> str:
        """Return its TLS URL."""
        return f"amqps://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{self._tls_port}/{query}"

    @property
    def address(self) -> str:
        """Its host and port."""
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start the node and wait until it accepts connections; it keeps its port."""
        self._node = self._run(str(_program("rabbitmq-server")))
        self._home.wait_until(self._answers, self._node, _START_SECONDS)

    def stop(self) -> None:
        """Stop the node; connections break, and durable queues and persistent messages stay."""
        node, self._node = self._node, None
        end(node)

    def _run(self, *command: str) -> subprocess.Popen[bytes]:
        return self._home.launch(*command, environment=self._environment())

    def _environment(self) -> dict[str, str]:
        """Return the settings that isolate the node: directories, ports, name and cookie."""
        own = self._home.directory
        return {
            "PATH": f"{os.defpath}:/usr/sbin:/sbin",
            "HOME": str(own),
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"t{self._port}@localhost",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"{_COOKIE} -kernel inet_dist_use_interface {{127,0,0,1}}",
            "RABBITMQ_CTL_ERL_ARGS": _COOKIE,
            "RABBITMQ_CONF_ENV_FILE": str(own / "none"),
            "RABBITMQ_CONFIG_FILE": str(own / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(own / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(own / "data"),
            "RABBITMQ_LOG_BASE": str(own / "logs"),
            "RABBITMQ_PID_FILE": str(own / "pid"),
            "RABBITMQ_FEATURE_FLAGS_FILE": str(own / "flags"),
        }

    def _answers(self) -> bool:
        """Whether it speaks AMQP: it answers the protocol header, which an open port alone does not."""
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=2) as probe:
                probe.sendall(b"AMQP\x00\x00\x09\x01")
                return bool(probe.recv(1))
        except OSError:
            return False


def _configuration(port: int, tls_port: int | None) -> str:
    tls = (
        f"listeners.ssl.1 = 127.0.0.1:{tls_port}",
        "ssl_options.certfile = server.pem",
        "ssl_options.keyfile = server.key",
        "ssl_options.verify = verify_none",
    )
    lines = (
        f"listeners.tcp.1 = 127.0.0.1:{port}",
        *(tls if tls_port is not None else ()),
        "load_definitions = definitions.json",
        "loopback_users = none",
        "log.console = false",
        "log.file.level = error",
        "disk_free_limit.absolute = 1MB",
        "vm_memory_high_watermark.relative = 0.9",
    )
    return "\n".join(lines) + "\n"


def _definitions() -> str:
    """Return the node's users: one with all rights, and one with read access only."""
    users = [
        {"name": USER, "password": PASSWORD, "tags": "administrator"},
        {"name": READER, "password": PASSWORD, "tags": ""},
    ]
    rights = [
        {"user": USER, "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"},
        {"user": READER, "vhost": "/", "configure": "^$", "write": "^$", "read": ".*"},
    ]
    return json.dumps({"users": users, "vhosts": [{"name": "/"}], "permissions": rights})


def _program(name: str) -> Path | None:
    """Return the path of *name*: Debian's wrapper in PATH switches the user and loses all settings."""
    debian = Path("/usr/lib/rabbitmq/bin") / name
    found = debian if debian.exists() else shutil.which(name)
    return None if found is None else Path(found)
