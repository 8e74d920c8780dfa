"""ASGI middleware: limits on request bodies, cancellation on disconnect, security headers."""

import asyncio
from contextlib import suppress

from anyio import CancelScope
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from camlens.studio.problems import refusal

SMALL_BODY = 64 * 1024


class _TooLargeError(Exception):
    """The request body is larger than its limit."""


class BodyLimit:
    """ASGI middleware that refuses bodies over `large` bytes on `large_paths`, and over 64 KiB elsewhere."""

    def __init__(self, app: ASGIApp, *, large: int, large_paths: frozenset[str]) -> None:
        self.app = app
        self.large = large
        self.large_paths = large_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; stop reading its body if it grows too large."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.large if scope["path"] in self.large_paths else SMALL_BODY
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isdecimal() or int(length) > limit:
            await _too_large(limit)(scope, receive, send)
            return
        await self._counted(scope, receive, send, limit)

    async def _counted(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        seen, started = 0, False

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                raise _TooLargeError
            return message

        async def forwarded(message: Message) -> None:
            nonlocal started
            if seen > limit and not started:
                return  # the app's answer to the truncated body would hide the real reason
            started = True
            await send(message)

        with suppress(_TooLargeError):
            await self.app(scope, counted, forwarded)
        if seen > limit and not started:
            await _too_large(limit)(scope, receive, send)


def _too_large(limit: int) -> JSONResponse:
    size = f"{limit / 2**20:.0f} MiB" if limit >= 2**20 else f"{limit // 1024} KiB"
    message = f"the request body is larger than {size}: send a smaller image"
    return refusal(413, "too_large", "request.too-large", message, {"connection": "close"})


class WhileConnected:
    """ASGI middleware that cancels a request if its client disconnects before the response is complete."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on until its client disconnects."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        messages: asyncio.Queue[Message] = asyncio.Queue(1)  # do not buffer a large body
        complete = False

        async def watched(message: Message) -> None:
            nonlocal complete
            complete = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        with CancelScope() as serving:

            async def listen() -> None:
                while (message := await receive())["type"] != "http.disconnect":
                    await messages.put(message)
                if not complete:
                    serving.cancel()

            listening = asyncio.create_task(listen())
            try:
                await self.app(scope, messages.get, watched)
            finally:
                listening.cancel()


POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; font-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


class SafeHeaders:
    """ASGI middleware that adds the security headers, and forbids caching if the response sets no cache-control."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and add the missing headers to its response."""

        async def completed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        await self.app(scope, receive, completed)
