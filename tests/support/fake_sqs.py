"""Amazon SQS in this process: the JSON protocol, as far as a consumer needs it. The judge of its shape is botocore."""

import hashlib
import itertools
import json
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

ACCOUNT = "123456789012"


@dataclass
class QueueMessage:
    """A message and when it becomes visible (monotonic seconds)."""

    id: str
    body: str
    visible_at: float = 0.0


@dataclass
class FakeSqs:
    """Queues by name. *refuse* is an error code for every request; *calls* lists the operations in order."""

    queues: dict[str, list[QueueMessage]] = field(default_factory=dict[str, list[QueueMessage]])
    redrive: dict[str, str] = field(default_factory=dict[str, str])
    refuse: str | None = None
    calls: list[str] = field(default_factory=list[str])
    url: str = ""
    _numbers: Any = field(default_factory=itertools.count)

    def send(self, name: str, body: str) -> None:
        """Put *body* into the queue *name*."""
        self.queues[name].append(QueueMessage(f"m{next(self._numbers)}", body))

    async def answer(self, request: web.Request) -> web.Response:
        """Answer one request of the JSON protocol."""
        operation = request.headers["X-Amz-Target"].partition(".")[2]
        self.calls.append(operation)
        if self.refuse is not None:
            return _error(self.refuse)
        fields: dict[str, Any] = json.loads(await request.read())
        name = fields.get("QueueName") or fields["QueueUrl"].rpartition("/")[2]
        if name not in self.queues:
            return _error("QueueDoesNotExist")
        result = getattr(self, f"_{operation}")(name, fields)
        return web.json_response(result, content_type="application/x-amz-json-1.0")

    def _GetQueueUrl(self, name: str, fields: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"QueueUrl": f"{self.url}/{fields.get('QueueOwnerAWSAccountId', ACCOUNT)}/{name}"}

    def _GetQueueAttributes(self, name: str, fields: dict[str, Any]) -> dict[str, Any]:  # noqa: N802, ARG002
        target = self.redrive.get(name)
        if target is None:
            return {}
        arn = f"arn:aws:sqs:eu-central-1:{ACCOUNT}:{target}"
        return {"Attributes": {"RedrivePolicy": f'{{"deadLetterTargetArn":"{arn}","maxReceiveCount":5}}'}}

    def _ReceiveMessage(self, name: str, fields: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        now = time.monotonic()
        visible = [message for message in self.queues[name] if message.visible_at <= now]
        found = visible[: fields["MaxNumberOfMessages"]]
        for message in found:
            message.visible_at = now + fields["VisibilityTimeout"]
        return {
            "Messages": [
                {
                    "MessageId": message.id,
                    "ReceiptHandle": message.id,
                    "Body": message.body,
                    "MD5OfBody": hashlib.md5(message.body.encode(), usedforsecurity=False).hexdigest(),
                }
                for message in found
            ]
        }

    def _DeleteMessage(self, name: str, fields: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self.queues[name] = [message for message in self.queues[name] if message.id != fields["ReceiptHandle"]]
        return {}

    def _ChangeMessageVisibility(self, name: str, fields: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        for message in self.queues[name]:
            if message.id == fields["ReceiptHandle"]:
                message.visible_at = time.monotonic() + fields["VisibilityTimeout"]
        return {}

    def _SendMessage(self, name: str, fields: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self.send(name, fields["MessageBody"])
        digest = hashlib.md5(fields["MessageBody"].encode(), usedforsecurity=False).hexdigest()
        return {"MessageId": "sent", "MD5OfMessageBody": digest}


@asynccontextmanager
async def fake_sqs() -> AsyncGenerator[FakeSqs]:
    """Serve on a free loopback port."""
    fake = FakeSqs()
    application = web.Application()
    application.router.add_post("/{path:.*}", fake.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield fake
    finally:
        await runner.cleanup()


def _error(code: str) -> web.Response:
    body = {"__type": f"com.amazonaws.sqs#{code}", "message": "refused"}
    return web.json_response(body, status=400, content_type="application/x-amz-json-1.0")
