"""Malicious tag lists, texts and headers."""

import gzip
import json

from aiohttp import web

from hostile.behaviour import Gets, Table
from hostile.content import serve_manifest
from hostile.street import Outcome, Street
from image_syncer.testing import faults
from image_syncer.testing.images import single

LISTS = Table("Tag lists")
WORDS = Table("Words")
LISTING = Gets(step="list tags")


def listing(reason: str) -> Gets:
    """Return the expected result of a tag list."""
    return Gets(step="list tags", reason=reason)


def serve_tags(street: Street, body: bytes, **headers: str) -> None:
    """Answer every page of the source with *body*; the rule selects all tags."""
    street.tag = ""
    street.source.load("app", single("a"), "v1")

    async def reply(_: web.Request) -> web.Response:
        return web.Response(body=body, headers=headers)

    street.answer(street.source, reply, kind="tags")


TAGS = b'{"name":"app","tags":["v1"]}'


@LISTS.add("a next page that is the same page", listing("the pages of the tag list form a loop"))
def looping_pages(street: Street) -> None:
    """Forever."""
    serve_tags(street, TAGS, Link='</v2/app/tags/list?n=1000&last=v1>; rel="next"')


@LISTS.add("always another page", listing("more than 1000 pages of tags"))
def endless_pages(street: Street) -> None:
    """Each with its own address."""
    street.tag = ""
    street.source.load("app", single("a"), "v1")

    async def reply(request: web.Request) -> web.Response:
        link = f'</v2/app/tags/list?n=1&last={len(street.source.requests)}>; rel="next"'
        return web.Response(body=TAGS, headers={"Link": link})

    street.answer(street.source, reply, kind="tags")


@LISTS.add("a next page at another host", listing("the next page of the tag list is at another host"))
def page_elsewhere(street: Street) -> None:
    """The request would contain our token."""
    serve_tags(street, TAGS, Link=f'<{street.elsewhere.url}/v2/other/tags/list?last=x>; rel="next"')


@LISTS.add("a page of more than 16 MiB", listing("the response has more than 16777216 bytes"))
def huge_page(street: Street) -> None:
    """One byte too many."""
    serve_tags(street, TAGS + b" " * (16 * 1024 * 1024 + 1 - len(TAGS)))


@LISTS.add("a page with five million values", listing("a document with more than 1000000 values"))
def many_values(street: Street) -> None:
    """Of three bytes each."""
    serve_tags(street, b'{"tags":["v1"],"x":[' + b"[]," * 5_000_000 + b"0]}")


@LISTS.add("more than 200 000 tags", listing("more than 200000 tags"))
def many_tags(street: Street) -> None:
    """On one page."""
    serve_tags(street, json.dumps({"tags": [f"v{number}" for number in range(200_001)]}).encode())


@LISTS.add("a list that is a bomb of gzip", listing(r"the tag list: the response is compressed \(gzip\)"))
def compressed_list(street: Street) -> None:
    """Decompressed it is a thousand times as large."""
    serve_tags(street, gzip.compress(b" " * 50_000_000), **{"Content-Encoding": "gzip"})


@LISTS.add("tags with control characters, paths and texts without end", Gets("copied", None, None))
def wicked_tags(street: Street) -> None:
    """Invalid tags are skipped, and the others are copied."""
    tags: list[object] = ["v1", "\x1b[2J", "../../etc/passwd", "a b", "x" * 129, "v1\n", "", None, {}, ["v1"]]
    serve_tags(street, json.dumps({"tags": tags}).encode())


def _harmless(_: Street, outcome: Outcome) -> None:
    """No terminal control sequence has come through."""
    for character in "\x1b\x07\x9b\u202e\ufeff":
        assert character not in outcome.written
    assert len(outcome.image["reason"]) < 2500


@WORDS.add(
    "control and direction characters in an error",
    Gets(step="resolve", reason="denied; .* answered 403"),
    after=_harmless,
)
def steering_words(street: Street) -> None:
    """It would clear the screen, set its title, and reverse the text."""
    text = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202e\ufeff all is well\r\nimage-syncer: all is well"
    body = json.dumps({"errors": [{"code": "DENIED\x1b[2J", "message": text}]}, ensure_ascii=False)
    street.load(single("a"))
    street.source.faults.add(faults.answer(405), method="HEAD", kind="manifest")
    street.source.faults.add(faults.answer(403, body=body), method="GET", kind="manifest")


@WORDS.add(
    "an error of many megabytes",
    Gets(step="resolve", reason="not available; .* answered 503: x"),
    after=_harmless,
)
def endless_words(street: Street) -> None:
    """The client reads 64 KiB of it."""
    street.load(single("a"))
    street.source.faults.add(faults.answer(405), method="HEAD", kind="manifest")
    street.source.faults.add(faults.answer(503, body="x" * 20_000_000), method="GET", kind="manifest")


@WORDS.add(
    "control characters in a media type",
    Gets(step="resolve", reason="unknown manifest type"),
    after=_harmless,
)
def steering_type(street: Street) -> None:
    """A message contains foreign text."""
    body = json.dumps({"mediaType": "\x1b[2J\u202e\x9b", "schemaVersion": 2, "layers": []}).encode()
    serve_manifest(street, body, "text/plain")
