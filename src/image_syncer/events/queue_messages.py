"""Messages of cloud queues as pushes: what a registry's vendor publishes, and our own plain form.

The owner of a queue decides who may write to it, so a message may name its registry itself, unlike a webhook. Pure.
"""

import re
from typing import Final

from image_syncer.events.dialects import ecr, pubsub
from image_syncer.events.dialects.legacy import decide_message
from image_syncer.events.notification import MalformedNotification, Notification, gather, ignored, one, quoted
from image_syncer.events.payload import parse_object, text_at

_ACCOUNT: Final = re.compile(r"[0-9]{12}")
_REGION: Final = re.compile(r"[a-z]{2}(?:-[a-z]+)+-[0-9]{1,2}")


def read_plain(body: bytes) -> Notification:
    """Return the push in `{"Name": "registry/repository", "Tag": "tag"}`, keys in any case; `MalformedNotification`."""
    decision = decide_message(body)
    if decision.event is not None:
        return one(decision.event)
    if decision.unwanted:
        return ignored(decision.reason or "")
    raise MalformedNotification(decision.reason or "no event")


def read_aws(body: bytes) -> Notification:
    """Return the pushes in an EventBridge event of ECR, bare or inside an SNS notification, or in the plain form."""
    value = parse_object(body)
    if text_at(value, "Type") == "Notification" and text_at(value, "TopicArn"):
        body = text_at(value, "Message").encode()
        value = parse_object(body)
    if "detail-type" not in value:
        return read_plain(body)
    account, region = text_at(value, "account"), text_at(value, "region")
    if not (_ACCOUNT.fullmatch(account) and _REGION.fullmatch(region)):
        raise MalformedNotification(f"account {quoted(account)} or region {quoted(region)} is not one of AWS")
    suffix = ".cn" if region.startswith("cn-") else ""
    return ecr.read(f"{account}.dkr.ecr.{region}.amazonaws.com{suffix}", {}, body)


def read_google(body: bytes) -> Notification:
    """Return the pushes in a message of the topic `gcr` (Artifact Registry, Container Registry), or in the plain form.

    Google puts the registry's host into the message: `{"action": "INSERT", "tag": "host/path:tag"}`.
    """
    value = parse_object(body)
    if "action" not in value:
        return read_plain(body)
    return gather([value], lambda change: pubsub.read_change(change, registry=None, delivery=""))
