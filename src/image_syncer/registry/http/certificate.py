"""The certificate that a server has shown, as far as people want to know it."""

import ssl
from datetime import UTC, datetime
from typing import Any, Self, cast

from image_syncer.structs import Struct


class ServerCertificate(Struct):
    """A verified certificate: its *issuer*, its end, and the version of TLS (*protocol*)."""

    issuer: str
    expires_at: datetime
    protocol: str

    @classmethod
    def of(cls, connected: ssl.SSLSocket) -> Self | None:
        """Return the certificate of the peer of *connected*; None if it was not verified."""
        found = cast("dict[str, Any]", connected.getpeercert() or {})
        until: object = found.get("notAfter")
        if not isinstance(until, str):
            return None
        expires_at = datetime.fromtimestamp(ssl.cert_time_to_seconds(until), UTC)
        return cls(_name_of(found.get("issuer")), expires_at, connected.version() or "TLS")


def _name_of(issuer: object) -> str:
    """Return the organisation of *issuer*, or else its common name."""
    pairs = cast("tuple[tuple[tuple[str, str], ...], ...]", issuer or ())
    names = {key: value for group in pairs for key, value in group}
    return names.get("organizationName") or names.get("commonName") or "an unnamed authority"
