"""Every parser of untrusted bytes: any input gives a value or one of our errors.

A target takes bytes and returns; any other exception is a finding. Invariants are asserted: written values read back
the same, and pieces read the same as the whole.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from fuzz import layout_targets, trust_targets, words
from image_syncer.config.documents.document import parse_document
from image_syncer.config.load import load_document
from image_syncer.errors import ImageSyncerError, Side
from image_syncer.events import DIALECTS
from image_syncer.events.notification import MalformedNotification
from image_syncer.events.payload import is_form, parse_form, payload
from image_syncer.events.signatures import Basic, Bearer, Hmac, SignedDelivery, verify
from image_syncer.oci import Digest, Index, PlatformFilter, RawManifest, Reference, Repository, media_type
from image_syncer.oci.layout_text import is_layout
from image_syncer.oci.manifest import platform_of_config
from image_syncer.oci.reference import split_reference
from image_syncer.queues.consumer import read_message
from image_syncer.registry.auth.authenticator import Authenticator, lifetime
from image_syncer.registry.auth.challenge import merge_scopes, parse_challenges, preferred
from image_syncer.registry.auth.docker_config import parse_login_file
from image_syncer.registry.blobs.download import content_range
from image_syncer.registry.blobs.upload_session import held_bytes
from image_syncer.registry.endpoint import BufferedResponse
from image_syncer.registry.error_mapping import ErrorContext, ErrorResponse, failure, parse_retry_after
from image_syncer.registry.http.address_policy import zone_of_host
from image_syncer.registry.http.body import BrokenBody, ChunkedFraming
from image_syncer.registry.http.head import Head, NotHttp, header_fields, request_head, take_head
from image_syncer.registry.http.messages import Headers, Inspect, Request, Response
from image_syncer.registry.http.urls import join, origin_of, redacted
from image_syncer.registry.limits.retry import Clock
from image_syncer.registry.paging import next_link
from image_syncer.registry.settings import Credential, RegistryAccount
from image_syncer.roles import Chunk
from image_syncer.sync.platform_filter import kept_entries, rewrite_index
from image_syncer.telemetry import as_json, as_text, mask_secrets
from image_syncer.text import printable

NOW: Final = datetime(2025, 1, 31, tzinfo=UTC)
LINUX: Final = PlatformFilter.parse(["linux"], ["amd64", "arm64"])


@dataclass(frozen=True, slots=True)
class Target:
    """One parser; *seeds* are inputs that reach deep into it, *words* are building blocks of inputs."""

    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()


def text(data: bytes) -> str:
    """Return *data* as text in any case, even with broken characters."""
    return data.decode("utf-8", "surrogateescape")


def reference(data: bytes) -> None:
    """References, repositories, digests: a parsed value is written as it was read."""
    written = text(data)
    split_reference(written)
    for parse in (Reference.parse, Repository.parse, Digest.parse):
        try:
            found = parse(written)
        except ImageSyncerError:
            continue
        assert parse(str(found)) == found
        if not is_layout(written):  # The path of a layout may have any letters.
            str(found).encode("ascii")


def manifest(data: bytes) -> None:
    """Manifests and indexes of every type, parsed, and filtered by platform."""
    for kind in ("", media_type.OCI_INDEX, media_type.OCI_MANIFEST, media_type.DOCKER_SCHEMA1_SIGNED):
        try:
            raw = RawManifest.of(data, kind)
            assert raw.content == data
            parsed = raw.parse()
            if isinstance(parsed, Index):
                rewrite_index(raw, kept_entries(parsed.manifests, LINUX), {}).parse()
        except ImageSyncerError:
            continue
    platform_of_config(data)


def challenge(data: bytes) -> None:
    """Challenges and their scopes."""
    lines = text(data).split("\n")
    found = parse_challenges(lines)
    assert len(found) <= 16
    chosen = preferred(found)
    scopes = merge_scopes(*(one.scopes for one in found))
    assert merge_scopes(scopes) == scopes
    assert chosen is None or chosen.scheme in {"bearer", "basic"}


def link(data: bytes) -> None:
    """Links to a next page."""
    lines = text(data).split("\n")
    found = next_link(lines)
    assert found is None or any(found in line for line in lines)


def url(data: bytes) -> None:
    """URLs in responses: a resolved URL keeps https, and never leads to an internal address."""
    location = text(data)
    assert redacted(location).isprintable()
    zone_of_host(location)
    for base in ("https://registry.example/v2/a/blobs/uploads/?x=1", "http://127.0.0.1:5000/v2/"):
        try:
            joined = join(base, location)
            origin = origin_of(joined)
        except ImageSyncerError:
            continue
        assert not any(ord(character) <= 0x20 or ord(character) >= 0x7F for character in joined)
        if base.startswith("https:"):
            assert origin.scheme == "https"
            assert origin.host == "registry.example" or zone_of_host(origin.host) in _OPEN


def head(data: bytes) -> None:
    """Response heads: the same result for one piece as for single bytes."""
    assert _taken(data, len(data) + 1) == _taken(data, 1)


def chunked(data: bytes) -> None:
    """Chunked bodies: the same result at once and in pieces, and never more content than was received."""
    whole, pieces = _unchunked(data, len(data) + 1), _unchunked(data, 7)
    assert whole == pieces
    assert whole is None or len(whole[0]) <= len(data)


def refusal(data: bytes) -> None:
    """Bodies of error responses of every status: one of our errors, short and harmless."""
    for status in (301, 400, 401, 403, 404, 409, 413, 416, 429, 500, 503):
        for upload, named in ((False, False), (True, False), (False, True)):
            asked = ErrorContext("r.io/a:1", "r.io", upload=upload, manifest=named)
            error = failure(asked, ErrorResponse(status, data))
            assert str(error).isprintable()
            assert len(error.message) < 1000


def times(data: bytes) -> None:
    """Waiting times of servers and lifetimes of tokens: numbers within their bounds."""
    written = text(data)
    seconds = parse_retry_after(written, lambda: NOW)
    assert seconds is None or 0 <= seconds <= 600
    try:
        document: object = json.loads(data)
    except (ValueError, RecursionError):
        return
    assert 60 <= lifetime(document) <= 86400


def ranges(data: bytes) -> None:
    """Ranges of downloads and of uploads: a parsed range is valid and written as it was read."""
    written = text(data)
    found = content_range(written)
    if found is not None:
        assert 0 <= found.first <= found.last < (found.total or 10**18)
        total = "*" if found.total is None else found.total
        assert content_range(f"bytes {found.first}-{found.last}/{total}") == found
    held = held_bytes(BufferedResponse(204, Headers([("Range", written)]), "https://registry.example/"))
    assert held is None or 1 < held <= 10**18


def token(data: bytes) -> None:
    """Challenges, and the responses of token servers to our requests."""
    header, _, body = data.partition(b"\n")

    async def ask(request: Request, _: Side) -> Response:
        origin = origin_of(request.url)
        request_head(request.method, request.url, origin, header_fields(origin, request.headers), None)
        assert origin.scheme == "https"
        held.append(_Told(request, 200, Headers([("Content-Type", "application/json")]), len(body)))
        return held[-1]

    class _Told(Response):
        async def chunks(self, inspect: Inspect | None = None) -> AsyncGenerator[Chunk]:
            if inspect is not None:
                inspect(body)
            yield body

        async def release(self, *, failed: bool) -> None:  # noqa: ARG002 - the protocol
            held.remove(self)

    held: list[_Told] = []

    async def grant(access: RegistryAccount) -> None:
        who = Authenticator("registry.example", access, ask, token_bytes=65536, clock=Clock())
        who.learn(preferred(parse_challenges([text(header)])), "https://registry.example/v2/", ("repository:a:pull",))
        with suppress(ImageSyncerError):
            granted = await who.authorize(("repository:a:pull",), "source")
            assert granted is None or granted.header.isprintable()
        assert not held  # Each answer is let go of, whatever was in it.

    for credential in (None, Credential("user", "password"), Credential(identity_token="token")):
        asyncio.run(grant(RegistryAccount("registry.example", credential)))


def configuration(data: bytes) -> None:
    """Rule files in both syntaxes and every dialect: a configuration, or its errors."""
    for name in ("a.yaml", "a.json"):
        try:
            document = parse_document(data, Path(name), remedy_if_empty="")
            load_document(document, name, platforms=PlatformFilter(), environment={"A": "b"})
        except ImageSyncerError:
            continue


def webhook(data: bytes) -> None:
    """Bodies of every sender: events, a reason, or `Malformed`."""
    for headers in _HEADERS:
        for read in DIALECTS.values():
            try:
                read("registry.example", headers, data)
            except MalformedNotification:
                continue
        try:
            payload(headers, data)
            parse_form(data)
        except MalformedNotification:
            continue
    assert is_form(_HEADERS[1])


def proof(data: bytes) -> None:
    """Credentials of callers: logins, tokens, signatures. Noise never authenticates."""
    header, _, body = data.partition(b"\n")
    value = header.decode("latin-1")
    for name in ("authorization", "x-hub-signature-256", "x-gitea-signature"):
        for check in _CHECKS:
            assert not verify([check], SignedDelivery({name: value}, body)).passed


def logins(data: bytes) -> None:
    """Login files."""
    try:
        file = parse_login_file(data, "config.json")
        file.entry("registry.example/a/b")
        for entry in file.entries.values():
            entry.credential()
    except ImageSyncerError:
        pass


def message(data: bytes) -> None:
    """Queue messages."""
    for kind in ("rabbitmq", "sqs", "pubsub"):
        read_message(kind, data)


def log(data: bytes) -> None:
    """Foreign text in logs and on terminals: one line, harmless."""
    written = text(data)
    event: dict[str, Any] = {"event": written, "level": "info", "reason": written, "nested": {"token": [written]}}
    masked = mask_secrets(None, "", event)
    for render in (as_text, as_json):
        line = render(None, "", masked)
        assert line.isascii()
        assert len(line.splitlines()) == 1
    assert printable(written).isprintable()


def _taken(data: bytes, step: int) -> object:
    received, taken = bytearray(), list[Any]()
    try:
        for start in range(0, len(data), step):
            received += data[start : start + step]
            while (found := take_head(received)) is not None:
                taken.append(_plain(found))
    except NotHttp:
        return "not HTTP", taken
    return bytes(received), taken


def _plain(found: Head) -> object:
    return found.status, repr(found.headers), found.length, found.chunked, found.keep_alive


def _unchunked(data: bytes, step: int) -> tuple[bytes, bool] | None:
    framing, content = ChunkedFraming(), bytearray()
    try:
        for start in range(0, len(data), step):
            if framing.has_ended:
                break
            for piece in framing.feed(memoryview(data)[start : start + step]):
                content += piece
    except BrokenBody:
        return None
    return bytes(content), framing.has_ended


_OPEN: Final = frozenset(zone for host in ("8.8.8.8", "10.0.0.1") if (zone := zone_of_host(host))) | {None}
_HEADERS: Final[tuple[Mapping[str, str], ...]] = (
    {"content-type": "application/json"},
    {"content-type": "application/x-www-form-urlencoded"},
    {"content-type": "application/cloudevents+json", "x-github-event": "package", "aeg-event-type": "Notification"},
)
_SECRET: Final = "a-secret-that-no-noise-hits"
_CHECKS: Final = (
    Basic("user", _SECRET),
    Bearer(_SECRET),
    Hmac(_SECRET, ("x-hub-signature-256", "x-gitea-signature"), prefix="sha256="),
)

TARGETS: Final[Mapping[str, Target]] = {
    "reference": Target(reference, words.REFERENCES, words.REFERENCE_WORDS),
    "manifest": Target(manifest, words.MANIFESTS, words.JSON_WORDS),
    "challenge": Target(challenge, words.CHALLENGES, words.TEXT_WORDS),
    "link": Target(link, words.LINKS, words.TEXT_WORDS),
    "url": Target(url, words.URLS, words.URL_WORDS),
    "head": Target(head, words.HEADS, words.HTTP_WORDS),
    "chunked": Target(chunked, words.CHUNKS, words.HTTP_WORDS),
    "refusal": Target(refusal, words.REFUSALS, words.JSON_WORDS),
    "times": Target(times, words.TIMES, words.TEXT_WORDS),
    "ranges": Target(ranges, words.RANGES, words.RANGE_WORDS),
    "token": Target(token, words.TOKENS, words.TEXT_WORDS),
    "configuration": Target(configuration, words.FILES, words.YAML_WORDS),
    "webhook": Target(webhook, words.HOOKS, words.JSON_WORDS),
    "proof": Target(proof, words.PROOFS, words.TEXT_WORDS),
    "logins": Target(logins, words.LOGINS, words.JSON_WORDS),
    "message": Target(message, words.HOOKS, words.JSON_WORDS),
    "log": Target(log, words.LOGS, words.TEXT_WORDS),
    "bundle": Target(trust_targets.bundle, trust_targets.BUNDLES, trust_targets.WORDS),
    "dsse": Target(trust_targets.dsse, trust_targets.ENVELOPES, trust_targets.WORDS),
    "scan": Target(trust_targets.scan, trust_targets.SCANS, trust_targets.WORDS),
    "payload": Target(trust_targets.payload, trust_targets.PAYLOADS, trust_targets.WORDS),
    "referrers": Target(trust_targets.referrers, trust_targets.INDEXES, trust_targets.WORDS),
    "layout index": Target(layout_targets.index, layout_targets.INDEXES, layout_targets.WORDS),
    "tar archive": Target(layout_targets.members, layout_targets.ARCHIVES, layout_targets.WORDS),
    "docker archive": Target(layout_targets.docker_archive, layout_targets.LISTS, layout_targets.WORDS),
}
