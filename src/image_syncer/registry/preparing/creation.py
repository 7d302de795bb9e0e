"""What is created where, and the requests that do it. Values only."""

import base64
import json
import re
from collections.abc import Mapping
from typing import Final

from image_syncer.registry.settings import CreateSettings, Credential
from image_syncer.structs import Struct, field

_EXISTS: Final = re.compile(r"exist|conflict", re.IGNORECASE)
_ABSENT: Final = re.compile(r"not_?exist", re.IGNORECASE)


class Creation(Struct):
    """The repository *path* at *registry*, to be made ready for a push.

    *url* is the API's server without a slash at its end; empty: the usual one of a library. *credential* is for this
    server; None: what the vendor's library finds in the environment.
    """

    registry: str
    path: str
    settings: CreateSettings
    url: str = ""
    credential: Credential | None = None

    @property
    def first(self) -> str:
        """The first component of the path: the project, namespace, organisation or repository key."""
        return self.path.partition("/")[0]

    @property
    def rest(self) -> str:
        """The path without its first component."""
        return self.path.partition("/")[2]


class ApiCall(Struct):
    """One request to a vendor's API; *document* is sent as JSON, and a success is any status 2xx.

    Status and text (in lower case) in *exists* say that the thing exists. With *is_check* nothing is created: a success
    says that the thing exists, and 404 that it does not.
    """

    method: str
    path: str
    document: object = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    exists: tuple[int, str] = (409, "")
    is_check: bool = False

    @property
    def content(self) -> bytes | None:
        """The body; None without one."""
        return None if self.document is None else json.dumps(self.document).encode()


def basic(credential: Credential | None) -> Mapping[str, str]:
    """Return the header of user and password; none without them."""
    if credential is None or not credential.username:
        return {}
    text = base64.b64encode(f"{credential.username}:{credential.password}".encode()).decode()
    return {"Authorization": f"Basic {text}"}


def bearer(credential: Credential | None) -> Mapping[str, str]:
    """Return the header of the token that is the password of *credential*; none without one."""
    return {} if credential is None or not credential.password else {"Authorization": f"Bearer {credential.password}"}


def says_exists(code: str) -> bool:
    """Whether the error *code* of an API says that what was to be created exists."""
    return _EXISTS.search(code) is not None and _ABSENT.search(code) is None
