"""The keys of `registries:` that say how requests travel: certificates, proxy, addresses, timeouts, headers."""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from image_syncer.config.byte_size import parse_size
from image_syncer.config.documents.node import quoted
from image_syncer.config.documents.source_file import SourceFile
from image_syncer.config.go_tool.auth_file import parse_prefix
from image_syncer.config.native.native_model import BandwidthHoursSection, BandwidthSection, RegistrySection
from image_syncer.errors import UsageError
from image_syncer.registry.http.proxy import is_proxy_url
from image_syncer.registry.transport_settings import (
    Bandwidth,
    BandwidthHours,
    ClientCertificate,
    TransportSettings,
    api_host,
)

_LEAST_CHUNK_BYTES: Final = 2**20
_MOST_CHUNK_BYTES: Final = 2**30
_SHORTEST_SECONDS: Final = 1.0
_LEAST_RATE: Final = 128 * 2**10
_MINUTES_OF_DAY: Final = 24 * 60
_SPAN: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-4]):([0-5][0-9])")
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_UNSENDABLE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_OUR_HEADERS: Final = frozenset(
    {
        "accept",
        "accept-encoding",
        "authorization",
        "connection",
        "content-length",
        "content-range",
        "content-type",
        "expect",
        "host",
        "if-match",
        "if-none-match",
        "proxy-authorization",
        "range",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    }
)
_KEYS: Final = (
    "ca",
    "client_certificate",
    "proxy",
    "no_proxy",
    "addresses",
    "timeouts",
    "user_agent",
    "headers",
    "chunk_size",
    "bandwidth",
)


def parse_transports(
    registries: Mapping[str, RegistrySection | None], config_file: SourceFile
) -> Mapping[str, TransportSettings]:
    """Return the transport settings of each registry that has any."""
    found: dict[str, TransportSettings] = {}
    for key, section in registries.items():
        named = [] if section is None else [name for name in _KEYS if name in section.model_fields_set]
        if section is None or not named:
            continue
        with config_file.collect_at("registries", key, named[0]):
            prefix = parse_prefix(key)
            if "/" in prefix:
                raise UsageError(
                    f"registries.{key}.{named[0]}: this applies to a whole registry",
                    remedy=f"write it at {prefix.partition('/')[0]}",
                )
            settings = _Reader(key, section, config_file).settings(api_host(prefix))
            if settings != TransportSettings(api_host(prefix)):
                found[prefix] = settings
    return found


def parse_mirrors(
    registries: Mapping[str, RegistrySection | None], config_file: SourceFile
) -> Mapping[str, tuple[str, ...]]:
    """Return the mirrors of each registry that has any."""
    found: dict[str, tuple[str, ...]] = {}
    for key, section in registries.items():
        if section is None or section.mirrors is None:
            continue
        with config_file.collect_at("registries", key, "mirrors"):
            registry, mirrors = parse_prefix(key), tuple(map(parse_prefix, section.mirrors))
            if "/" in registry:
                raise UsageError(
                    f"registries.{key}.mirrors: a mirror is one of a whole registry",
                    remedy=f"write it at {registry.partition('/')[0]}",
                )
            if registry in mirrors:
                raise UsageError(f"registries.{key}.mirrors: this is the registry itself", remedy="leave it out")
            found[registry] = mirrors
    return found


def parse_chunk_sizes(registries: Mapping[str, RegistrySection | None], config_file: SourceFile) -> Mapping[str, int]:
    """Return the chunk size in bytes of each registry that has one."""
    found: dict[str, int] = {}
    for key, section in registries.items():
        if section is None or section.chunk_size is None:
            continue
        with config_file.collect_at("registries", key, "chunk_size"):
            size = parse_size(section.chunk_size)
            if not _LEAST_CHUNK_BYTES <= size <= _MOST_CHUNK_BYTES:
                raise UsageError(f"registries.{key}.chunk_size: not between 1MiB and 1GiB")
            found[parse_prefix(key)] = size
    return found


def parse_bandwidth(section: BandwidthSection | None, place: Sequence[str] = ()) -> Bandwidth | None:
    """Return the bandwidth of *section*, which is at *place*; None without one. Raises `UsageError`."""
    if section is None:
        return None
    where = ".".join((*place, "bandwidth"))
    hours = tuple(_hours(span, limits, where) for span, limits in section.hours.items())
    return Bandwidth(_rate(section.up, where), _rate(section.down, where), hours)


def _hours(span: str, limits: BandwidthHoursSection, where: str) -> BandwidthHours:
    place = f"{where}.hours.{span}"
    found = _SPAN.fullmatch(span)
    if found is None:
        raise UsageError(f"{place}: not hours of a day", remedy='write them in quotes, such as "08:00-18:00"')
    begin_hour, begin_minute, end_hour, end_minute = map(int, found.groups())
    begin, end = 60 * begin_hour + begin_minute, 60 * end_hour + end_minute
    if begin == end or end > _MINUTES_OF_DAY:
        raise UsageError(f"{place}: not hours of a day", remedy="begin and end differ, and 24:00 is the latest end")
    return BandwidthHours(begin, end, _rate(limits.up, place), _rate(limits.down, place))


def _rate(size: str | None, where: str) -> int | None:
    if size is None:
        return None
    count = parse_size(size)
    if count < _LEAST_RATE:
        raise UsageError(f"{where}: less than 128KiB per second", remedy="registries end slower transfers")
    return count


class _Reader:
    """Reads the *section* of the registry *key*."""

    def __init__(self, key: str, section: RegistrySection, config_file: SourceFile) -> None:
        self._key = key
        self._section = section
        self._file = config_file

    def settings(self, host: str) -> TransportSettings:
        """Return the settings for *host*."""
        section = self._section
        certificate = section.client_certificate
        return TransportSettings(
            host,
            authorities=tuple(self._path(file, "ca") for file in section.ca or ()),
            client_certificate=ClientCertificate(
                self._path(certificate.certificate, "client_certificate", "certificate"),
                self._path(certificate.key, "client_certificate", "key"),
            )
            if certificate
            else None,
            proxy=self._proxy(),
            no_proxy=self._no_proxy(),
            addresses=tuple(self._address(address) for address in section.addresses or ()),
            connect_seconds=self._seconds("connect"),
            stall_seconds=self._seconds("stall"),
            user_agent=self._sendable(section.user_agent or "", "user_agent"),
            headers=tuple(self._header(name) for name in section.headers),
            bandwidth=parse_bandwidth(section.bandwidth, ("registries", self._key)),
        )

    def _where(self, *path: str) -> str:
        return ".".join(("registries", self._key, *path))

    def _path(self, file: str, *path: str) -> str:
        """Return *file*, which is relative to the file that names it."""
        return str(Path(self._file.file_of("registries", self._key, *path)).parent / file)

    def _proxy(self) -> str | None:
        if self._section.proxy is None:
            return None
        url = self._file.substitute(self._section.proxy, "registries", self._key, "proxy")
        if url == "none":
            return ""
        if "://" not in url or not is_proxy_url(url):
            raise UsageError(
                f"{self._where('proxy')}: not the URL of an http, https or socks5 proxy",
                remedy="write http://proxy.example.com:3128, socks5://proxy.example.com:1080, or none",
            )
        return url

    def _no_proxy(self) -> str:
        items = self._section.no_proxy or ()
        if any("," in item or not item.strip() for item in items):
            raise UsageError(
                f"{self._where('no_proxy')}: an item with a comma, or an empty one", remedy="write a list of hosts"
            )
        return ",".join(items)

    def _address(self, address: str) -> str:
        try:
            return str(ipaddress.ip_address(address))
        except ValueError:
            raise UsageError(f"{self._where('addresses')}: {quoted(address)} is not an IP address") from None

    def _seconds(self, name: str) -> float | None:
        value = self._section.timeouts.connect if name == "connect" else self._section.timeouts.stall
        if value is not None and value.total_seconds() < _SHORTEST_SECONDS:
            raise UsageError(f"{self._where('timeouts', name)}: shorter than a second")
        return None if value is None else value.total_seconds()

    def _header(self, name: str) -> tuple[str, str]:
        place = self._where("headers", name)
        if not _HEADER_NAME.fullmatch(name):
            raise UsageError(f"{place}: not the name of a header")
        if name.lower() in _OUR_HEADERS:
            remedy = {
                "authorization": "write username and password",
                "user-agent": "write user_agent",
            }.get(name.lower(), "leave it out")
            raise UsageError(f"{place}: image-syncer sets this header itself", remedy=remedy)
        value = self._file.substitute(self._section.headers[name], "registries", self._key, "headers", name)
        return name, self._sendable(value, "headers", name)

    def _sendable(self, value: str, *path: str) -> str:
        if _UNSENDABLE.search(value):
            raise UsageError(f"{self._where(*path)}: control characters cannot be sent")
        return value
