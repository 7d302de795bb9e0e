"""Users and their rights at a test registry or token server."""

import base64
import binascii
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

ALL: Final = frozenset({"pull", "push", "delete"})
PULL: Final = frozenset({"pull"})

Rights = Mapping[str, frozenset[str]]
"""Actions by pattern of the repository's name; all matching patterns add up."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user's password and rights. The POST flow accepts *refresh_token*, if set, instead of the password."""

    password: str = field(repr=False)
    rights: Rights = field(default_factory=lambda: {"*": ALL})
    refresh_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Accounts:
    """All users by name, and the rights of anonymous callers."""

    users: Mapping[str, Account] = field(default_factory=dict[str, Account])
    anonymous: Rights = field(default_factory=dict[str, frozenset[str]])

    def knows(self, name: str, password: str) -> bool:
        """Whether *password* is the password of the user *name*."""
        account = self.users.get(name)
        return account is not None and hmac.compare_digest(account.password.encode(), password.encode())

    def owner_of(self, refresh_token: str) -> str | None:
        """Return the user with this refresh token, None if there is none."""
        owners = (
            name for name, user in self.users.items() if user.refresh_token and user.refresh_token == refresh_token
        )
        return next(owners, None)

    def allowed(self, name: str | None, repository: str) -> frozenset[str]:
        """Return the actions that *name* (None: anonymous) may take in *repository*."""
        rights = self.users[name].rights if name is not None else self.anonymous
        fitting = [actions for pattern, actions in rights.items() if fnmatchcase(repository, pattern)]
        return frozenset(action for actions in fitting for action in actions)


def parse_basic(header: str | None) -> tuple[str, str] | None:
    """Return user name and password of an Authorization header, None if it is not Basic."""
    scheme, _, encoded = (header or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (name, password) if colon else None
