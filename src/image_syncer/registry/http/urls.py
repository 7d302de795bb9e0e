"""Parses, joins and checks URLs that registries hand out. Pure; re-encodes no byte that is valid in a URL."""

import re
from functools import lru_cache
from typing import Final
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from image_syncer.errors import ProtocolError
from image_syncer.registry.http.address_policy import Zone, parse_ip, zone_of_host
from image_syncer.structs import Struct

_PORTS: Final = {"https": 443, "http": 80}
_URL_LIMIT: Final = 16 * 1024
_BEGINNING: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
_UNUSABLE: Final = re.compile(r"[\x00-\x20\x7f\\]")
# Programs differ in how they read other characters in a host.
_NAME: Final = re.compile(r"[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_.])?")
_CONFINED: Final = frozenset({Zone.LOOPBACK, Zone.LINK_LOCAL, Zone.UNUSABLE})


class Origin(Struct):
    """Scheme, host and port, to which credentials are bound (RFC 6454)."""

    scheme: str
    host: str
    port: int

    def __eq__(self, other: object) -> bool:
        if self is other:  # `origin_of` returns the same object most of the time.
            return True
        return (
            isinstance(other, Origin)
            and self.host == other.host
            and self.port == other.port
            and (self.scheme == other.scheme)
        )

    def __hash__(self) -> int:
        return hash(self.host) ^ self.port

    def __str__(self) -> str:
        """`host`, or `host:port` if the port is not the scheme's default."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def origin_of(url: str) -> Origin:
    """Return the origin of the absolute *url*; raises `ProtocolError` if it is not a plain http or https URL."""
    match = _BEGINNING.match(url)
    if match is None:
        raise ProtocolError(f"{redacted(url)}: not an http or https address")
    return _origin(match.group())


@lru_cache(maxsize=512)  # Every request needs its origin, and there are few different ones.
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
    """Return *location* resolved against *base* (RFC 3986 section 5), with its query unchanged and without a fragment.

    A registry behind a proxy that ends TLS often writes `http://` with its own host: that becomes https. Raises
    `ProtocolError` for an invalid URL, for a step from https down to http on another host, and for an address of this
    machine or its link unless *base* is there itself.
    """
    if len(location) > _URL_LIMIT or _UNUSABLE.search(location):
        raise ProtocolError(f"{redacted(base)}: it hands out an address with invalid characters, or a huge one")
    try:
        # Heads are decoded with surrogates for invalid UTF-8; this turns them back into the original bytes.
        ascii_only = quote(location, safe="".join(map(chr, range(0x21, 0x7F))), errors="surrogateescape")
        target = urljoin(base, ascii_only).partition("#")[0]
    except ValueError as error:
        raise ProtocolError(f"{redacted(base)}: it hands out an invalid address") from error
    source, destination = origin_of(base), origin_of(target)
    if destination.host != source.host and is_confined(destination.host) and not is_confined(source.host):
        raise ProtocolError(f"{redacted(base)}: it leads to an address inside of our own network, {destination}")
    if source.scheme == "https" and destination.scheme == "http":
        if destination.host != source.host or destination.port not in {source.port, _PORTS["http"]}:
            raise ProtocolError(f"{redacted(base)}: it leads from https to plain http at {destination}")
        return f"https://{_authority(base)}{target[len('http://') + len(_authority(target)) :]}"
    return target


def is_loopback(host: str) -> bool:
    """Whether *host* (without port; IPv6 with or without brackets) names this machine, without a lookup."""
    return host.lower() == "localhost" or (parse_ip(host) is not None and zone_of_host(host) is Zone.LOOPBACK)


def is_tamper_proof(url: str) -> bool:
    """Whether *url* is https or on this machine, so that responses cannot be altered on the way; `ProtocolError`."""
    origin = origin_of(url)
    return origin.scheme == "https" or is_loopback(origin.host)


def is_confined(host: str) -> bool:
    """Whether *host* is an address that untrusted URLs must not use: this machine, its link, cloud metadata."""
    return zone_of_host(host) in _CONFINED


def host_of(name: str) -> str:
    """Return the host of `host` or `host:port`, IPv6 without its brackets."""
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0]


def has_port(name: str) -> bool:
    """Whether the registry *name* includes a port."""
    return ":" in name.rpartition("]")[2]


def redacted(url: str) -> str:
    """Return *url* for messages: without query, fragment and user, which may hold secrets; at most 300 characters."""
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
