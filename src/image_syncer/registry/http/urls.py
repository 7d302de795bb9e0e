"""URLs that registries hand out: taken apart, joined and judged. Nothing here does I/O or re-encodes a byte."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from image_syncer.errors import ProtocolError
from image_syncer.registry.http.address_policy import Zone, parse_ip, zone_of_host

_PORTS: Final = {"https": 443, "http": 80}
_URL_LIMIT: Final = 16 * 1024
_BEGINNING: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
_UNUSABLE: Final = re.compile(r"[\x00-\x20\x7f\\]")
# Anything else than letters, digits and what joins them is read by one program so and by the next one otherwise.
_NAME: Final = re.compile(r"[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_.])?")
_CONFINED: Final = frozenset({Zone.LOOPBACK, Zone.LINK_LOCAL, Zone.UNUSABLE})


@dataclass(frozen=True, slots=True)
class Origin:
    """What credentials are bound to: scheme, host and port (RFC 6454)."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        """The host, and the port where it is not the scheme's own: as certs.d and people write it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def origin_of(url: str) -> Origin:
    """Return the origin of the absolute *url*; `ProtocolError` where it has none that we would talk to."""
    match = _BEGINNING.match(url)
    if match is None:
        raise ProtocolError(f"{redacted(url)}: not an http or https address")
    return _origin(match.group())


@lru_cache(maxsize=512)  # Every request needs its origin, and there are few.
def _origin(beginning: str) -> Origin:
    parts = _split(beginning)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ProtocolError(f"{redacted(beginning)}: not an http or https address")
    if parts.username is not None or parts.password is not None:
        raise ProtocolError(f"{redacted(beginning)}: an address with credentials in it")
    if not (_is_ipv6(parts.hostname) if "[" in parts.netloc else _NAME.fullmatch(parts.hostname)):
        raise ProtocolError(f"{redacted(beginning)}: an address with an impossible host")
    try:
        port = parts.port
    except ValueError as error:
        raise ProtocolError(f"{redacted(beginning)}: an address with an impossible port") from error
    return Origin(parts.scheme, parts.hostname, _PORTS[parts.scheme] if port is None else port)


def join(base: str, location: str) -> str:
    """Return *location* as it is meant at *base* (RFC 3986 section 5), its query untouched, without a fragment.

    A registry behind a proxy that ends TLS often writes `http://` with its own host: that keeps the https of *base*.
    Raises `ProtocolError` for what can not be asked, for a way from https down to http on another host, and for one
    from elsewhere to an address that is this machine's own.
    """
    if len(location) > _URL_LIMIT or _UNUSABLE.search(location):
        raise ProtocolError(
            f"{redacted(base)}: it hands out an address with characters that no address has, or a huge one"
        )
    try:
        # A byte that is no UTF-8 goes back as the byte that it was: heads are read with surrogates for those.
        ascii_only = quote(location, safe="".join(map(chr, range(0x21, 0x7F))), errors="surrogateescape")
        target = urljoin(base, ascii_only).partition("#")[0]
    except ValueError as error:
        raise ProtocolError(f"{redacted(base)}: it hands out an address that can not be read") from error
    asked, meant = origin_of(base), origin_of(target)
    if meant.host != asked.host and is_confined(meant.host) and not is_confined(asked.host):
        raise ProtocolError(f"{redacted(base)}: it leads to an address inside of our own network, {meant}")
    if asked.scheme == "https" and meant.scheme == "http":
        if meant.host != asked.host or meant.port not in {asked.port, _PORTS["http"]}:
            raise ProtocolError(f"{redacted(base)}: it leads from https to plain http at {meant}")
        return f"https://{_authority(base)}{target[len('http://') + len(_authority(target)) :]}"
    return target


def is_loopback(host: str) -> bool:
    """Whether *host* (without port; IPv6 with or without brackets) is this very machine, by its name alone."""
    return host.lower() == "localhost" or (parse_ip(host) is not None and zone_of_host(host) is Zone.LOOPBACK)


def is_tamper_proof(url: str) -> bool:
    """Whether nobody on the way can change what *url* answers: https, or this very machine. `ProtocolError`."""
    origin = origin_of(url)
    return origin.scheme == "https" or is_loopback(origin.host)


def is_confined(host: str) -> bool:
    """Whether *host* is an address that no stranger may send us to: this machine, its link, the cloud's metadata."""
    return zone_of_host(host) in _CONFINED


def host_of(name: str) -> str:
    """Return the host of `host` or `host:port`, IPv6 without its brackets."""
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0]


def has_port(name: str) -> bool:
    """Whether the registry *name* says its port."""
    return ":" in name.rpartition("]")[2]


def redacted(url: str) -> str:
    """Return *url* for people: without query, fragment and user, which may hold secrets, and not too long."""
    bare = re.split(r"[?#]", url, maxsplit=1)[0]
    scheme, mark, rest = bare.partition("://")
    if mark:
        authority, slash, path = rest.partition("/")
        bare = f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"
    return re.sub(r"[^\x20-\x7e]", "?", bare)[:300]


def _authority(url: str) -> str:
    return url.partition("://")[2].partition("/")[0].partition("?")[0]


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError as error:
        raise ProtocolError(f"{redacted(url)}: not an address") from error


def _is_ipv6(host: str) -> bool:
    return ":" in host and "%" not in host and parse_ip(host) is not None
