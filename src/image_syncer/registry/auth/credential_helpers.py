"""Runs docker credential helpers, programs that store logins (docker/docker-credential-helpers, "Development")."""

import asyncio
import json
import re
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from typing import Any, Final, cast

from image_syncer.errors import Unauthorized
from image_syncer.oci.reference import DOCKER_HUB
from image_syncer.registry.http.descriptors import out_of_descriptors
from image_syncer.registry.settings import Credential

_SUFFIX: Final = re.compile(r"[A-Za-z0-9._-]+")
_SECONDS: Final = 30.0
_OUTPUT_LIMIT: Final = 64 * 1024  # Bytes.
_HUB_ADDRESS: Final = "https://index.docker.io/v1/"
_NOT_FOUND: Final = b"credentials not found"
_TOKEN_USER: Final = "<token>"  # noqa: S105  # In the protocol, this user name marks the secret as an identity token.


def server_address(registry: str) -> str:
    """Return the key under which docker stores the login of *registry*."""
    return _HUB_ADDRESS if registry == DOCKER_HUB else registry


async def ask_helper(
    suffix: str, server: str, environment: Mapping[str, str], *, seconds: float = _SECONDS
) -> Credential | None:
    """Return the login that `docker-credential-<suffix>` has for *server*, None if it has none.

    Raises `Unauthorized` with the names of helper and server if the helper does not start, fails, prints anything but a
    login, or takes longer than *seconds*.
    """
    status, output = await _run(suffix, "get", server, server, environment, seconds=seconds)
    if status != 0:
        if _NOT_FOUND in output:
            return None
        raise _failed(suffix, server, f"failed with status {status}")
    return _parse(output, suffix, server)


async def store_with_helper(suffix: str, server: str, credential: Credential, environment: Mapping[str, str]) -> None:
    """Let the helper store *credential* for *server*; `Unauthorized` if it fails."""
    fields = {"ServerURL": server, "Username": credential.username, "Secret": credential.password}
    status, _ = await _run(suffix, "store", server, json.dumps(fields), environment)
    if status != 0:
        raise _failed(suffix, server, f"failed with status {status}")


async def erase_with_helper(suffix: str, server: str, environment: Mapping[str, str]) -> bool:
    """Let the helper erase the login of *server*; return False if it has none. `Unauthorized` if it fails."""
    status, output = await _run(suffix, "erase", server, server, environment)
    if status != 0 and _NOT_FOUND not in output:
        raise _failed(suffix, server, f"failed with status {status}")
    return status == 0


async def _run(
    suffix: str, action: str, server: str, text: str, environment: Mapping[str, str], *, seconds: float = _SECONDS
) -> tuple[int, bytes]:
    """Run the helper with *action*, write *text* to it, and return its status and output."""
    program = f"docker-credential-{suffix}"
    if not _SUFFIX.fullmatch(suffix):
        raise Unauthorized(f"{server}: {suffix[:50]!r} is not a valid name of a credential helper")
    try:
        process = await asyncio.create_subprocess_exec(
            program, action, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=dict(environment)
        )
    except OSError as error:
        if (shortage := out_of_descriptors(error, server)) is not None:
            raise shortage from error
        reason = f"cannot be run: {error.strerror or type(error).__name__}"
        raise _failed(suffix, server, reason) from error
    try:
        async with asyncio.timeout(seconds):
            output = await _exchange(process, text)
            return await process.wait(), output
    except TimeoutError:
        raise _failed(suffix, server, f"did not answer within {seconds:g} s") from None
    finally:
        await _end(process)


async def _exchange(process: Process, text: str) -> bytes:
    """Write *text* and return the output; kill a helper that writes more than the limit."""
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the helper was started without pipes")
    process.stdin.write(text.encode(errors="surrogateescape"))
    process.stdin.close()
    output = bytearray()
    while len(output) <= _OUTPUT_LIMIT and (chunk := await process.stdout.read(_OUTPUT_LIMIT)):
        output += chunk
    if len(output) > _OUTPUT_LIMIT:
        process.kill()
    return bytes(output)


async def _end(process: Process) -> None:
    """Close the pipes and end the process.

    The pipes come first: a child of the helper may hold their other ends open, and Python 3.11 reports the end of the
    helper only once they are closed. There is no public access to them.
    """
    transport = cast("asyncio.SubprocessTransport", process._transport)  # noqa: SLF001  # pyright: ignore[reportAttributeAccessIssue]
    transport.close()  # Kills the process if it still runs.
    await process.wait()


def _parse(output: bytes, suffix: str, server: str) -> Credential:
    try:
        document: object = json.loads(output)
    except (ValueError, RecursionError):
        document = None
    fields = cast("dict[str, Any]", document) if isinstance(document, dict) else {}
    user: object = fields.get("Username")
    secret: object = fields.get("Secret")
    if not isinstance(user, str) or not isinstance(secret, str) or not user or not secret:
        raise _failed(suffix, server, "did not return a login")
    return Credential(identity_token=secret) if user == _TOKEN_USER else Credential(user, secret)


def _failed(suffix: str, server: str, reason: str) -> Unauthorized:
    return Unauthorized(
        f"{server}: the credential helper docker-credential-{suffix} {reason}",
        remedy=f"repair it, or set user name and password for {server} in the auth file",
    )
