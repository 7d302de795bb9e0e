"""Maps errors of name resolution, connections and TLS handshakes to our errors."""

import errno
import os
import socket
import ssl
from collections.abc import Iterable
from typing import Final

from image_syncer.errors import InsecureConnection, StoreError, Unavailable, UnknownHost
from image_syncer.registry.http.tls import TlsPolicy

# OpenSSL's names for a response that is not TLS. An alert is TLS, whatever its reason.
_NOT_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG"})
# Permanent, unlike EAI_AGAIN.
_NO_SUCH_NAME: Final = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})
_TRANSIENT: Final = frozenset({"TLSV1_ALERT_INTERNAL_ERROR", "UNEXPECTED_EOF_WHILE_READING"})


PROXY_REMEDY: Final = (
    "check the proxy of the registry (proxy:), or in HTTPS_PROXY, HTTP_PROXY or ALL_PROXY; "
    "no_proxy: and NO_PROXY name hosts that need none"
)


class NotTls(InsecureConnection):
    """The server does not speak TLS."""


class HandshakeBroken(Unavailable):
    """The connection ended during the TLS handshake: a network error, or a server that does not speak TLS."""


class HandshakeTimeout(HandshakeBroken):
    """The server did not finish the TLS handshake in time: it is slow, or it does not speak TLS and stays silent."""


class ConnectionRefused(Unavailable):
    """No program listens on the port."""


def is_missing_name(cause: OSError) -> bool:
    """Whether the resolver says that a name does not exist."""
    return isinstance(cause, socket.gaierror) and cause.errno in _NO_SUCH_NAME


def explain_resolving(cause: OSError, host: str) -> StoreError:
    """Return the error for a *host* name that did not resolve: permanent, or temporary."""
    if is_missing_name(cause):
        remedy = "check its spelling, and whether it is reached by a proxy (HTTPS_PROXY) or a private DNS"
        return UnknownHost(f"{host}: there is no such registry: {os_reason(cause)}", remedy=remedy)
    return Unavailable(f"{host}: the name cannot be resolved: {os_reason(cause)}")


def explain_proxy(cause: OSError, host: str, proxy: str) -> StoreError:
    """Return the error for a *proxy* that *host* is requested through and that cannot be used."""
    kind = UnknownHost if is_missing_name(cause) else Unavailable
    return kind(f"{host}: the proxy {proxy} cannot be reached: {os_reason(cause)}", remedy=PROXY_REMEDY)


def explain_connecting(cause: OSError, host: str, tls: TlsPolicy) -> StoreError:
    """Return the error for a failed connection to *host*."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        failure: StoreError = InsecureConnection(
            f"{host}: its certificate is not trusted: {cause.verify_message or cause.reason}",
            remedy=f"put its CA into /etc/docker/certs.d/{tls.host}/ca.crt or name it in SSL_CERT_FILE "
            f"or in ca: of the registry, or set insecure: true for {tls.host}",
        )
    elif isinstance(cause, ssl.SSLError):
        failure = _explain_handshake(cause, host, tls)
    elif cause.errno == errno.ECONNREFUSED:
        remedy = f"check the address and the port of {tls.host}, and that it is running"
        failure = ConnectionRefused(f"{host}: the connection is refused; nothing listens there", remedy=remedy)
    elif isinstance(cause, (ConnectionResetError, ConnectionAbortedError)):
        failure = HandshakeBroken(f"{host}: the connection was closed during the TLS handshake")
    else:
        failure = Unavailable(f"{host}: no connection: {os_reason(cause)}")
    failure.__cause__ = cause
    return failure


def _explain_handshake(cause: ssl.SSLError, host: str, tls: TlsPolicy) -> StoreError:
    reason = cause.reason or "the connection was closed"
    if reason in _NOT_TLS:
        return NotTls(
            f"{host}: the server does not speak TLS",
            remedy=f"if plain HTTP is meant, set insecure: true for {tls.host}",
        )
    # A peer that just closes is a "zero return" to Python 3.11.2, and an end of file to later versions.
    if reason in _TRANSIENT or isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return HandshakeBroken(f"{host}: the TLS handshake broke off: {as_words(reason)}")
    return InsecureConnection(
        f"{host}: the TLS handshake failed: {as_words(reason)}",
        remedy=f"check its TLS versions; if it demands a client certificate, {client_certificate(tls.host)}",
    )


def explain_silent_handshake(host: str, tls: TlsPolicy, seconds: float) -> HandshakeTimeout:
    """Return the error for a TLS handshake with *host* that did not end within *seconds*."""
    return HandshakeTimeout(
        f"{host}: no TLS handshake within {seconds:g} s",
        remedy=f"if it speaks plain HTTP, set plain_http: true (or insecure: true) for {tls.host}",
    )


def client_certificate(host: str) -> str:
    """Return how to give us a client certificate for *host*, for remedies."""
    return f"put client.cert and client.key into /etc/docker/certs.d/{host}"


def explain_overdue(host: str, seconds: float) -> Unavailable:
    """Return the error for a head of *host* that was incomplete after *seconds*, although bytes kept coming."""
    return Unavailable(
        f"{host}: no complete response to one request within {seconds:g} s",
        remedy="if it is that slow, raise timeouts.stall (--stall-timeout), from which that limit follows",
    )


def explain_break(causes: Iterable[BaseException | None], host: str, tls: TlsPolicy) -> StoreError:
    """Return the error for a connection that broke after the handshake. TLS 1.3 alerts may arrive that late."""
    alert = next(
        (cause for cause in causes if isinstance(cause, ssl.SSLError) and "ALERT" in (cause.reason or "")), None
    )
    if alert is None:
        return Unavailable(f"{host}: the connection broke off before a response")
    reason = alert.reason or ""
    demands = "the server demands a client certificate" if reason.endswith("CERTIFICATE_REQUIRED") else "it was refused"
    return InsecureConnection(
        f"{host}: the TLS connection failed: {demands} ({as_words(reason)})",
        remedy=client_certificate(tls.host),
    )


def os_reason(error: OSError) -> str:
    """Return the system's description of *error*."""
    if error.errno is not None and not isinstance(error, socket.gaierror | ssl.SSLError):
        return os.strerror(error.errno)  # asyncio replaces it with the address, which the message has already.
    return error.strerror or type(error).__name__


def as_words(reason: str) -> str:
    """Return an OpenSSL reason such as `WRONG_VERSION_NUMBER` in lower case with spaces."""
    return reason.lower().replace("_", " ")
