"""Reads the login files of docker (config.json) and the containers tools (auth.json)."""

import base64
import binascii
import json
from codecs import BOM_UTF8
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

from image_syncer.errors import InvalidReference, Unauthorized
from image_syncer.oci.reference import normalise_host
from image_syncer.registry.http.descriptors import out_of_descriptors
from image_syncer.registry.settings import Credential
from image_syncer.structs import Struct, field

_FILE_LIMIT: Final = 1024 * 1024  # Bytes.


class LoginEntry(Struct):
    """One entry of `auths` in the file *name*, decoded at its first use."""

    name: str
    prefix: str
    document: Mapping[str, Any] = field(repr=False)

    def credential(self) -> Credential:
        """Return the login; raises `Unauthorized` if `auth` is not base64 of `user:password`."""
        identity_token = _text(self.document, "identitytoken")
        if identity_token:
            return Credential(identity_token=identity_token)
        auth = _text(self.document, "auth")
        if not auth:
            return Credential(_text(self.document, "username"), _text(self.document, "password"))
        user, colon, password = _decoded(auth).partition(":")
        if not colon or not user:
            raise Unauthorized(
                f"{self.name}: the entry for {self.prefix} is invalid: its auth is not base64 of user:password",
                remedy=f"log in again: docker login {self.prefix.partition('/')[0]}",
            )
        return Credential(user, password.rstrip("\0"))  # Old versions of docker padded the password.


class LoginFile(Struct):
    """The content of a login file: *entries* and *helpers* by normalised prefix; *store* is the default helper.

    An empty helper means that the login of that registry is in the file itself.
    """

    name: str
    entries: Mapping[str, LoginEntry] = field(default_factory=dict[str, LoginEntry])
    helpers: Mapping[str, str] = field(default_factory=dict[str, str])
    store: str = ""

    def entry(self, repository: str) -> LoginEntry | None:
        """Return the most specific entry for *repository*: its own, one of a namespace, or that of the registry."""
        prefix = repository
        while prefix:
            if prefix in self.entries:
                return self.entries[prefix]
            prefix = prefix.rpartition("/")[0]
        return None


def read_login_file(path: Path) -> LoginFile | None:
    """Return the content of *path*, None if it does not exist; raises `Unauthorized` if it is unreadable."""
    try:
        with path.open("rb") as file:
            content = file.read(_FILE_LIMIT + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if (shortage := out_of_descriptors(error, str(path))) is not None:
            raise shortage from error
        raise _unreadable(str(path), error.strerror or type(error).__name__) from error
    if len(content) > _FILE_LIMIT:
        raise _unreadable(str(path), f"more than {_FILE_LIMIT} bytes")
    return parse_login_file(content, str(path))


def parse_login_file(content: bytes, name: str) -> LoginFile:
    """Parse *content*; raises `Unauthorized` if it is not JSON of the right shape. Unknown keys are ignored.

    A blank file holds no login: docker and podman read it so, and mounted secrets may be empty.
    """
    if not content.removeprefix(BOM_UTF8).strip():
        return LoginFile(name)
    try:
        document: object = json.loads(content)
    except json.JSONDecodeError as error:
        raise _unreadable(name, f"not JSON at line {error.lineno}, column {error.colno}") from None
    except (ValueError, RecursionError):
        raise _unreadable(name, "not JSON") from None
    if document is None:
        return LoginFile(name)
    if not isinstance(document, dict):
        raise _unreadable(name, "not a JSON object")
    settings = cast("dict[str, Any]", document)
    auths = {key: value for key, value in _object(settings, "auths", name).items() if _is_login(value)}
    helpers = _object(settings, "credHelpers", name)
    return LoginFile(
        name,
        {prefix: LoginEntry(name, prefix, auths[key]) for key in auths if (prefix := _prefix(key))},
        {_prefix(key): helper for key, helper in helpers.items() if isinstance(helper, str)},
        _text(settings, "credsStore"),
    )


def _decoded(auth: str) -> str:
    """Return the text in base64, which may lack its padding or have line breaks; empty if it is not base64.

    Bytes that are not UTF-8 become surrogates, which turn into the same bytes again when the login is sent.
    """
    compact = "".join(auth.split())
    try:
        content = base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError):
        return ""
    return content.decode(errors="surrogateescape")


def _prefix(key: str) -> str:
    """Return *key* as a prefix; docker writes URLs (`https://index.docker.io/v1/`), podman plain names."""
    bare = key.strip()
    for scheme in ("https://", "http://"):
        if bare.startswith(scheme):
            bare = bare.removeprefix(scheme).partition("/")[0]
    host, slash, path = bare.rstrip("/").partition("/")
    if path in {"v1", "v2"}:
        slash = path = ""
    try:
        return f"{normalise_host(host)}{slash}{path}"
    except InvalidReference:
        return bare  # Not a valid registry name: it matches no repository.


def is_same_registry(key: str, registry: str) -> bool:
    """Whether the key of an entry names *registry* as a whole, in any of the forms of docker and podman."""
    return _prefix(key) == registry


def _is_login(value: object) -> bool:
    """Whether an entry holds a login; an empty one means that a helper has it."""
    if not isinstance(value, dict):
        return False
    entry = cast("dict[str, Any]", value)
    return any(_text(entry, key) for key in ("auth", "username", "identitytoken"))


def _object(settings: Mapping[str, Any], key: str, name: str) -> dict[str, Any]:
    value: object = settings.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _unreadable(name, f"{key} is not an object")
    return cast("dict[str, Any]", value)


def _text(document: Mapping[str, Any], key: str) -> str:
    value = document.get(key)
    return value if isinstance(value, str) else ""


def _unreadable(name: str, reason: str) -> Unauthorized:
    return Unauthorized(
        f"{name}: logins cannot be read from it: {reason}",
        remedy="repair or remove it, or set user name and password in the auth file",
    )


def home_directory() -> Path:
    """Return the user's home directory; one that does not exist for a user without any, as in many containers."""
    try:
        return Path.home()
    except RuntimeError:  # HOME is unset, and the user has no passwd entry.
        return Path("/nonexistent")
