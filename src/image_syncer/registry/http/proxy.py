"""Which proxy a request takes: the environment's word, read as Go's tools read it (golang.org/x/net/http/httpproxy)."""

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from image_syncer.errors import StoreError
from image_syncer.registry.http.urls import Origin, is_loopback, origin_of


def proxy_for(url: str, environment: Mapping[str, str]) -> str | None:
    """Return the URL of the proxy for *url*, perhaps with credentials in it, None to connect directly.

    `HTTPS_PROXY` and `HTTP_PROXY` (or in lower case) name it by the scheme of *url*, `NO_PROXY` the exceptions.
    `HTTP_PROXY` is ignored where `REQUEST_METHOD` is set, since there a client may have sent it as a `Proxy` header.
    Raises `StoreError` for a proxy that is neither http nor https.
    """
    origin = origin_of(url)
    value = _named(origin.scheme, environment)
    if not value or is_loopback(origin.host) or _excepted(origin, _either("NO_PROXY", environment)):
        return None
    proxy = value if "://" in value else f"http://{value}"
    if urlsplit(proxy).scheme not in {"http", "https"}:
        raise StoreError(
            f"{origin.scheme.upper()}_PROXY names a proxy of a kind that is not supported",
            remedy="an http or https proxy, such as http://proxy.example.com:3128",
        )
    return proxy


def _named(scheme: str, environment: Mapping[str, str]) -> str:
    if scheme == "http" and environment.get("REQUEST_METHOD"):
        return environment.get("http_proxy", "")
    return _either(f"{scheme.upper()}_PROXY", environment)


def _either(name: str, environment: Mapping[str, str]) -> str:
    return environment.get(name) or environment.get(name.lower(), "")


def _excepted(origin: Origin, exceptions: str) -> bool:
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
        pass  # One of the two is a name: compare them as names.
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
        return False  # A name is in no network, and what is no network holds nothing; Go passes over it too.
