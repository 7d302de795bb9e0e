"""Protection against SSRF: network zones of IP addresses, and which zones untrusted URLs may use. Pure.

Registries hand out URLs of storage, token servers and uploads. A hostile one could make us call services that only we
can reach. So the allowed addresses depend on where the registry itself is (docs/explanation/security.md).
"""

import ipaddress
import re
import socket
from collections.abc import Collection
from enum import Enum
from functools import lru_cache
from typing import Final

from image_syncer.errors import ProtocolError
from image_syncer.structs import Struct, field

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class Zone(Enum):
    """The network zone of an address, with its name in messages; the most public first."""

    PUBLIC = "a public address"
    PRIVATE = "an address in a private network"
    LOOPBACK = "an address of this machine"
    LINK_LOCAL = "a link-local address"
    UNUSABLE = "an address that no registry has"


_PRIVATE: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        "10.0.0.0/8",  # RFC 1918
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",  # RFC 6598: carrier-grade NAT; also overlay networks.
        "fc00::/7",  # RFC 4193
        "fec0::/10",  # RFC 3879: site-local, deprecated and still routed.
    )
)
_METADATA: Final = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254",  # Nearly every cloud.
        "169.254.170.2",  # AWS: container credentials.
        "fd00:ec2::254",  # AWS over IPv6.
        "100.100.100.200",  # Alibaba Cloud.
        "168.63.129.16",  # Azure's wire server: a public address that the host answers.
    )
)
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
_COMPATIBLE: Final = ipaddress.IPv6Network("::/96")  # RFC 4291, 2.5.5.1: deprecated, and some stacks still accept it.
_NUMBERS: Final = re.compile(r"(?:0[xX][0-9a-fA-F]+|[0-9]+)(?:\.(?:0[xX][0-9a-fA-F]+|[0-9]+)){0,3}")
_LOCAL_NAMES: Final = re.compile(r"(?:.*\.)?localhost(?:\.localdomain)?", re.IGNORECASE)


def parse_ip(host: str) -> IpAddress | None:
    """Return *host* as an IP address (IPv6 with or without brackets), None for a name.

    This includes every spelling that the system's `inet_aton` accepts: `127.1`, `0x7f.1`, `2130706433`, `0177.0.0.1`.
    """
    bare = host.strip("[]").partition("%")[0].rstrip(".")
    try:
        return ipaddress.ip_address(bare)
    except ValueError:
        pass
    if not _NUMBERS.fullmatch(bare):
        return None
    try:
        return ipaddress.IPv4Address(socket.inet_aton(bare))
    except OSError:
        return None


def zone_of(address: IpAddress) -> Zone:
    """Return the zone of *address*, or of the IPv4 address embedded in it."""
    inner = _embedded(address)
    if inner in _METADATA or inner.is_unspecified or inner.is_multicast or inner == _BROADCAST:
        return Zone.UNUSABLE
    if inner.is_loopback:
        return Zone.LOOPBACK
    if inner.is_link_local:
        return Zone.LINK_LOCAL
    if any(inner in network for network in _PRIVATE if network.version == inner.version):
        return Zone.PRIVATE
    # 0.0.0.0/8 is "this network" (RFC 1122); Linux connects some of its addresses to itself.
    return Zone.UNUSABLE if isinstance(inner, ipaddress.IPv4Address) and inner.packed[0] == 0 else Zone.PUBLIC


def zone_of_host(host: str) -> Zone | None:
    """Return the zone of *host* if it is an IP address or a local name, None for a name that needs a lookup."""
    address = parse_ip(host)
    if address is not None:
        return zone_of(address)
    return Zone.LOOPBACK if _LOCAL_NAMES.fullmatch(host.rstrip(".")) else None


class AddressPolicy(Struct, eq=False):
    """The addresses that a request may connect to. Compared by identity, so it can be part of a connection pool's key.

    With *names*, a host name may also resolve to a private address although *zones* excludes it: TLS then proves that
    the server is the owner of that name. *why* is the end of the error message.
    """

    zones: frozenset[Zone]
    names: bool = False
    why: str = field(default="", repr=False)

    def check(self, address: str, host: str) -> None:
        """Raise `ProtocolError` if this policy forbids *address* (an IP address) of *host*."""
        found = parse_ip(address)
        self.check_zone(Zone.UNUSABLE if found is None else zone_of(found), host, address)

    def check_host(self, host: str) -> None:
        """Raise `ProtocolError` if *host* is a forbidden IP address or local name; a proxy checks others."""
        zone = zone_of_host(host)
        if zone is not None:
            self.check_zone(zone, host, host)

    def check_zone(self, zone: Zone, host: str, address: str) -> None:
        """Raise `ProtocolError` if this policy forbids *zone*, that of the *address* of *host*."""
        if zone in self.zones or (zone is Zone.PRIVATE and self.names and parse_ip(host) is None):
            return
        where = host if host.strip("[]") == address else f"{host} ({address})"
        raise ProtocolError(f"{where}: {zone.value}, {self.why}", remedy=_REMEDIES.get(zone))


_BROADCAST: Final = ipaddress.ip_address("255.255.255.255")
_REMEDIES: Final = {
    Zone.PRIVATE: "if its storage or token server is meant to be there, set private_network: true for the registry"
}
_LED: Final = "where this registry may not lead us"

ANYWHERE: Final = AddressPolicy(frozenset(Zone))
"""For proxies, and for registries that the user gives by IP address."""

USER_NAMED: Final = AddressPolicy(frozenset(Zone) - {Zone.UNUSABLE}, why="where no registry is")
"""For registries that the user gives by name: any network, but never a metadata service."""


def most_public(zones: Collection[Zone]) -> Zone:
    """Return the most public of *zones*: a host with addresses in several zones gets the rights of that one."""
    return next((zone for zone in Zone if zone in zones), Zone.PUBLIC)


@lru_cache
def policy_for_redirects(zone: Zone, *, verified: bool, private: bool | None) -> AddressPolicy:
    """Return the addresses that URLs from a registry in *zone* may use; the same object for the same arguments.

    Public addresses and the registry's own zone are always allowed. Private ones are allowed if *private* is true. If
    it is None they are allowed for registries that are not public, and for names with *verified* TLS.
    """
    zones = {Zone.PUBLIC} | ({zone} - {Zone.UNUSABLE})
    inward = zone is not Zone.PUBLIC
    if private or (private is None and inward):
        zones.add(Zone.PRIVATE)
    elif private is False and inward:
        zones.discard(Zone.PRIVATE)
    return AddressPolicy(frozenset(zones), names=private is None and verified, why=_LED)


def _embedded(address: IpAddress) -> IpAddress:
    """Return the IPv4 address embedded in *address* (mapped, NAT64, 6to4, compatible), otherwise *address*."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    last = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        return last
    return address
