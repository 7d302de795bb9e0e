"""Where addresses lie, and which of them a stranger may send us to. Pure; nothing here looks anything up.

Registries hand out addresses: of storage, of token servers, of uploads. Whoever writes them could have us ask what only
we can reach. So what a registry may lead to depends on where it is itself (docs/explanation/security.md).
"""

import ipaddress
import re
import socket
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import Final

from image_syncer.errors import ProtocolError

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class Zone(Enum):
    """Where an address lies, as messages name it; the first is the most public."""

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
        "100.64.0.0/10",  # RFC 6598: between a provider and its customers; also overlay networks.
        "fc00::/7",  # RFC 4193
        "fec0::/10",  # RFC 3879: site-local, given up and still routed.
    )
)
_METADATA: Final = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254",  # Nearly every cloud.
        "169.254.170.2",  # AWS: credentials of a container.
        "fd00:ec2::254",  # AWS over IPv6.
        "100.100.100.200",  # Alibaba Cloud.
        "168.63.129.16",  # Azure's wire server; publicly numbered, answered by the host.
    )
)
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
_COMPATIBLE: Final = ipaddress.IPv6Network("::/96")  # RFC 4291, 2.5.5.1: given up, and some stacks still take it.
_NUMBERS: Final = re.compile(r"(?:0[xX][0-9a-fA-F]+|[0-9]+)(?:\.(?:0[xX][0-9a-fA-F]+|[0-9]+)){0,3}")
_LOCAL_NAMES: Final = re.compile(r"(?:.*\.)?localhost(?:\.localdomain)?", re.IGNORECASE)


def parse_ip(host: str) -> IpAddress | None:
    """Return the address that *host* is (IPv6 with or without brackets), None for a name.

    Every spelling that the system's `inet_aton` takes counts: `127.1`, `0x7f.1`, `2130706433`, `0177.0.0.1`.
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
    """Return where *address* lies; one that carries an IPv4 address within lies where that does."""
    inner = _inner(address)
    if inner in _METADATA or inner.is_unspecified or inner.is_multicast or inner == _BROADCAST:
        return Zone.UNUSABLE
    if inner.is_loopback:
        return Zone.LOOPBACK
    if inner.is_link_local:
        return Zone.LINK_LOCAL
    if any(inner in network for network in _PRIVATE if network.version == inner.version):
        return Zone.PRIVATE
    # 0.0.0.0/8 is "this network" (RFC 1122), and Linux connects parts of it to itself.
    return Zone.UNUSABLE if isinstance(inner, ipaddress.IPv4Address) and inner.packed[0] == 0 else Zone.PUBLIC


def zone_of_host(host: str) -> Zone | None:
    """Return where *host* lies by its text alone, None for a name that has to be looked up."""
    address = parse_ip(host)
    if address is not None:
        return zone_of(address)
    return Zone.LOOPBACK if _LOCAL_NAMES.fullmatch(host.rstrip(".")) else None


@dataclass(frozen=True, slots=True, eq=False)
class AddressPolicy:
    """Which addresses a request may be connected to; compared by identity, so that a pool can keep connections by it.

    With *names* private addresses are in reach for who is asked by name, where *zones* does not hold them: a
    certificate that is verified for the name then proves who answers there.
    """

    zones: frozenset[Zone]
    names: bool = False
    why: str = field(default="", repr=False)

    def check(self, address: str, host: str) -> None:
        """Raise `ProtocolError` where *address* (as digits), which *host* has, is out of reach."""
        found = parse_ip(address)
        self.check_zone(Zone.UNUSABLE if found is None else zone_of(found), host, address)

    def check_host(self, host: str) -> None:
        """Raise `ProtocolError` where *host* is out of reach by its text alone: for whom a proxy looks names up."""
        zone = zone_of_host(host)
        if zone is not None:
            self.check_zone(zone, host, host)

    def check_zone(self, zone: Zone, host: str, address: str) -> None:
        """Raise `ProtocolError` where *zone*, in which *host* lies by *address*, is out of reach."""
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
"""For whom the user has named by address, and for proxies."""

USER_NAMED: Final = AddressPolicy(frozenset(Zone) - {Zone.UNUSABLE}, why="where no registry is")
"""For a registry that the user has named: it may be in any network of ours, but nobody's name is the metadata's."""


def most_public(zones: Collection[Zone]) -> Zone:
    """Return the first of *zones*: who has addresses of several kinds is trusted as the most public is."""
    return next((zone for zone in Zone if zone in zones), Zone.PUBLIC)


@lru_cache
def policy_for_redirects(zone: Zone, *, verified: bool, private: bool | None) -> AddressPolicy:
    """Return what a registry in *zone* may lead to; the same object for the same arguments.

    Always public addresses, and the zone that it is in itself. Private addresses where *private* is true, where it is
    None for registries that are not public, and where *verified* (by TLS) also for public ones that say a name.
    """
    zones = {Zone.PUBLIC} | ({zone} - {Zone.UNUSABLE})
    inward = zone is not Zone.PUBLIC
    if private or (private is None and inward):
        zones.add(Zone.PRIVATE)
    elif private is False and inward:
        zones.discard(Zone.PRIVATE)
    return AddressPolicy(frozenset(zones), names=private is None and verified, why=_LED)


def _inner(address: IpAddress) -> IpAddress:
    """Return the IPv4 address that *address* carries within (mapped, NAT64, 6to4, compatible), or else itself."""
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
