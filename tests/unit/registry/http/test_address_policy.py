"""Where addresses lie, and who may lead to them."""

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
        ("198.18.0.7", PUBLIC),  # What some proxies let every name mean.
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
def test_every_spelling_of_an_address_lies_where_the_address_does(host: str, zone: Zone | None) -> None:
    """As the system reads them, with one IPv4 address inside an IPv6 one; None has to be looked up."""
    assert zone_of_host(host) is zone


@given(st.integers(0, 2**32 - 1), st.sampled_from(["{0}", "{0:#x}", "0{0:o}"]))
def test_numbers_mean_what_the_system_makes_of_them(number: int, form: str) -> None:
    """One number is a whole IPv4 address, in any base that C reads."""
    text = form.format(number)
    assert parse_ip(text) == ipaddress.ip_address(socket.inet_ntoa(socket.inet_aton(text)))


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_lies_the_same_in_every_dress(address: ipaddress.IPv4Address) -> None:
    """Mapped, translated, tunnelled: what is connected to is the address within."""
    number = int(address)
    dressed = [0xFFFF << 32 | number, int(ipaddress.IPv6Address("64:ff9b::")) | number, 0x2002 << 112 | number << 80]
    assert {zone_of(ipaddress.IPv6Address(one)) for one in dressed} == {zone_of(address)}


def led(zone: Zone, *, verified: bool = True, private: bool | None = None) -> list[Zone]:
    """Return the zones of the addresses that a host with a name may have, led to by a registry in *zone*."""
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
def test_a_registry_leads_to_the_public_and_to_its_own_kind(zone: Zone) -> None:
    """Never to the metadata, to this machine only from this machine, to the link only from the link."""
    found = led(zone, verified=False)
    assert UNUSABLE not in found
    assert PUBLIC in found
    assert (LOOPBACK in found) is (zone is LOOPBACK)
    assert (LINK in found) is (zone is LINK)
    assert (PRIVATE in found) is (zone is not PUBLIC)


def test_a_public_registry_leads_inside_by_a_verified_name_or_by_leave() -> None:
    """A certificate proves who answers for a name; digits and unverified names need the user's word."""
    assert PRIVATE in led(PUBLIC)
    assert PRIVATE not in led(PUBLIC, verified=False)
    assert PRIVATE in led(PUBLIC, verified=False, private=True)
    assert PRIVATE not in led(PUBLIC, private=False)
    assert PRIVATE not in led(PRIVATE, private=False)
    with pytest.raises(ProtocolError, match=r"^10\.0\.0\.1: an address in a private network") as raised:
        policy_for_redirects(PUBLIC, verified=True, private=None).check_host("10.0.0.1")
    assert "private_network: true" in (raised.value.remedy or "")


def test_a_registry_that_the_user_names_may_be_anywhere_but_at_the_metadata() -> None:
    """A name that leads to the cloud's metadata was not meant."""
    for address in ("8.8.8.8", "10.0.0.1", "127.0.0.1", "fe80::1"):
        USER_NAMED.check(address, "registry.example")
    with pytest.raises(ProtocolError, match=r"registry.example \(169.254.169.254\): an address that no registry has"):
        USER_NAMED.check("169.254.169.254", "registry.example")


def test_the_most_public_address_counts() -> None:
    """And whoever has none is taken for public."""
    assert most_public({LOOPBACK, PRIVATE}) is PRIVATE
    assert most_public(()) is PUBLIC


def test_one_rule_is_one_object() -> None:
    """Connections are pooled by it."""
    assert policy_for_redirects(PUBLIC, verified=True, private=None) is policy_for_redirects(
        PUBLIC, verified=True, private=None
    )
