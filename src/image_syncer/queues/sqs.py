"""Amazon SQS: an existing queue, long-polled in batches.

botocore signs the requests and finds credentials as every AWS tool does (environment, profile, web identity, container
and instance metadata). It blocks, so each call runs in a thread.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, TypeVar, cast

from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)
from botocore.session import get_session

from image_syncer.config.model import QueueSettings
from image_syncer.events import MalformedNotification
from image_syncer.events.payload import parse_object, text_at
from image_syncer.queues.address import BrokerAddress
from image_syncer.queues.session import InFlight, QueueSession, explain_failure, translated

_CONNECT_SECONDS: Final = 5
_ANSWER_SECONDS: Final = 10
_POLL_SECONDS: Final = 5  # A stop waits for the running poll.
_BATCH: Final = 10  # SQS's own limit.
_VISIBILITY_SECONDS: Final = 300  # Longer than the consumer keeps a message while the state cannot be written.

_CAUSES: Final[Mapping[str, str]] = {
    "AWS.SimpleQueueService.NonExistentQueue": "the queue does not exist; image-syncer never creates one",
    "QueueDoesNotExist": "the queue does not exist; image-syncer never creates one",
    "AccessDenied": "the login may not read the queue",
    "AccessDeniedException": "the login may not read the queue",
    "InvalidClientTokenId": "login refused",
    "SignatureDoesNotMatch": "login refused",
    "ExpiredToken": "the login has expired",
}

_ARN_PARTS: Final = 6  # arn:aws:sqs:REGION:ACCOUNT:NAME

T = TypeVar("T")


class _Queue:
    """One queue of SQS, reached by *client*. *dead_letters* is the URL of its dead-letter queue, None without one."""

    def __init__(self, client: Any, url: str, dead_letters: str | None) -> None:
        self._client = client
        self.url = url
        self.dead_letters = dead_letters

    async def receive(self, count: int) -> list[dict[str, Any]]:
        """Return up to *count* messages, after at most `_POLL_SECONDS`."""
        answer = await _in_thread(
            lambda: self._client.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=min(count, _BATCH),
                WaitTimeSeconds=_POLL_SECONDS,
                VisibilityTimeout=_VISIBILITY_SECONDS,
            )
        )
        return answer.get("Messages", [])

    async def delete(self, receipt: str) -> None:
        """Remove the message of *receipt*."""
        await _in_thread(lambda: self._client.delete_message(QueueUrl=self.url, ReceiptHandle=receipt))

    async def make_visible(self, receipt: str) -> None:
        """Give the message of *receipt* back at once."""
        await _in_thread(
            lambda: self._client.change_message_visibility(
                QueueUrl=self.url, ReceiptHandle=receipt, VisibilityTimeout=0
            )
        )

    async def send_to_dead_letters(self, body: str) -> None:
        """Put *body* into the dead-letter queue, if there is one."""
        if self.dead_letters is not None:
            await _in_thread(lambda: self._client.send_message(QueueUrl=self.dead_letters, MessageBody=body))


class SqsDelivery:
    """A message of the queue."""

    def __init__(self, queue: _Queue, message: Mapping[str, Any], in_flight: InFlight) -> None:
        self._queue = queue
        self._body = str(message.get("Body", ""))
        self._receipt = str(message["ReceiptHandle"])
        self._in_flight = in_flight

    @property
    def body(self) -> bytes:
        """The message's content."""
        return self._body.encode()

    async def ack(self) -> None:
        """Settle it: done."""
        async with _translated():
            await self._queue.delete(self._receipt)
        self._in_flight.remove()

    async def give_back(self) -> None:
        """Make it visible again, for us or for another consumer."""
        async with _translated():
            await self._queue.make_visible(self._receipt)
        self._in_flight.remove()

    async def reject(self) -> None:
        """Settle it as unusable: move it to the queue's dead-letter queue, or drop it if there is none."""
        async with _translated():
            await self._queue.send_to_dead_letters(self._body)
            await self._queue.delete(self._receipt)
        self._in_flight.remove()


@asynccontextmanager
async def open_session(url: str, settings: QueueSettings) -> AsyncGenerator[QueueSession]:
    """Open the queue at `sqs://REGION[?endpoint=URL]` and poll it; `BrokerUnavailable` on failure."""
    session = QueueSession()
    address = BrokerAddress.parse(url, port=443)
    async with _translated():
        client = await _in_thread(lambda: _client(address))
    try:
        async with _translated():
            queue = await _open_queue(client, settings.queue)
        async with asyncio.TaskGroup() as tasks:
            polling = tasks.create_task(_poll(queue, session, settings.prefetch))
            yield session
            polling.cancel()
    finally:
        await _in_thread(client.close)


def _client(address: BrokerAddress) -> Any:
    config = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_POLL_SECONDS + _ANSWER_SECONDS,
        retries={"total_max_attempts": 2, "mode": "standard"},
        user_agent_extra="image-syncer",
    )
    return get_session().create_client("sqs", region_name=address.host, endpoint_url=address.endpoint, config=config)


async def _open_queue(client: Any, name: str) -> _Queue:
    """Return the queue *name*, or `ACCOUNT/NAME` for the queue of another account, with its dead-letter queue."""
    account, _, queue_name = name.rpartition("/")
    owner = {"QueueOwnerAWSAccountId": account} if account else {}
    url = (await _in_thread(lambda: client.get_queue_url(QueueName=queue_name, **owner)))["QueueUrl"]
    answer = await _in_thread(lambda: client.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"]))
    policy = answer.get("Attributes", {}).get("RedrivePolicy")
    return _Queue(client, url, await _dead_letters(client, policy) if policy else None)


async def _dead_letters(client: Any, policy: str) -> str:
    """Return the URL of the dead-letter queue that a redrive *policy* names by its ARN."""
    arn = text_at(parse_object(policy.encode()), "deadLetterTargetArn").split(":")
    account, name = arn[-2:] if len(arn) == _ARN_PARTS else ("", "")
    answer = await _in_thread(lambda: client.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account))
    return answer["QueueUrl"]


async def _poll(queue: _Queue, session: QueueSession, count: int) -> None:
    in_flight = InFlight()
    while not session.has_ended:
        await in_flight.wait_until_empty()
        try:
            messages = await queue.receive(count)
        except (BotoCoreError, ClientError, OSError) as error:
            session.end(_explain(error))
            return
        in_flight.add(len(messages))
        for message in messages:
            session.deliver(SqsDelivery(queue, message, in_flight))


async def _in_thread(call: Callable[[], T]) -> T:
    return await asyncio.to_thread(call)


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _translated() -> AbstractAsyncContextManager[None]:
    return translated(
        2.0 * (_CONNECT_SECONDS + _ANSWER_SECONDS), (BotoCoreError, ClientError, MalformedNotification), _explain
    )


def _explain(error: BaseException) -> str:
    match error:
        case ClientError():
            code = _code(cast("Any", error))
            return _CAUSES.get(code) or f"SQS answered {code or 'an error'}"
        case NoCredentialsError():
            return "no AWS credentials were found (environment, profile, web identity, instance metadata)"
        case EndpointConnectionError():
            return "connection refused, or unknown host name"
        case ConnectTimeoutError() | ReadTimeoutError():
            return "timed out"
        case MalformedNotification():
            return "the queue's redrive policy cannot be read"
        case _:
            return explain_failure(error)
