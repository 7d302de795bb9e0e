"""Google Pub/Sub in this process: the subscriber's gRPC calls, with the vendor's own message types."""

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty
from google.pubsub_v1 import types

SUBSCRIPTION = "projects/mirror/subscriptions/gcr"


@dataclass
class FakePubsub:
    """One subscription. *waiting* is delivered; *leased* holds what was delivered and not settled yet."""

    waiting: list[bytes] = field(default_factory=list[bytes])
    leased: dict[str, bytes] = field(default_factory=dict[str, bytes])
    deadlines: list[int] = field(default_factory=list[int])
    refuse: grpc.StatusCode | None = None
    address: str = ""
    _numbers: Any = field(default_factory=itertools.count)

    async def get(self, request: types.GetSubscriptionRequest, context: Any) -> types.Subscription:
        """Answer GetSubscription."""
        await self._check(request.subscription, context)
        return types.Subscription(name=request.subscription)

    async def pull(self, request: types.PullRequest, context: Any) -> types.PullResponse:
        """Answer Pull: wait for a message, as the service does."""
        await self._check(request.subscription, context)
        while not self.waiting:  # noqa: ASYNC110 - tests append to a plain list
            await asyncio.sleep(0.05)
        received: list[types.ReceivedMessage] = []
        for data in self.waiting[: request.max_messages]:
            ack_id = f"a{next(self._numbers)}"
            self.leased[ack_id] = data
            message = types.PubsubMessage(data=data, message_id=ack_id)
            received.append(types.ReceivedMessage(ack_id=ack_id, message=message))
        del self.waiting[: request.max_messages]
        return types.PullResponse(received_messages=received)

    async def acknowledge(self, request: types.AcknowledgeRequest, _context: Any) -> Empty:
        """Answer Acknowledge."""
        for ack_id in request.ack_ids:
            del self.leased[ack_id]
        return Empty()

    async def modify(self, request: types.ModifyAckDeadlineRequest, _context: Any) -> Empty:
        """Answer ModifyAckDeadline: zero seconds give the message back."""
        self.deadlines.append(request.ack_deadline_seconds)
        if request.ack_deadline_seconds == 0:
            self.waiting += [self.leased.pop(ack_id) for ack_id in request.ack_ids]
        return Empty()

    async def _check(self, name: str, context: Any) -> None:
        if self.refuse is not None:
            await context.abort(self.refuse, "refused")
        if name != SUBSCRIPTION:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such subscription")


@asynccontextmanager
async def fake_pubsub() -> AsyncGenerator[FakePubsub]:
    """Serve on a free loopback port."""
    fake = FakePubsub()
    server = grpc.aio.server()
    methods: dict[str, tuple[Any, Any, Any]] = {
        "GetSubscription": (fake.get, types.GetSubscriptionRequest, types.Subscription),
        "Pull": (fake.pull, types.PullRequest, types.PullResponse),
        "Acknowledge": (fake.acknowledge, types.AcknowledgeRequest, None),
        "ModifyAckDeadline": (fake.modify, types.ModifyAckDeadlineRequest, None),
    }
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            handle,
            request_deserializer=request.deserialize,
            response_serializer=Empty.SerializeToString if response is None else response.serialize,
        )
        for name, (handle, request, response) in methods.items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("google.pubsub.v1.Subscriber", handlers),))
    fake.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield fake
    finally:
        await server.stop(None)
