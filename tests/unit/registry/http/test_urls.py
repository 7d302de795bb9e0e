"""Untrusted URLs."""

import pytest

from image_syncer.errors import ProtocolError
from image_syncer.registry.http.urls import (
    has_port,
    host_of,
    is_confined,
    is_loopback,
    is_tamper_proof,
    join,
    origin_of,
    redacted,
)

BASE = "https://registry.example/v2/a/blobs/uploads/?from=x"


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/v2/a/blobs/uploads/1?_state=a%2Fb%3D", "https://registry.example/v2/a/blobs/uploads/1?_state=a%2Fb%3D"),
        ("1?_state=x", "https://registry.example/v2/a/blobs/uploads/1?_state=x"),
        ("?n=2", "https://registry.example/v2/a/blobs/uploads/?n=2"),
        ("//cdn.example/x", "https://cdn.example/x"),
        ("https://cdn.example:8443/x?sig=a%2Fb&k=%3A%40~#part", "https://cdn.example:8443/x?sig=a%2Fb&k=%3A%40~"),
        ("http://registry.example/v2/x?y=1", "https://registry.example/v2/x?y=1"),
        ("http://registry.example:443/v2/x", "https://registry.example/v2/x"),
        ("http://registry.example?y=1", "https://registry.example?y=1"),
        ("/v2/ä", "https://registry.example/v2/%C3%A4"),
        ("/v2/\udcff", "https://registry.example/v2/%FF"),
    ],
)
def test_a_location_is_joined_without_changes(location: str, expected: str) -> None:
    """RFC 3986, with every escape unchanged; `http://` with the registry's own host becomes https."""
    assert join(BASE, location) == expected


@pytest.mark.parametrize(
    "location",
    [
        "http://cdn.example/x",
        "http://registry.example:5000/x",
        "ftp://registry.example/x",
        "https://user:pass@registry.example/x",
        "https://registry.example:99999/x",
        "https://[::1/x",
        "/v2/a\r\nHost: evil.example",
        "/v2/a b",
        "/v2\\a",
        "/" + "x" * 20_000,
        "https://169.254.169.254/latest/meta-data",
        "https://[fd00:ec2::254]/",
        "https://127.0.0.1:2375/",
        "https://localhost/",
        "https://0.0.0.0/",
        "https://[::ffff:127.0.0.1]/",
        "https://127.1/",
        "https://0x7f.0.0.1/",
        "https://2130706433/",
        "https://127.0.0.1./",
        "https://localhost./",
        "https://metadata.localhost/",
        "https://224.0.0.1/",
        "https://100.100.100.200/",
        "https://%31%32%37.0.0.1/",
        "https://\uff11\uff12\uff17.0.0.1/",
        "https://registry.example\u3002evil.example/",
        "https://registry.example%00.evil.example/",
        "https://registry.example:443:443/",
        "https://[fe80::1%25eth0]/",
        "https://[v1.fe80]/",
        "https://-evil.example/",
        "file:///etc/passwd",
        "gopher://evil.example/",
        "javascript:alert(1)",
    ],
)
def test_a_dangerous_location_is_refused(location: str) -> None:
    """Plain http on another host, a login, an invalid URL, or an address in our own network."""
    with pytest.raises(ProtocolError):
        join(BASE, location)


def test_a_registry_on_this_machine_may_point_to_it() -> None:
    """Its own zone is allowed."""
    assert join("http://127.0.0.1:5000/v2/", "http://127.0.0.1:5001/token") == "http://127.0.0.1:5001/token"


def test_an_origin_is_shown_in_its_common_form() -> None:
    """Without the default port, and IPv6 in brackets."""
    urls = ["https://a.example:443/x", "https://A.example:5000", "http://[::1]:80/", "http://[::1]:5000/"]
    assert [str(origin_of(url)) for url in urls] == ["a.example", "a.example:5000", "[::1]", "[::1]:5000"]


def test_a_url_is_shown_without_secrets() -> None:
    """Queries hold signatures, and the user part may hold a password."""
    assert redacted("https://u:p@a.example/x?sig=1#y") == "https://a.example/x"
    assert redacted("/v2/a?_state=1") == "/v2/a"
    assert redacted("https://a.example/\x1b[31m") == "https://a.example/?[31m"


def test_host_and_port_of_a_name() -> None:
    """Host, port, and whether the host is this machine."""
    assert [host_of(name) for name in ("a.example:1", "a.example", "[::1]:1", "[::1]")] == ["a.example"] * 2 + [
        "::1"
    ] * 2
    assert [has_port(name) for name in ("a.example:1", "a.example", "[::1]:1", "[::1]")] == [True, False, True, False]
    assert [is_loopback(host) for host in ("localhost", "127.8.8.8", "::1", "a.example", "10.0.0.1")] == [True] * 3 + [
        False
    ] * 2
    assert [is_confined(host) for host in ("169.254.169.254", "fe80::1%eth0", "10.0.0.1")] == [True, True, False]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://issuer.example/keys", True),
        ("http://127.0.0.1:8080/keys", True),
        ("http://[::1]:8080", True),
        ("http://issuer.example/", False),
        ("http://localhost.issuer.example/", False),
        ("http://10.0.0.1/", False),
    ],
)
def test_only_https_and_this_machine_are_tamper_proof(url: str, expected: bool) -> None:
    """An attacker who can replace keys can log in."""
    assert is_tamper_proof(url) is expected
