"""Stores and erases logins in docker's file, or in the credential helper that the file names, as docker does."""

import base64
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

from image_syncer.errors import Unauthorized
from image_syncer.registry.auth.credential_helpers import erase_with_helper, server_address, store_with_helper
from image_syncer.registry.auth.docker_config import LoginFile, is_same_registry, parse_login_file, read_login_file
from image_syncer.registry.settings import Credential

_MODE: Final = 0o600
_DIRECTORY_MODE: Final = 0o700


async def store_login(path: Path, registry: str, credential: Credential, environment: Mapping[str, str]) -> str:
    """Store *credential* for *registry* and return where: the file *path*, or the helper that it names.

    Other settings in the file stay. The login replaces every entry of the registry. Raises `Unauthorized` if the file
    cannot be read or written, or if the helper fails.
    """
    document, file = _read(path)
    helper = _helper(file, registry)
    entry: dict[str, str] = {}  # Empty: docker marks so that the helper has the login.
    if helper:
        await store_with_helper(helper, server_address(registry), credential, environment)
    else:
        pair = f"{credential.username}:{credential.password}".encode(errors="surrogateescape")
        entry = {"auth": base64.b64encode(pair).decode()}
    auths = {key: value for key, value in _auths(document).items() if not is_same_registry(key, registry)}
    auths[server_address(registry)] = entry
    _write(path, {**document, "auths": auths})
    return f"docker-credential-{helper}" if helper else str(path)


async def erase_login(path: Path, registry: str, environment: Mapping[str, str]) -> bool:
    """Erase the login of *registry* from the file *path* and from its helper; return whether there was one."""
    document, file = _read(path)
    helper = _helper(file, registry)
    is_erased = bool(helper) and await erase_with_helper(helper, server_address(registry), environment)
    auths = _auths(document)
    kept = {key: value for key, value in auths.items() if not is_same_registry(key, registry)}
    if kept == auths:
        return is_erased
    _write(path, {**document, "auths": kept})
    return True


def _read(path: Path) -> tuple[dict[str, Any], LoginFile]:
    """Return the whole content of *path*, and what it says about logins."""
    if read_login_file(path) is None:
        return {}, LoginFile(str(path))
    content = path.read_bytes()
    file = parse_login_file(content, str(path))  # Which checks the shape.
    document: object = json.loads(content) if content.strip() else None
    return cast("dict[str, Any]", document) if isinstance(document, dict) else {}, file


def _auths(document: Mapping[str, Any]) -> dict[str, Any]:
    return dict(document.get("auths") or {})


def _helper(file: LoginFile, registry: str) -> str:
    return file.helpers.get(registry, file.store)


def _write(path: Path, document: Mapping[str, Any]) -> None:
    """Replace *path* in one step; a symbolic link stays, and its target is replaced."""
    path = Path(os.path.realpath(path))
    try:
        path.parent.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # Only its owner may read it.
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(document, file, indent="\t")
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(_MODE)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise Unauthorized(
            f"{path}: the login cannot be written: {reason}", remedy="check its mode and owner"
        ) from None
