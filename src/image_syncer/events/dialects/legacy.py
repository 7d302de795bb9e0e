"""The fork's plain form: `name` (host/namespace/repository) and `tag` in a query, form or JSON body.

The decisions and their order are the fork's (zxzixuanwang/image-syncer, web/route.go) after its login: 200 for an empty
name, 400 for an empty tag, 406 for an invalid name or tag. The one difference: names and tags outside the
specification's grammar, which the fork accepts, are 406 too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from image_syncer.events.notification import (
    MalformedNotification,
    Notification,
    Oversized,
    PushEvent,
    ignored,
    one,
    push_event,
    quoted,
)
from image_syncer.events.payload import is_form, parse_form, parse_object, text_at
from image_syncer.oci.reference import normalise_host

_FIELDS: Final = ("name", "tag")
_SNAPSHOT: Final = "snapshot"
_DONE: Final = 200


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision on a call of the plain hook: the fork's status, and an event (only with 200) or a reason.

    *unwanted*: well-formed, but never copied.
    """

    status: Literal[200, 400, 406, 413]
    event: PushEvent | None
    reason: str | None
    unwanted: bool = False


def decide(query: bytes, headers: Mapping[str, str], body: bytes) -> Decision:
    """Return the decision on a call; the *query* takes precedence over a form or JSON *body*.

    *query* is the raw text after the question mark; *body* is empty for GET.
    """
    try:
        fields = parse_form(query)
        if not any(name in fields for name in _FIELDS):
            fields = _fields_of_body(headers, body)
    except Oversized as error:
        return Decision(413, None, error.message)
    except MalformedNotification as error:
        return Decision(400, None, error.message)
    return judge(fields.get("name", ""), fields.get("tag", ""))


def decide_message(body: bytes) -> Decision:
    """Return the decision on a queue's message: JSON `{"Name": ..., "Tag": ...}` with keys in any case."""
    return decide(b"", {}, body)


def judge(name: str, tag: str) -> Decision:
    """Return the decision on *name* and *tag* in the fork's order."""
    if not name:
        return Decision(200, None, "no name")
    if not tag:
        return Decision(400, None, "no tag")
    host, slash, path = name.partition("/")
    if not slash:
        return Decision(406, None, f"{quoted(name)} is not host/namespace/repository")
    if tag.lower().startswith(_SNAPSHOT) or tag.lower().endswith(_SNAPSHOT):
        return Decision(406, None, f"{quoted(tag)} is a snapshot", unwanted=True)
    try:
        return Decision(200, push_event(host, path, tag), None)
    except MalformedNotification as error:
        return Decision(406, None, error.message)


def read(registry: str, headers: Mapping[str, str], body: bytes) -> Notification:
    """Return the event of a plain body, as a dialect like the others.

    Its host must be *registry*, unless that is empty.
    """
    fields = _fields_of_body(headers, body)
    decision = judge(fields.get("name", ""), fields.get("tag", ""))
    if decision.event is not None:
        host = decision.event.repository.registry
        is_ours = not registry or host == normalise_host(registry)
        return one(decision.event) if is_ours else ignored(f"it is about the registry {quoted(host)}")
    if decision.status != _DONE:
        raise MalformedNotification(decision.reason or "")
    return ignored(decision.reason or "")


def _fields_of_body(headers: Mapping[str, str], body: bytes) -> dict[str, str]:
    if not body:
        return {}
    if is_form(headers):
        return parse_form(body)
    value = {key.lower(): member for key, member in parse_object(body).items()}
    return {name: text_at(value, name) for name in _FIELDS}
