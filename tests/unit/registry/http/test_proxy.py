"""The proxy of a request."""

import pytest

from image_syncer.errors import StoreError
from image_syncer.registry.http.proxy import proxy_for

PROXY = "http://proxy.example:3128"
BOTH = {"HTTP_PROXY": PROXY, "HTTPS_PROXY": "http://secure.example:3128"}


@pytest.mark.parametrize(
    ("url", "environment", "expected"),
    [
        ("http://a.example/", BOTH, PROXY),
        ("https://a.example/", BOTH, "http://secure.example:3128"),
        ("https://a.example/", {"https_proxy": PROXY}, PROXY),
        ("https://a.example/", {"https_proxy": "lower:1", "HTTPS_PROXY": PROXY}, PROXY),
        ("https://a.example/", {"HTTPS_PROXY": "proxy.example:3128"}, PROXY),
        ("https://a.example/", {"HTTPS_PROXY": "http://u:p@proxy.example:1"}, "http://u:p@proxy.example:1"),
        ("https://a.example/", {"HTTP_PROXY": PROXY}, None),
        ("https://a.example/", {"HTTPS_PROXY": ""}, None),
        ("https://a.example/", {}, None),
        ("https://a.example/", {"ALL_PROXY": PROXY}, PROXY),
        ("http://a.example/", {"all_proxy": PROXY}, PROXY),
        ("https://a.example/", {"ALL_PROXY": "http://all.example:1", "HTTP_PROXY": PROXY}, "http://all.example:1"),
        ("https://a.example/", {"ALL_PROXY": "http://all.example:1", "HTTPS_PROXY": PROXY}, PROXY),
        ("https://a.example/", {"ALL_PROXY": PROXY, "NO_PROXY": "a.example"}, None),
        ("https://a.example/", {"ALL_PROXY": "socks5://proxy.example"}, "socks5://proxy.example"),
        ("https://127.0.0.1/", {"ALL_PROXY": PROXY}, None),
    ],
)
def test_the_scheme_selects_the_variable(url: str, environment: dict[str, str], expected: str | None) -> None:
    """Each scheme has its own variable, in upper or lower case; ALL_PROXY counts where that is not set."""
    assert proxy_for(url, environment) == expected


def test_a_cgi_process_ignores_http_proxy() -> None:
    """There a client can set HTTP_PROXY by a header (httpoxy); only the administrator can set http_proxy."""
    environment = {"HTTP_PROXY": PROXY, "REQUEST_METHOD": "GET"}
    assert proxy_for("http://a.example/", environment) is None
    assert proxy_for("http://a.example/", {**environment, "http_proxy": PROXY}) == PROXY


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9:5000", "[::1]:5000", "LOCALHOST:5000"])
def test_requests_to_this_machine_use_no_proxy(host: str) -> None:
    """For a proxy, localhost is another machine."""
    assert proxy_for(f"http://{host}/v2/", BOTH) is None


@pytest.mark.parametrize(
    ("no_proxy", "host", "direct"),
    [
        ("*", "a.example", True),
        ("a.example", "a.example", True),
        ("a.example", "deep.a.example", True),
        ("a.example", "ba.example", False),
        (".a.example", "deep.a.example", True),
        (".a.example", "a.example", False),
        ("*.a.example", "deep.a.example", True),
        ("*.a.example", "a.example", False),
        ("A.Example , b.example", "a.example", True),
        (" , b.example", "b.example", True),
        ("a.example:443", "a.example", True),
        ("a.example:444", "a.example", False),
        ("a.example:444", "a.example:444", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3:444", "10.1.2.3", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8", "a.example", False),
        ("fd00::/8", "[fd00::1]:5000", True),
        ("[fd00::1]", "[fd00::1]", True),
        ("[fd00::1]:5000", "[fd00::1]", False),
        ("nonsense/8", "a.example", False),
        ("", "a.example", False),
    ],
)
def test_no_proxy_is_read_as_in_go(no_proxy: str, host: str, direct: bool) -> None:
    """Names with and without a leading dot, ports, addresses and networks."""
    environment = {**BOTH, "no_proxy": no_proxy}
    assert (proxy_for(f"https://{host}/", environment) is None) is direct


def test_an_unsupported_kind_of_proxy_is_refused() -> None:
    """A direct connection would bypass the proxy. The message does not show the password."""
    with pytest.raises(StoreError, match="HTTPS_PROXY") as raised:
        proxy_for("https://a.example/", {"HTTPS_PROXY": "socks4://u:hunter2@proxy.example:1080"})
    assert "hunter2" not in str(raised.value)
