"""The keys of `registries:` about certificates, proxies, addresses, timeouts, headers and chunks."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from image_syncer.config.byte_size import parse_size
from image_syncer.config.documents.document import parse_document
from image_syncer.config.load import load_file
from image_syncer.config.model import Configuration
from image_syncer.config.native.native_view import view_native
from image_syncer.daemon.services import syncer_options
from image_syncer.errors import UsageError
from image_syncer.oci import PlatformFilter
from image_syncer.registry.settings import HostLimits
from image_syncer.registry.transport_settings import Bandwidth, BandwidthHours, ClientCertificate, TransportSettings

NOTHING: Mapping[str, str] = MappingProxyType({})
EVERYTHING = """registries:
  docker.io:
    ca: ca.pem
    client_certificate: {certificate: pki/client.pem, key: /pki/client.key}
    proxy: 'socks5://user:${PASSWORD}@proxy.example:1080'
    no_proxy: [a.example, 10.0.0.0/8]
    addresses: [10.0.0.5, 'fd00::1']
    timeouts: {connect: 5s, stall: 90s}
    user_agent: mirror/1
    headers: {X-Key: '${PASSWORD}'}
    chunk_size: 8MiB
    bandwidth: {down: 20MB, hours: {'08:00-18:00': {up: 1MiB, down: 2MB}, '22:00-24:00': {}}}
    mirrors: [m.example:5000/hub, mirror.gcr.io]
    limits: {transfers: 2}
bandwidth: {up: 10MB}
"""


def native(directory: Path, text: str, environment: Mapping[str, str] = NOTHING) -> Configuration:
    """Return the configuration of a native file with *text* after its first line."""
    path = directory / "n.yaml"
    path.write_text(f"version: 1\n{text}")
    return load_file(path, platforms=PlatformFilter(), environment=environment)


def test_all_keys_of_a_registry(tmp_path: Path) -> None:
    """Paths are relative to the file, and Docker Hub is reached at its own host. The daemon uses the same."""
    found = native(tmp_path, EVERYTHING, {"PASSWORD": "hunter2"})
    settings = TransportSettings(
        "registry-1.docker.io",
        authorities=(str(tmp_path / "ca.pem"),),
        client_certificate=ClientCertificate(str(tmp_path / "pki/client.pem"), "/pki/client.key"),
        proxy="socks5://user:hunter2@proxy.example:1080",
        no_proxy="a.example,10.0.0.0/8",
        addresses=("10.0.0.5", "fd00::1"),
        connect_seconds=5.0,
        stall_seconds=90.0,
        user_agent="mirror/1",
        headers=(("X-Key", "hunter2"),),
        bandwidth=Bandwidth(
            down=20_000_000,
            hours=(BandwidthHours(480, 1080, up=2**20, down=2_000_000), BandwidthHours(1320, 1440)),
        ),
    )
    assert found.transports == {"docker.io": settings}
    assert found.host_limits == {"docker.io": HostLimits(transfers=2, chunk_bytes=8 * 2**20)}
    assert syncer_options(found).transports == found.transports
    assert syncer_options(found).mirrors == found.mirrors == {"docker.io": ("m.example:5000/hub", "mirror.gcr.io")}
    assert syncer_options(found).bandwidth == found.bandwidth == Bandwidth(up=10_000_000)
    assert "hunter2" not in repr(found)


def test_the_view_hides_the_secrets(tmp_path: Path) -> None:
    """The proxy's URL has a password, and a header may be one."""
    document = parse_document(f"version: 1\n{EVERYTHING}".encode(), tmp_path / "n.yaml", remedy_if_empty="")
    shown = view_native(document, str(tmp_path / "n.yaml"), {"PASSWORD": "hunter2"})
    assert "hunter2" not in str(shown)
    assert shown["registries"]["docker.io"]["headers"] == {"X-Key": "***"}
    assert shown["registries"]["docker.io"]["chunk_size"] == "8MiB"


def test_a_registry_without_these_keys_has_no_settings(tmp_path: Path) -> None:
    """So it shares connections with all others; a proxy of `none` is a setting."""
    found = native(tmp_path, "registries:\n  a.io: {insecure: true}\n  b.io: {proxy: none}\n  c.io: {timeouts: {}}\n")
    assert found.transports == {"b.io": TransportSettings("b.io", proxy="")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.io/team: {ca: x.pem}", r"registries\.a\.io/team\.ca: this applies to a whole registry.*write it at a\.io"),
        ("a.io: {client_certificate: {certificate: x}}", "key is missing"),
        (
            "a.io: {proxy: 'ftp://hunter2@p'}",
            r"registries\.a\.io\.proxy: not the URL of an http, https or socks5 proxy",
        ),
        ("a.io: {proxy: 'hunter2'}", "not the URL of an http, https or socks5 proxy"),
        ("a.io: {no_proxy: 'a.example,b.example'}", "an item with a comma"),
        ("a.io: {addresses: [b.io]}", "b.io is not an IP address|'b.io' is not an IP address|\"b.io\" is not"),
        ("a.io: {timeouts: {stall: 10ms}}", r"registries\.a\.io\.timeouts\.stall: shorter than a second"),
        ("a.io: {headers: {authorization: hunter2}}", "sets this header itself.*write username and password"),
        ("a.io: {headers: {Host: hunter2}}", "sets this header itself"),
        ("a.io: {headers: {'a b': hunter2}}", "not the name of a header"),
        ('a.io: {headers: {a: "hunter2\\r\\nb: c"}}', "control characters cannot be sent"),
        ('a.io: {user_agent: "a\\nb"}', "control characters cannot be sent"),
        ("a.io: {chunk_size: 1KiB}", "not between 1MiB and 1GiB"),
        ("a.io: {chunk_size: 8}", "expected a size with its unit"),
        ("a.io: {mirrors: a.io}", "this is the registry itself"),
        ("a.io/team: {mirrors: b.io}", "a mirror is one of a whole registry"),
        ("a.io: {mirrors: 'https://b.io'}", "without its scheme"),
        ("a.io: {bandwidth: {up: 1kB}}", r"registries\.a\.io\.bandwidth: less than 128KiB per second"),
        ("a.io: {bandwidth: {hours: {'8-18': {}}}}", r"hours\.8-18: not hours of a day.*in quotes"),
        ("a.io: {bandwidth: {hours: {'08:00-24:01': {}}}}", "not hours of a day"),
        ("a.io: {bandwidth: {hours: {'08:00-08:00': {}}}}", "not hours of a day"),
    ],
)
def test_a_value_that_cannot_work_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """With its place, and without the value where it may be a secret."""
    with pytest.raises(UsageError, match=message) as raised:
        native(tmp_path, f"registries:\n  {text}\n")
    assert "n.yaml:3" in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_the_bandwidth_of_all_registries_is_checked(tmp_path: Path) -> None:
    """With the place of its section."""
    with pytest.raises(UsageError, match=r"n\.yaml:2.*bandwidth: less than 128KiB per second"):
        native(tmp_path, "bandwidth: {down: 1kB}\n")


@pytest.mark.parametrize(
    ("text", "count"),
    [("1kB", 1000), ("1.5MB", 1_500_000), ("2GB", 2 * 10**9), ("512KiB", 2**19), ("8MiB", 2**23), ("1GiB", 2**30)],
)
def test_sizes_have_units(text: str, count: int) -> None:
    """Decimal and binary ones, told apart by the letter."""
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "8", "8 MiB", "8mib", "8M", "-1MiB", "1e3MiB", None, True, 8])
def test_a_size_without_a_clear_unit_is_refused(text: object) -> None:
    """`8M` is one thing to curl and another to dd."""
    with pytest.raises(ValueError, match="expected a size with its unit"):
        parse_size(text)
