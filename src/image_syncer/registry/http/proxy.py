"""Selects the proxy of a request from environment variables, as Go (golang.org/x/net/http/httpproxy) and curl do."""

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from image_syncer.errors import StoreError
from image_syncer.registry.http.socks import SOCKS_SCHEMES
from image_syncer.registry.http.urls import Origin, is_loopback, origin_of


def proxy_for(url: str, environment: Mapping[str, str]) -> str | None:
    """Return the URL of the proxy for *url*, which may hold credentials, None to connect directly.

    `HTTPS_PROXY` or `HTTP_PROXY` (also in lower case) names it, by the scheme of *url*; without that `ALL_PROXY`, which
    Go does not know, but curl and most other tools do. `NO_PROXY` lists exceptions.
    In a CGI process, where `REQUEST_METHOD` is set, a client may have set `HTTP_PROXY` by a `Proxy` header, so that is
    ignored. Raises `StoreError` for a proxy that is not http, https or socks5, or is not a valid URL.
    """
    origin = origin_of(url)
    variable, value = _configured(origin.scheme, environment)
    if not value or is_loopback(origin.host) or _is_excepted(origin, _variable("NO_PROXY", environment)):
        return None
    proxy = value if "://" in value else f"http://{value}"
    if not is_proxy_url(proxy):  # A direct connection instead could show traffic to a network it must avoid.
        raise StoreError(
            f"{origin}: {variable} does not name an http, https or socks5 proxy",
            remedy=f"set it to a URL such as http://proxy.example.com:3128, or name {origin.host} in NO_PROXY",
        )
    return proxy


def _configured(scheme: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """Return the name of the variable that counts for *scheme*, and its value."""
    name = f"{scheme.upper()}_PROXY"
    is_cgi = scheme == "http" and bool(environment.get("REQUEST_METHOD"))
    value = environment.get("http_proxy", "") if is_cgi else _variable(name, environment)
    return (name, value) if value else ("ALL_PROXY", _variable("ALL_PROXY", environment))


def is_proxy_url(url: str) -> bool:
    """Whether *url* names a proxy of a kind that we can use."""
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https", *SOCKS_SCHEMES} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # An invalid port, or brackets that do not match.
        return False


def _variable(name: str, environment: Mapping[str, str]) -> str:
    return environment.get(name) or environment.get(name.lower(), "")


def _is_excepted(origin: Origin, exceptions: str) -> bool:
    return any(_matches(item.strip().lower(), origin) for item in exceptions.split(",") if item.strip())


def _matches(item: str, origin: Origin) -> bool:
    if item == "*":
        return True
    if "/" in item:
        return _in_network(item, origin.host)
    host, port = _host_and_port(item)
    if not host or (port and port != str(origin.port)):
        return False
    try:
        return ipaddress.ip_address(host) == ipaddress.ip_address(origin.host)
    except ValueError:
        pass  # At least one of them is a name: compare as names.
    host = host.removeprefix("*")
    return origin.host.endswith(host) if host.startswith(".") else f".{origin.host}".endswith(f".{host}")


def _host_and_port(item: str) -> tuple[str, str]:
    if item.startswith("["):
        host, _, rest = item[1:].partition("]")
        return host, rest.removeprefix(":")
    if item.count(":") == 1:
        host, _, port = item.partition(":")
        return host, port
    return item, ""


def _in_network(item: str, host: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(item, strict=False)
    except ValueError:
        return False  # A host name, or an invalid network; Go ignores both too.
