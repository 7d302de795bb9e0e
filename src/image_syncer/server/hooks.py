"""`POST /hooks/SOURCE`: read, authenticate, parse, record, and only then answer.

Everything but a signature is checked before the body is read. A signature covers the body as sent, so it is checked
before the body is parsed. 202 means that the events are durable.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from starlette.routing import BaseRoute

from image_syncer.events import Answer, Handshake, MalformedNotification, PushEvent, dialect
from image_syncer.events.dialects import legacy
from image_syncer.events.dialects.envelope import answer_to_options
from image_syncer.events.notification import ignored, one
from image_syncer.events.oidc import Jwt, SigningKeys, key_id
from image_syncer.events.signatures import SignedDelivery, verify, verify_head
from image_syncer.server.authentication import Authentication, challenge, described
from image_syncer.server.body_reader import BodyReader
from image_syncer.server.errors import in_time, refusals
from image_syncer.server.metrics import Metrics
from image_syncer.server.request_record import note
from image_syncer.server.server_settings import HookSource, ServerSettings
from image_syncer.server.sns_hooks import SnsGate, Unauthenticated
from image_syncer.server.web_backend import Accepted, BackendUnavailable, EventInbox, KeyRing

_OK: Final = 200
_RESPONSES: Final = {200: {"description": "Nothing to record, or a handshake"}} | refusals(
    400, 401, 403, 404, 408, 413, 415, 422, 503
)
# An empty requirement: signatures, custom headers and secrets in the URL also authenticate, per source.
_OTHER_PROOFS: Final[dict[str, object]] = {"security": [{}]}


class NotificationRecorder:
    """Records the events of notifications and counts the notifications; every hook uses it."""

    def __init__(self, inbox: EventInbox, metrics: Metrics, *, patience_seconds: float) -> None:
        self._inbox = inbox
        self._metrics = metrics
        self._patience = patience_seconds

    async def record(self, request: Request, source: str, events: Sequence[PushEvent]) -> list[Accepted]:
        """Return *events* as recorded; `BackendUnavailable` if they are not durable in time."""
        accepted = await in_time(self._patience, self._inbox.accept(source, events))
        note(request, events=(entry.event_id for entry in accepted))
        wanted = sum(1 for entry in accepted if entry.rules)
        self._metrics.recorded(source, wanted=wanted, unmatched=len(accepted) - wanted)
        self.count(request, source, "accepted" if wanted else "unmatched")
        return accepted

    def count(self, request: Request, source: str, outcome: str, *, reason: str | None = None) -> None:
        """Count a notification by its *outcome*, and add that to the log line of *request*."""
        self._metrics.notified(source, outcome)
        note(request, source=source, outcome=outcome)
        if reason is not None:
            note(request, reason=reason)


class HookRoutes:
    """The webhooks of registries. *clock* gives seconds since the epoch; *keys* verify signed tokens."""

    def __init__(
        self,
        settings: ServerSettings,
        recorder: NotificationRecorder,
        *,
        keys: KeyRing | None,
        sns: SnsGate,
        clock: Callable[[], float],
    ) -> None:
        self._sources = settings.hooks
        self._patience = settings.patience_seconds
        self._bodies = BodyReader(settings)
        self._recorder = recorder
        self._keys = keys
        self._sns = sns
        self._clock = clock

    def routes(self, authentication: Authentication) -> list[BaseRoute]:
        """Return the routes; a sender that supports nothing better puts its secret last in the path.

        No sender is a browser. A browser may hold the login of a source with Basic authentication, hence the check of
        the origin.
        """
        checks = [check for source in self._sources.values() for check in source.checks]
        dependencies = [Depends(authentication.require_same_origin), *described(checks)]
        router = APIRouter(tags=["hooks"], dependencies=dependencies)
        for path, receive in (("/hooks/{source}", self.receive), ("/hooks/{source}/{secret}", self.receive_secret)):
            router.add_api_route(
                path,
                receive,
                methods=["POST"],
                status_code=202,
                response_class=JSONResponse,
                responses=_RESPONSES,
                openapi_extra=_OTHER_PROOFS,
            )
            router.add_api_route(path, self.consent, methods=["OPTIONS"], include_in_schema=False)
        return router.routes

    async def receive(self, request: Request, source: str) -> Response:
        """Record the pushes that a notification announces. The configuration sets kind and proof of `source`.

        202: recorded. 200: nothing to record, or a handshake. 400: malformed. 401: not authenticated. 404: unknown
        source. 413: too large. 503: not recorded, try again.
        """
        return await self._receive(request, source, request.query_params.get("secret", ""))

    async def receive_secret(self, request: Request, source: str, secret: str) -> Response:
        """The same, with the secret in the path."""
        return await self._receive(request, source, secret)

    async def consent(self, request: Request, source: str) -> Response:
        """Consent to deliveries (CloudEvents web hooks, section 4); each delivery is still authenticated."""
        self._source(source)
        headers = answer_to_options(request.headers)
        if not headers:
            raise HTTPException(405, "OPTIONS is for the CloudEvents handshake only", {"allow": "POST"})
        return Response(status_code=200, headers=headers)

    async def _receive(self, request: Request, name: str, secret: str) -> Response:
        answer = await self._parse(request, name, secret)
        if isinstance(answer, Handshake):
            self._recorder.count(request, name, "handshake")
            return Response(answer.body, media_type=answer.content_type)
        if answer.ignored is not None:
            self._recorder.count(request, name, "ignored", reason=answer.ignored)
            return JSONResponse({"status": "ignored", "reason": answer.ignored})
        accepted = await self._recorder.record(request, name, answer.events)
        events = [_as_json(event, entry) for event, entry in zip(answer.events, accepted, strict=True)]
        return JSONResponse({"status": "accepted", "events": events, "left_out": answer.left_out}, 202)

    def _source(self, name: str) -> HookSource:
        source = self._sources.get(name)
        if source is None:
            raise HTTPException(404, "there is no such source")
        return source

    async def _parse(self, request: Request, name: str, secret: str) -> Answer:
        source = self._source(name)
        note(request, source=name)
        keys = await self._signing_keys(request, source)
        head = SignedDelivery(request.headers, b"", url_secret=secret, now=self._clock(), keys=keys)
        if source.checks and not source.topics:
            decided = verify_head(source.checks, head)
            if decided is not None and not decided.passed:
                raise self._unauthenticated(request, name, source, decided.problem or "")
        body = await self._bodies.read(request)
        delivery = replace(head, body=body)
        try:
            if source.topics:
                return await self._parse_sns(request, name, source, delivery)
            verification = verify(source.checks, delivery)
            if source.checks and not verification.passed:
                raise self._unauthenticated(request, name, source, verification.problem or "")
            return _notification(source, request, body)
        except MalformedNotification as error:
            self._recorder.count(request, name, "malformed", reason=error.message)
            raise

    async def _parse_sns(self, request: Request, name: str, source: HookSource, delivery: SignedDelivery) -> Answer:
        opened = await self._sns.open(source, delivery)
        if isinstance(opened, Unauthenticated):
            raise self._unauthenticated(request, name, source, opened.problem)
        if not isinstance(opened, bytes):
            return opened
        return dialect(source.kind, prefix=source.prefix)(source.registry or "", {}, opened)

    def _unauthenticated(self, request: Request, name: str, source: HookSource, problem: str) -> HTTPException:
        self._recorder.count(request, name, "unverified", reason=problem)
        return HTTPException(401, problem, challenge(source.checks))

    async def _signing_keys(self, request: Request, source: HookSource) -> SigningKeys:
        """Return the keys that may have signed the request's token; none if *source* needs no token."""
        rules = next((check for check in source.checks if isinstance(check, Jwt)), None)
        kid = key_id(request.headers.get("authorization", "").partition(" ")[2].strip())
        if rules is None or kid is None:
            return {}
        if self._keys is None:
            raise BackendUnavailable("this server has no keys to verify tokens with")
        return await in_time(self._patience, self._keys.keys_for(rules, kid))


def _notification(source: HookSource, request: Request, body: bytes) -> Answer:
    if source.registry is not None:
        return dialect(source.kind, prefix=source.prefix)(source.registry, request.headers, body)
    decision = legacy.decide(request.scope["query_string"], request.headers, body)
    if decision.event is not None:
        return one(decision.event)
    if decision.status == _OK:
        return ignored(decision.reason or "")
    raise MalformedNotification(decision.reason or "")


def _as_json(event: PushEvent, accepted: Accepted) -> dict[str, object]:
    reference = str(event.repository.tag(event.tag))
    return {"id": accepted.event_id, "reference": reference, "rules": accepted.rules}
