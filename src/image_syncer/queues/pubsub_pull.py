"""Google Pub/Sub: an existing subscription, pulled in batches, for daemons that no push subscription can reach.

The vendor's client brings application default credentials, and speaks gRPC. `PUBSUB_EMULATOR_HOST` works as in every
client of Google's: without credentials and without TLS.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, cast

import google.auth
import grpc
from google.api_core.exceptions import (
    DeadlineExceeded,
    GoogleAPICallError,
    NotFound,
    PermissionDenied,
    RetryError,
    ServiceUnavailable,
    Unauthenticated,
)
from google.auth.exceptions import GoogleAuthError
from google.pubsub_v1 import SubscriberAsyncClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport

from image_syncer.config.model import QueueSettings
from image_syncer.queues.session import InFlight, QueueSession, explain_failure, translated

_ANSWER_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 10.0
_LEASE_SECONDS: Final = 300  # Longer than the consumer keeps a message while the state cannot be written.
_BATCH: Final = 1000  # Pub/Sub's own limit.
_ERRORS: Final = (GoogleAPICallError, RetryError, GoogleAuthError)
_CAUSES: Final[Mapping[type[BaseException], str]] = {
    NotFound: "the subscription does not exist; image-syncer never creates one",
    PermissionDenied: "the login may not read the subscription",
    Unauthenticated: "login refused",
    ServiceUnavailable: "not available",
}


class PubsubDelivery:
    """A message of the subscription."""

    def __init__(self, subscription: "_PulledSubscription", received: Any, in_flight: InFlight) -> None:
        self._subscription = subscription
        self._received = received
        self._in_flight = in_flight

    @property
    def body(self) -> bytes:
        """The message's content."""
        return self._received.message.data

    async def ack(self) -> None:
        """Settle it: done."""
        async with _translated():
            await self._subscription.acknowledge(self._received.ack_id)
        self._in_flight.remove()

    async def give_back(self) -> None:
        """Make it available again at once, for us or for another consumer."""
        async with _translated():
            await self._subscription.set_deadline([self._received.ack_id], 0)
        self._in_flight.remove()

    async def reject(self) -> None:
        """Settle it as unusable: Pub/Sub moves only what was not acknowledged too often to a dead-letter topic."""
        await self.ack()


class _PulledSubscription:
    """The subscription *name* (`projects/PROJECT/subscriptions/NAME`), reached by *client*."""

    def __init__(self, client: SubscriberAsyncClient, name: str) -> None:
        self._client: Any = client  # Its methods are only partly typed.
        self._name = name

    async def check(self) -> None:
        """Fail if it does not exist or may not be read."""
        await self._client.get_subscription(subscription=self._name, timeout=_ANSWER_SECONDS, retry=None)

    async def pull(self, count: int) -> Sequence[Any]:
        """Return up to *count* messages, after at most `_POLL_SECONDS`."""
        request = {"subscription": self._name, "max_messages": min(count, _BATCH)}
        answer = await self._client.pull(request=request, timeout=_POLL_SECONDS, retry=None)
        return answer.received_messages

    async def acknowledge(self, ack_id: str) -> None:
        """Settle one message."""
        await self._client.acknowledge(subscription=self._name, ack_ids=[ack_id], timeout=_ANSWER_SECONDS, retry=None)

    async def set_deadline(self, ack_ids: Sequence[str], seconds: int) -> None:
        """Let messages be redelivered in *seconds*, unless they are settled before."""
        await self._client.modify_ack_deadline(
            subscription=self._name,
            ack_ids=list(ack_ids),
            ack_deadline_seconds=seconds,
            timeout=_ANSWER_SECONDS,
            retry=None,
        )


@asynccontextmanager
async def open_session(url: str, settings: QueueSettings) -> AsyncGenerator[QueueSession]:
    """Open the subscription at `pubsub://PROJECT` and pull it; `BrokerUnavailable` on failure."""
    session = QueueSession()
    project = url.partition("://")[2].strip("/")
    async with _translated():
        client = await _client()
    try:
        subscription = _PulledSubscription(client, f"projects/{project}/subscriptions/{settings.queue}")
        async with _translated():
            await subscription.check()
        async with asyncio.TaskGroup() as tasks:
            polling = tasks.create_task(_poll(subscription, session, settings.prefetch))
            yield session
            polling.cancel()
    finally:
        async with asyncio.timeout(_ANSWER_SECONDS):
            await client.transport.close()


async def _client() -> SubscriberAsyncClient:
    emulator = os.environ.get("PUBSUB_EMULATOR_HOST")
    if not emulator:
        # Looking for credentials may read files and ask the metadata server.
        find = cast("Any", google.auth).default  # Only partly typed.
        credentials, _project = await asyncio.to_thread(find)
        return SubscriberAsyncClient(credentials=credentials)
    return SubscriberAsyncClient(transport=SubscriberGrpcAsyncIOTransport(channel=grpc.aio.insecure_channel(emulator)))


async def _poll(subscription: _PulledSubscription, session: QueueSession, count: int) -> None:
    in_flight = InFlight()
    while not session.has_ended:
        await in_flight.wait_until_empty()
        try:
            received = await _pull(subscription, count)
        except (*_ERRORS, OSError) as error:
            session.end(_explain(error))
            return
        in_flight.add(len(received))
        for message in received:
            session.deliver(PubsubDelivery(subscription, message, in_flight))


async def _pull(subscription: _PulledSubscription, count: int) -> Sequence[Any]:
    """Return messages whose lease outlasts the consumer's retries; none if the poll brought nothing in its time."""
    try:
        received = await subscription.pull(count)
    except DeadlineExceeded:
        return ()
    if received:
        await subscription.set_deadline([message.ack_id for message in received], _LEASE_SECONDS)
    return received


def _translated() -> AbstractAsyncContextManager[None]:
    return translated(2 * _ANSWER_SECONDS, _ERRORS, _explain)


def _explain(error: BaseException) -> str:
    return explain_failure(error, tuple(_CAUSES.items()))
