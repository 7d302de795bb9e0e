"""Responses that are not HTTP or more than one response, and targets that lie."""

import asyncio
from typing import Final

from aiohttp import web

from hostile.behaviour import Gets, Table
from hostile.street import Outcome, Street, serving
from image_syncer.oci import Digest
from image_syncer.testing import faults
from image_syncer.testing.images import single
from image_syncer.testing.threads import open_in_thread

HTTP = Table("HTTP")
TARGETS = Table("Targets that lie")

_HEAD: Final = b"HTTP/1.1 200 OK\r\n"
_NOT_HTTP: Final = "the response is not HTTP"


def _raw(does: str, answer: bytes, reason: str = _NOT_HTTP, outcome: str = "failed") -> None:
    @HTTP.add(does, Gets(outcome, step="resolve", reason=reason))
    def serve(street: Street) -> None:
        """A source that sends these bytes after the ping, whatever the request."""

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if await reader.readexactly(1) == b"\x16":  # TLS, which this server does not speak.
                writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                return
            while head := await reader.readuntil(b"\r\n\r\n"):
                greeted = b" /v2/ " in head
                writer.write(_HEAD + b"Content-Length: 2\r\n\r\n{}" if greeted else answer)
                await writer.drain()
                if not greeted:
                    return

        port = street.opened.enter_context(open_in_thread(serving(talk)))
        street.source_host = f"127.0.0.1:{port}"


_raw("no HTTP at all", b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
_raw("two lengths for one body", _HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}")
_raw("a length and chunks", _HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
_raw("a header line that is folded", _HEAD + b"X-A: b\r\n c\r\nContent-Length: 0\r\n\r\n")
_raw("bare line feeds", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n" + b"x" * 40_000)
_raw("a head of 100 KiB", _HEAD + b"X-A: " + b"x" * 100_000 + b"\r\n\r\n")
_raw("a thousand header fields", _HEAD + b"X-A: b\r\n" * 1000 + b"\r\n")
_raw("hints without an answer", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000)
_raw("an upgrade that was not requested", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n")
_raw("a control character in a header", _HEAD + b"X-A: \x1b[2J\r\nContent-Length: 0\r\n\r\n")


@TARGETS.add(
    "it says that it stored a blob under another digest",
    Gets(side="target", step="push blob", reason="the registry stored it as "),
)
def other_digest(street: Street) -> None:
    """In its response to the upload; the target has no other blob."""
    street.load(single("a", layers=(5000,)))
    street.target.faults.add(faults.answer(404), method="HEAD", kind="blob")
    headers = faults.headers({"Docker-Content-Digest": str(Digest.of(b"x"))})
    for method in ("POST", "PUT"):
        street.target.faults.add(headers, method=method, kind="upload")


@TARGETS.add(
    "it says that it stored the manifest under another digest",
    Gets(side="target", step="push manifest", reason="but the registry stored "),
    after=lambda _street, outcome: _named(outcome),
)
def other_manifest(street: Street) -> None:
    """The run reports it, although the tag exists by then."""
    street.load(single("a", layers=(5000,)))
    headers = faults.headers({"Docker-Content-Digest": str(Digest.of(b"x"))})
    street.target.faults.add(headers, method="PUT", kind="manifest")


@TARGETS.add(
    "it says 201 to uploads and keeps nothing, and notices at the manifest",
    Gets(side="target", step="push manifest", reason="refers to content that the registry does not have"),
)
def keeps_nothing(street: Street) -> None:
    """The missing content is pushed once more, and then reported."""
    street.load(single("a", layers=(5000,)))

    async def swallow(request: web.Request) -> web.Response | None:
        digest = request.query.get("digest")  # Of a PUT, and of a POST with the content.
        if digest is None:
            return None
        await request.read()
        return web.Response(status=201, headers={"Docker-Content-Digest": digest})

    street.answer(street.target, swallow, kind="upload")


@TARGETS.add("it says that the tag is the right image already", Gets("unchanged", None, None))
def right_already(street: Street) -> None:
    """Only reading everything back would show it; such a target cheats only its own users."""
    root = street.load(single("a")).root
    headers = {"Docker-Content-Digest": str(root.digest), "Content-Type": root.media_type, "Content-Length": "1"}

    async def agree(_: web.Request) -> web.Response:
        return web.Response(headers=headers)

    street.answer(street.target, agree, method="HEAD", kind="manifest")


@TARGETS.add("it says that it holds everything, and takes every manifest", Gets("copied", None, None))
def holds_nothing(street: Street) -> None:
    """Only reading everything back would show it; such a target cheats only its own users."""
    street.load(single("a", layers=(5000,)))

    async def agree(request: web.Request) -> web.Response | None:
        return web.Response(headers={"Content-Length": "1"}) if request.method == "HEAD" else None

    async def accept(_: web.Request) -> web.Response:
        return web.Response(status=201)

    street.answer(street.target, agree, kind="blob")
    street.answer(street.target, accept, method="PUT", kind="manifest")


@TARGETS.add(
    "it opens an upload and does not say where",
    Gets(side="target", step="push blob", reason="opened an upload and did not say where"),
)
def no_location(street: Street) -> None:
    """Neither a Location nor an id."""
    street.load(single("a", layers=(5000,)))
    street.target.faults.add(faults.answer(202), method="POST", kind="upload")


def _named(outcome: Outcome) -> None:
    assert outcome.image["target_digest"] is None
