"""Connects through a SOCKS5 proxy (RFC 1928, RFC 1929). The proxy resolves names."""

import asyncio
import ipaddress
import socket
from typing import Final, Self
from urllib.parse import unquote, urlsplit

from image_syncer.errors import ProtocolError, StoreError, Unauthorized, Unavailable
from image_syncer.registry.http.connect_errors import ConnectionRefused
from image_syncer.registry.http.urls import Origin
from image_syncer.structs import Struct, field

SOCKS_SCHEMES: Final = ("socks5", "socks5h")
_DEFAULT_PORT: Final = 1080
_VERSION: Final = 5
_NO_LOGIN, _LOGIN, _NO_METHOD = 0, 2, 0xFF
_IPV4, _NAME, _IPV6 = 1, 3, 4
_REFUSED_BY_HOST: Final = 5
_MOST_BYTES: Final = 255  # Of a name, a user or a password: its length is one byte.
_REPLIES: Final = {
    1: "general failure",
    2: "its rules do not allow the connection",
    3: "network unreachable",
    4: "host unreachable; perhaps the name does not exist",
    6: "the connection timed out",
    7: "it does not support CONNECT",
    8: "it does not support this kind of address",
}


class SocksProxy(Struct):
    """A SOCKS5 proxy; without a login if *username* is empty."""

    host: str
    port: int
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def of(cls, url: str) -> Self | None:
        """Return the proxy that *url* names; None if its scheme is another one."""
        parts = urlsplit(url)
        if parts.scheme not in SOCKS_SCHEMES:
            return None
        username, password = unquote(parts.username or ""), unquote(parts.password or "")
        return cls(parts.hostname or "", parts.port or _DEFAULT_PORT, username, password)


async def open_tunnel(connected: socket.socket, proxy: SocksProxy, origin: Origin) -> None:
    """Ask *proxy*, to which *connected* leads, to connect to *origin*; then the socket carries that connection.

    Raises `Unauthorized` for a refused login, `ConnectionRefused` and `Unavailable` if the proxy cannot connect,
    `ProtocolError` for a response that is not SOCKS5, and `OSError`.
    """
    loop = asyncio.get_running_loop()
    where = f"{origin}: the proxy {proxy}"
    await loop.sock_sendall(connected, greeting(has_login=bool(proxy.username)))
    version, method = await _receive(connected, 2, where)
    if version != _VERSION:
        raise ProtocolError(f"{where} does not speak SOCKS5")
    if method == _LOGIN and proxy.username:
        await loop.sock_sendall(connected, login(proxy, where))
        _, status = await _receive(connected, 2, where)
        if status:
            raise _refused_login(where)
    elif method != _NO_LOGIN:
        raise _refused_login(where)
    await loop.sock_sendall(connected, connect_request(origin))
    version, reply, _, kind = await _receive(connected, 4, where)
    if version != _VERSION:
        raise ProtocolError(f"{where} does not speak SOCKS5")
    if reply:
        raise _failure(reply, where)
    # The address that the proxy uses; nothing after it may be read, since that belongs to the registry.
    length = {_IPV4: 4, _IPV6: 16}.get(kind) or (await _receive(connected, 1, where))[0]
    await _receive(connected, length + 2, where)


def greeting(*, has_login: bool) -> bytes:
    """Return the first message, with the login methods that we can use."""
    methods = (_NO_LOGIN, _LOGIN) if has_login else (_NO_LOGIN,)
    return bytes((_VERSION, len(methods), *methods))


def login(proxy: SocksProxy, where: str) -> bytes:
    """Return the message with user name and password; raises `ProtocolError` if one of them is too long."""
    user, password = (text.encode("utf-8", "surrogateescape") for text in (proxy.username, proxy.password))
    if len(user) > _MOST_BYTES or len(password) > _MOST_BYTES:
        raise ProtocolError(f"{where}: user name and password have at most {_MOST_BYTES} bytes each")
    return bytes((1, len(user))) + user + bytes((len(password),)) + password


def connect_request(origin: Origin) -> bytes:
    """Return the request to connect to *origin*; raises `ProtocolError` for a name that is too long."""
    try:
        address = ipaddress.ip_address(origin.host)
    except ValueError:
        name = origin.host.encode()
        if len(name) > _MOST_BYTES:
            raise ProtocolError(f"{origin}: a SOCKS5 proxy takes names of at most {_MOST_BYTES} bytes") from None
        kind, packed = _NAME, bytes((len(name),)) + name
    else:
        kind, packed = (_IPV4 if address.version == 4 else _IPV6), address.packed  # noqa: PLR2004 - IPv4
    return bytes((_VERSION, 1, 0, kind)) + packed + origin.port.to_bytes(2, "big")


def _failure(reply: int, where: str) -> StoreError:
    if reply == _REFUSED_BY_HOST:
        return ConnectionRefused(f"{where} says that the connection is refused; nothing listens there")
    return Unavailable(f"{where} cannot connect: {_REPLIES.get(reply, f'reply {reply}')}")


def _refused_login(where: str) -> Unauthorized:
    return Unauthorized(
        f"{where} does not accept our credentials",
        remedy="write user and password into its URL: socks5://user:password@proxy:port",
    )


async def _receive(connected: socket.socket, count: int, where: str) -> bytes:
    """Return exactly *count* bytes."""
    loop = asyncio.get_running_loop()
    received = b""
    while len(received) < count:
        more = await loop.sock_recv(connected, count - len(received))
        if not more:
            raise Unavailable(f"{where} closed the connection")
        received += more
    return received
