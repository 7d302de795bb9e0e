"""The address of a broker, split into parts for clients that parse addresses differently."""

from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """An address that the configuration has validated. *user* and *password* are None without a login.

    *cafile* names the trusted certificates (None: those of the system). *sasl* is the SASL mechanism, if one is named.
    *endpoint* replaces the cloud's own API address, if one is named.
    """

    scheme: str
    host: str
    port: int
    path: str
    user: str | None
    password: str | None = field(repr=False)
    cafile: str | None = None
    sasl: str | None = None
    endpoint: str | None = None

    @classmethod
    def parse(cls, url: str, *, port: int) -> Self:
        """Return the parts of *url*; *port* is the default port."""
        parts = urlsplit(url)
        user, password = (None if text is None else unquote(text) or None for text in (parts.username, parts.password))
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        return cls(
            parts.scheme,
            parts.hostname or "",
            parts.port or port,
            parts.path.strip("/"),
            user,
            password,
            query.get("cafile"),
            query.get("sasl"),
            query.get("endpoint"),
        )

    @property
    def without_login(self) -> str:
        """Scheme, host and port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"
