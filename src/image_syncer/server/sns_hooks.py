"""Webhooks that Amazon SNS delivers: verify the envelope, confirm subscriptions, return the published message."""

from dataclasses import dataclass

from image_syncer.events import Handshake, Notification
from image_syncer.events.notification import ignored
from image_syncer.events.signatures import SignedDelivery, verify
from image_syncer.events.sns import RAW_HEADER, SnsMessage, confirmation_address, parse_envelope, sns_problem
from image_syncer.server.errors import in_time
from image_syncer.server.server_settings import HookSource
from image_syncer.server.web_backend import BackendUnavailable, SnsClient

_CONFIRMED = Handshake(b'{"status":"confirmed"}', "application/json")


@dataclass(frozen=True, slots=True)
class Unauthenticated:
    """The request does not prove its sender, because of *problem*."""

    problem: str


class SnsGate:
    """Checks messages of SNS. Waits at most *patience_seconds* for SNS's own addresses."""

    def __init__(self, client: SnsClient | None, *, patience_seconds: float) -> None:
        self._client = client
        self._patience = patience_seconds

    async def open(
        self, source: HookSource, delivery: SignedDelivery
    ) -> bytes | Handshake | Notification | Unauthenticated:
        """Return the published message in *delivery*, or the answer if it has none. Raises `MalformedNotification`.

        Raw deliveries carry no signature, so they need one of the source's other checks. Enveloped ones need a valid
        signature and a configured topic, and one of the checks as well if there are any.
        """
        verification = verify(source.checks, delivery) if source.checks else None
        if verification is not None and not verification.passed:
            return Unauthenticated(verification.problem or "")
        if delivery.headers.get(RAW_HEADER, "").lower() == "true":
            return delivery.body if verification is not None else Unauthenticated("a raw delivery has no signature")
        message = parse_envelope(delivery.body)
        problem = await self._problem(source, message, delivery.now)
        if problem is not None:
            return Unauthenticated(problem)
        if message.is_notification:
            return message.content.encode()
        if not message.asks_for_confirmation:
            return ignored("the subscription was ended")
        await in_time(self._patience, self._require().confirm(confirmation_address(message)))
        return _CONFIRMED

    async def _problem(self, source: HookSource, message: SnsMessage, now: float) -> str | None:
        if message.topic not in source.topics:  # Before anything is fetched for a stranger.
            return "the message is from a topic that is not configured"
        certificate = await in_time(self._patience, self._require().certificate(message.certificate_url))
        return sns_problem(message, source.topics, certificate, now)

    def _require(self) -> SnsClient:
        if self._client is None:
            raise BackendUnavailable("this server cannot reach SNS to verify its messages")
        return self._client
