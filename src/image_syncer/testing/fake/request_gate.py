"""Middleware of the kit's servers: records each request, applies faults, and delivers the response."""

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from image_syncer.testing.fake.answers import EXTRA, RECORD, RegistryError, new_record
from image_syncer.testing.fake.fault_injection import BrokenConnection
from image_syncer.testing.fake.fault_script import Script
from image_syncer.testing.fake.streaming import FAULTS, deliver
from image_syncer.testing.request_log import RequestLog

Interceptor = Callable[[web.Request], Awaitable[web.StreamResponse | None]]
"""Sees a request before the registry does; returns a response, or None to continue."""


class RequestGate:
    """The middleware of one server: *admit* runs before the handlers; every response carries *headers*."""

    def __init__(self, requests: RequestLog, faults: Script, admit: Interceptor, headers: Mapping[str, str]) -> None:
        self._requests = requests
        self._faults = faults
        self._admit = admit
        self._headers = headers

    @web.middleware
    async def answer(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Record the request, run the handlers, and record the response before sending its first byte."""
        record = request[RECORD] = new_record(request)
        self._requests.append(record)
        request[FAULTS] = self._faults.for_request(record)
        try:
            response = await self._answered(request, handler)
            if response.prepared or request.transport is None or request.transport.is_closing():
                return response
            response.headers.update({**self._headers, **request.get(EXTRA, {})})
            return await deliver(request, response)
        except BrokenConnection:
            return web.Response()  # The client does not receive it.

    async def _answered(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            return await self._decide(request, handler)
        except RegistryError as error:
            return error.response()
        except web.HTTPException as error:
            return RegistryError(error.status, "UNSUPPORTED", error.reason).response()

    async def _decide(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        for fault in request[FAULTS]:
            if (response := await fault.meet(request)) is not None:
                return response
        if (response := await self._admit(request)) is not None:
            return response
        for fault in request[FAULTS]:
            if (response := fault.replace(request)) is not None:
                return response
        return await handler(request)
