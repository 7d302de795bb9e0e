"""Senders of notifications: the body of each kind, and how each authenticates."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from unit.events.payloads import HEX, Sample, pubsub

USER: Final = "sender"


@dataclass(frozen=True, slots=True)
class Signature:
    """A hex HMAC of the body in *header*, after *prefix*."""

    header: str
    prefix: str = ""
    algorithm: str = "sha256"

    def __str__(self) -> str:
        return f"HMAC-{self.algorithm} {self.header}"


@dataclass(frozen=True, slots=True)
class Header:
    """The secret itself in the header *name*, after *prefix*."""

    name: str = "Authorization"
    prefix: str = "Bearer "

    def __str__(self) -> str:
        return f"header {self.name}"


@dataclass(frozen=True, slots=True)
class Login:
    """HTTP Basic."""

    def __str__(self) -> str:
        return "Basic"


@dataclass(frozen=True, slots=True)
class Address:
    """The secret in the URL, after the last slash or as a query parameter."""

    in_query: bool = False

    def __str__(self) -> str:
        return f"URL secret ({'query' if self.in_query else 'path'})"


Proof = Signature | Header | Login | Address


@dataclass(frozen=True, slots=True)
class Message:
    """A request: its path, headers and body."""

    path: str
    headers: Mapping[str, str]
    body: bytes


def as_configured(proof: Proof, secret: str) -> dict[str, object]:
    """Return the keys of a hook in the native file that requires *proof* of *secret*."""
    match proof:
        case Signature():
            return {"secret": secret}
        case Header(name, prefix):
            return {"header": {"name": name, "value": prefix + secret}}
        case Login():
            return {"basic": {"username": USER, "password": secret}}
        case Address():
            return {"url_secret": secret}


def proven(proof: Proof, secret: str, message: Message) -> Message:
    """Return *message* with the proof of *secret*."""
    path, headers = message.path, dict(message.headers)
    match proof:
        case Signature(header, prefix, algorithm):
            headers[header] = prefix + hmac.new(secret.encode(), message.body, algorithm).hexdigest()
        case Header(name, prefix):
            headers[name] = prefix + secret
        case Login():
            headers["Authorization"] = "Basic " + base64.b64encode(f"{USER}:{secret}".encode()).decode()
        case Address(in_query):
            path += f"?secret={secret}" if in_query else f"/{secret}"
    return Message(path, headers, message.body)


def retold(sample: Sample, host: str, tag: str, content: bytes) -> bytes:
    """Return the body of *sample* about *tag*, whose manifest is *content*, at the registry *host*."""
    changes = ((sample.registry, host), ("1.4.2", tag), (HEX, hashlib.sha256(content).hexdigest()))
    if sample.kind == "pubsub":
        decoded = json.loads(base64.b64decode(sample.body["message"]["data"]))
        return json.dumps(pubsub(_changed(decoded, changes))).encode()
    return json.dumps(_changed(sample.body, changes)).encode()


def _changed(value: Any, changes: tuple[tuple[str, str], ...]) -> Any:
    text = json.dumps(value)
    for old, new in changes:
        text = text.replace(old, new)
    return json.loads(text)
