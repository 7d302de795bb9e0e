"""`POST /hooks/SOURCE`: read, verify, understand, record, and only then answer.

The body is verified as it came, before anything of it is parsed. 202 means that the events are durable.
"""

from collections.abc import Callable
from typing import Final

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import JSONResponse

from image_syncer.events import Answer, Handshake, MalformedNotification, PushEvent, dialect
from image_syncer.events.dialects import legacy
from image_syncer.events.dialects.envelope import answer_to_options
from image_syncer.events.notification import ignored, one
from image_syncer.events.oidc import Jwt, SigningKeys, key_id
from image_syncer.events.signatures import SignedDelivery, verify
from image_syncer.server.authentication import Authentication, challenge, described
from image_syncer.server.backend import Accepted, BackendUnavailable, KeyRing
from image_syncer.server.body_reader import BodyReader
from image_syncer.server.errors import in_time, refusals
from image_syncer.server.reception import Reception
from image_syncer.server.server_settings import HookSource, ServerSettings

_OK: Final = 200
_RESPONSES: Final = {200: {"description": "Nothing in it is wanted, or a handshake"}} | refusals(
    400, 401, 403, 404, 408, 413, 415, 422, 503
)
# Signatures, headers of their own and secrets in the URL are proofs too, and each source has its own.
_OTHER_PROOFS: Final[dict[str, object]] = {"security": [{}]}


class HookRoutes:
    """The notifications of registries. *clock* gives seconds since the epoch; *keys* is for signed tokens alone."""

    def __init__(
        self, settings: ServerSettings, reception: Reception, *, keys: KeyRing | None, clock: Callable[[], float]
    ) -> None:
        self._sources = settings.hooks
        self._patience = settings.patience_seconds
        self._bodies = BodyReader(settings)
        self._reception = reception
        self._keys = keys
        self._clock = clock

    def router(self, guard: Authentication) -> APIRouter:
        """Return the routes; the secret of senders that can do nothing better is the last part of the path.

        No sender is a browser, and a browser may know the login of a source that shows itself by one.
        """
        checks = [check for source in self._sources.values() for check in source.checks]
        router = APIRouter(tags=["hooks"], dependencies=[Depends(guard.require_same_origin), *described(checks)])
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
        return router

    async def receive(self, request: Request, source: str) -> Response:
        """Record the pushes that a notification announces; its kind and its proof are configured for `source`.

        202 once they are durable, 200 where nothing in it is wanted or for a handshake, 400 for nonsense, 401 without
        its proof, 404 for an unknown source, 413 beyond the limit, 503 where it can not be recorded now.
        """
        return await self._receive(request, source, request.query_params.get("secret", ""))

    async def receive_secret(self, request: Request, source: str, secret: str) -> Response:
        """As without a secret in the path."""
        return await self._receive(request, source, secret)

    async def consent(self, request: Request, source: str) -> Response:
        """Consent to deliveries (CloudEvents web hooks, section 4). It opens nothing: each delivery is verified."""
        self._source(source)
        headers = answer_to_options(request.headers)
        if not headers:
            raise HTTPException(405, "only a handshake may be asked for so", {"allow": "POST"})
        return Response(status_code=200, headers=headers)

    async def _receive(self, request: Request, name: str, secret: str) -> Response:
        source = self._source(name)
        answer = await self._understand(request, name, source, secret)
        if isinstance(answer, Handshake):
            self._reception.tell(request, name, "handshake")
            return Response(answer.body, media_type=answer.content_type)
        if answer.ignored is not None:
            self._reception.tell(request, name, "ignored", reason=answer.ignored)
            return JSONResponse({"status": "ignored", "reason": answer.ignored})
        accepted = await self._reception.accept(request, name, answer.events)
        events = [_shown(event, entry) for event, entry in zip(answer.events, accepted, strict=True)]
        return JSONResponse({"status": "accepted", "events": events, "left_out": answer.left_out}, 202)

    def _source(self, name: str) -> HookSource:
        source = self._sources.get(name)
        if source is None:
            raise HTTPException(404, "there is no such source")
        return source

    async def _understand(self, request: Request, name: str, source: HookSource, secret: str) -> Answer:
        body = await self._bodies.read(request)
        keys = await self._signing_keys(request, source)
        delivery = SignedDelivery(request.headers, body, url_secret=secret, now=self._clock(), keys=keys)
        verification = verify(source.checks, delivery)
        if source.checks and not verification.passed:
            self._reception.tell(request, name, "unverified", reason=verification.problem)
            raise HTTPException(401, verification.problem or "", challenge(source.checks))
        try:
            return _read(source, request, body)
        except MalformedNotification as error:
            self._reception.tell(request, name, "malformed", reason=error.message)
            raise

    async def _signing_keys(self, request: Request, source: HookSource) -> SigningKeys:
        """Return the keys that the request's token may be signed with; none where no token has to be verified."""
        rules = next((check for check in source.checks if isinstance(check, Jwt)), None)
        kid = key_id(request.headers.get("authorization", "").partition(" ")[2].strip())
        if rules is None or kid is None:
            return {}
        if self._keys is None:
            raise BackendUnavailable("nobody can tell the keys that tokens are signed with")
        return await in_time(self._patience, self._keys.keys_for(rules, kid))


def _read(source: HookSource, request: Request, body: bytes) -> Answer:
    if source.registry is not None:
        return dialect(source.kind, prefix=source.prefix)(source.registry, request.headers, body)
    decision = legacy.decide(request.scope["query_string"], request.headers, body)
    if decision.event is not None:
        return one(decision.event)
    if decision.status == _OK:
        return ignored(decision.reason or "")
    raise MalformedNotification(decision.reason or "")


def _shown(event: PushEvent, accepted: Accepted) -> dict[str, object]:
    reference = str(event.repository.tag(event.tag))
    return {"id": accepted.event_id, "reference": reference, "rules": accepted.rules}
