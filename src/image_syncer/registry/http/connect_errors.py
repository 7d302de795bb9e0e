"""What goes wrong before a registry can answer: names, connections, TLS handshakes."""

import errno
import socket
import ssl
from collections.abc import Iterable
from typing import Final

from image_syncer.errors import InsecureConnection, StoreError, Unavailable, UnknownHost
from image_syncer.registry.http.tls import TlsPolicy

# What OpenSSL calls an answer that is no TLS. An alert is TLS, whatever it complains of.
_NOT_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG"})
_NO_SUCH_NAME: Final = frozenset(
    {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
)  # Final, unlike EAI_AGAIN.
_MAY_HEAL: Final = frozenset({"TLSV1_ALERT_INTERNAL_ERROR", "UNEXPECTED_EOF_WHILE_READING"})


class NotTls(InsecureConnection):
    """Something answers there, and it does not speak TLS."""


class HandshakeBroken(Unavailable):
    """The connection ended during the TLS handshake: trouble on the way, or a server that does not speak TLS."""


class ConnectionRefused(Unavailable):
    """Nothing listens there."""


def explain_resolving(cause: OSError, host: str) -> StoreError:
    """Return what it means that the name *host* did not resolve: for good, or for now."""
    if cause.errno in _NO_SUCH_NAME:
        remedy = "check its spelling, and whether it is reached by a proxy (HTTPS_PROXY) or a private DNS"
        return UnknownHost(f"{host}: there is no such registry: {os_reason(cause)}", remedy=remedy)
    return Unavailable(f"{host}: the name can not be resolved: {os_reason(cause)}")


def explain_connecting(cause: OSError, host: str, tls: TlsPolicy) -> StoreError:
    """Return what it means that no connection to *host* came about."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        trouble: StoreError = InsecureConnection(
            f"{host}: its certificate is not trusted: {cause.verify_message or cause.reason}",
            remedy=f"put its CA into /etc/docker/certs.d/{tls.host}/ca.crt or name it in SSL_CERT_FILE, "
            f"or set insecure: true for {tls.host}",
        )
    elif isinstance(cause, ssl.SSLError):
        trouble = _explain_handshake(cause, host, tls)
    elif cause.errno == errno.ECONNREFUSED:
        remedy = f"check the address and the port of {tls.host}, and that it is running"
        trouble = ConnectionRefused(f"{host}: the connection is refused; nothing listens there", remedy=remedy)
    elif isinstance(cause, (ConnectionResetError, ConnectionAbortedError)):
        trouble = HandshakeBroken(f"{host}: the connection was closed during the TLS handshake")
    else:
        trouble = Unavailable(f"{host}: no connection: {os_reason(cause)}")
    trouble.__cause__ = cause
    return trouble


def _explain_handshake(cause: ssl.SSLError, host: str, tls: TlsPolicy) -> StoreError:
    reason = cause.reason or "the connection was closed"
    if reason in _NOT_TLS:
        return NotTls(
            f"{host}: TLS is not spoken there",
            remedy=f"if plain HTTP is meant, set insecure: true for {tls.host}",
        )
    # Who hangs up without a word is a "zero return" to Python 3.11.2, and an end of file to later ones.
    if reason in _MAY_HEAL or isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return HandshakeBroken(f"{host}: the TLS handshake broke off: {as_words(reason)}")
    return InsecureConnection(
        f"{host}: the TLS handshake failed: {as_words(reason)}",
        remedy="the versions of TLS, or a client certificate that is asked for, do not fit",
    )


def explain_overdue(host: str, seconds: float) -> Unavailable:
    """Return what it means that *host* kept sending something, but no whole head of an answer within *seconds*."""
    return Unavailable(
        f"{host}: no whole answer to one request within {seconds:g} s",
        remedy="if it is that slow, raise timeouts.stall (--stall-timeout), from which that limit follows",
    )


def explain_break(causes: Iterable[BaseException | None], host: str) -> StoreError:
    """Return what a break after the handshake means: under TLS 1.3 an alert may come as late as that."""
    alert = next(
        (cause for cause in causes if isinstance(cause, ssl.SSLError) and "ALERT" in (cause.reason or "")), None
    )
    if alert is not None:
        return InsecureConnection(
            f"{host}: the TLS connection was refused: {as_words(alert.reason or '')}",
            remedy="a client certificate may be missing in certs.d",
        )
    return Unavailable(f"{host}: the connection broke off before an answer")


def os_reason(error: OSError) -> str:
    """Return the system's words for *error*."""
    return error.strerror or type(error).__name__


def as_words(reason: str) -> str:
    """Return an OpenSSL reason such as `WRONG_VERSION_NUMBER` as words."""
    return reason.lower().replace("_", " ")
