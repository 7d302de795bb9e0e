"""Network zones of addresses, and the addresses that untrusted URLs may use."""

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_syncer.errors import ProtocolError
from image_syncer.registry.http.address_policy import (
    USER_NAMED,
    Zone,
    most_public,
    parse_ip,
    policy_for_redirects,
    zone_of,
    zone_of_host,
)

PUBLIC, PRIVATE, LOOPBACK, LINK, UNUSABLE = Zone


@pytest.mark.parametrize(
    ("host", "zone"),
    [
        ("8.8.8.8", PUBLIC),
        ("2001:4860::8888", PUBLIC),
        ("[2001:4860::8888]", PUBLIC),
        ("198.18.0.7", PUBLIC),  # Some proxies resolve every name to this network.
        ("10.0.0.1", PRIVATE),
        ("172.31.255.255", PRIVATE),
        ("172.32.0.0", PUBLIC),
        ("192.168.1.1", PRIVATE),
        ("100.64.0.1", PRIVATE),
        ("fd12::1", PRIVATE),
        ("fec0::1", PRIVATE),
        ("127.0.0.1", LOOPBACK),
        ("127.255.0.3", LOOPBACK),
        ("::1", LOOPBACK),
        ("127.1", LOOPBACK),
        ("0x7f.1", LOOPBACK),
        ("0x7f000001", LOOPBACK),
        ("017700000001", LOOPBACK),
        ("2130706433", LOOPBACK),
        ("0177.0.0.1", LOOPBACK),
        ("127.0.0.1.", LOOPBACK),
        ("localhost", LOOPBACK),
        ("LocalHost.", LOOPBACK),
        ("a.b.localhost", LOOPBACK),
        ("localhost.localdomain", LOOPBACK),
        ("::ffff:127.0.0.1", LOOPBACK),
        ("::ffff:7f00:1", LOOPBACK),
        ("::127.0.0.1", LOOPBACK),
        ("64:ff9b::7f00:1", LOOPBACK),
        ("2002:7f00:1::", LOOPBACK),
        ("::ffff:10.0.0.1", PRIVATE),
        ("169.254.1.1", LINK),
        ("fe80::1%eth0", LINK),
        ("169.254.169.254", UNUSABLE),
        ("0xa9fea9fe", UNUSABLE),
        ("::ffff:169.254.169.254", UNUSABLE),
        ("169.254.170.2", UNUSABLE),
        ("100.100.100.200", UNUSABLE),
        ("168.63.129.16", UNUSABLE),
        ("fd00:ec2::254", UNUSABLE),
        ("0.0.0.0", UNUSABLE),
        ("0", UNUSABLE),
        ("0.1.2.3", UNUSABLE),
        ("::", UNUSABLE),
        ("224.0.0.1", UNUSABLE),
        ("ff02::1", UNUSABLE),
        ("255.255.255.255", UNUSABLE),
        ("registry.example", None),
        ("127.0.0.1.example", None),
        ("localhost.example", None),
        ("1.2.3.4.5", None),
        ("999.1", None),
        ("0x", None),
        ("", None),
    ],
)
def test_every_spelling_of_an_address_has_its_zone(host: str, zone: Zone | None) -> None:
    """The system's spellings, and IPv4 addresses embedded in IPv6; None means a name that needs a lookup."""
    assert zone_of_host(host) is zone


@given(st.integers(0, 2**32 - 1), st.sampled_from(["{0}", "{0:#x}", "0{0:o}"]))
def test_a_number_is_parsed_as_the_system_does(number: int, form: str) -> None:
    """A single number is an IPv4 address, in any base that C accepts."""
    text = form.format(number)
    assert parse_ip(text) == ipaddress.ip_address(socket.inet_ntoa(socket.inet_aton(text)))


@given(st.ip_addresses(v=4))
def test_an_embedded_ipv4_address_keeps_its_zone(address: ipaddress.IPv4Address) -> None:
    """Mapped, translated or tunnelled: the connection goes to the embedded address."""
    number = int(address)
    dressed = [0xFFFF << 32 | number, int(ipaddress.IPv6Address("64:ff9b::")) | number, 0x2002 << 112 | number << 80]
    assert {zone_of(ipaddress.IPv6Address(one)) for one in dressed} == {zone_of(address)}


def allowed_zones(zone: Zone, *, verified: bool = True, private: bool | None = None) -> list[Zone]:
    """Return the zones that a host name from a registry in *zone* may resolve to."""
    examples = ("8.8.8.8", "10.0.0.1", "127.0.0.1", "169.254.1.1", "169.254.169.254")
    found: list[Zone] = []
    for address in examples:
        try:
            policy_for_redirects(zone, verified=verified, private=private).check(address, "storage.example")
        except ProtocolError:
            continue
        found.append(zone_of(ipaddress.ip_address(address)))
    return found


@pytest.mark.parametrize("zone", Zone)
def test_a_registry_may_point_to_public_addresses_and_its_own_zone(zone: Zone) -> None:
    """Never to metadata services; to this machine or its link only if it is there itself."""
    found = allowed_zones(zone, verified=False)
    assert UNUSABLE not in found
    assert PUBLIC in found
    assert (LOOPBACK in found) is (zone is LOOPBACK)
    assert (LINK in found) is (zone is LINK)
    assert (PRIVATE in found) is (zone is not PUBLIC)


def test_a_public_registry_needs_a_verified_name_or_permission_for_private_addresses() -> None:
    """A certificate proves the owner of a name; IP addresses and unverified names need `private_network`."""
    assert PRIVATE in allowed_zones(PUBLIC)
    assert PRIVATE not in allowed_zones(PUBLIC, verified=False)
    assert PRIVATE in allowed_zones(PUBLIC, verified=False, private=True)
    assert PRIVATE not in allowed_zones(PUBLIC, private=False)
    assert PRIVATE not in allowed_zones(PRIVATE, private=False)
    with pytest.raises(ProtocolError, match=r"^10\.0\.0\.1: an address in a private network") as raised:
        policy_for_redirects(PUBLIC, verified=True, private=None).check_host("10.0.0.1")
    assert "private_network: true" in (raised.value.remedy or "")


def test_a_configured_registry_may_be_anywhere_but_at_a_metadata_service() -> None:
    """A name that resolves to a metadata service is never intended."""
    for address in ("8.8.8.8", "10.0.0.1", "127.0.0.1", "fe80::1"):
        USER_NAMED.check(address, "registry.example")
    with pytest.raises(ProtocolError, match=r"registry.example \(169.254.169.254\): an address that no registry has"):
        USER_NAMED.check("169.254.169.254", "registry.example")


def test_the_most_public_address_decides_the_zone() -> None:
    """A host without addresses counts as public."""
    assert most_public({LOOPBACK, PRIVATE}) is PRIVATE
    assert most_public(()) is PUBLIC


def test_equal_arguments_give_the_same_policy_object() -> None:
    """The policy is part of the connection pool's key."""
    assert policy_for_redirects(PUBLIC, verified=True, private=None) is policy_for_redirects(
        PUBLIC, verified=True, private=None
    )
