"""The address of a broker in its parts, for clients that read addresses in ways of their own."""

from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass(frozen=True, slots=True)
class Address:
    """An address that the configuration has checked. *user* and *password* are None where it has no login.

    *cafile* names the certificates that are trusted, None for those of the system; *sasl* how a login is told, None
    where it is not said.
    """

    scheme: str
    host: str
    port: int
    path: str
    user: str | None
    password: str | None = field(repr=False)
    cafile: str | None = None
    sasl: str | None = None

    @classmethod
    def parse(cls, url: str, *, port: int) -> Self:
        """Return the parts of *url*, with the usual *port* where it names none."""
        parts = urlsplit(url)
        user, password = (None if text is None else unquote(text) or None for text in (parts.username, parts.password))
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        return cls(
            parts.scheme,
            parts.hostname or "",
            parts.port or port,
            parts.path.strip("/"),
            user,
            password,
            asked.get("cafile"),
            asked.get("sasl"),
        )

    @property
    def without_login(self) -> str:
        """The address alone."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"
