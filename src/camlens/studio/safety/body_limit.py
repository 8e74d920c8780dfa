"""A cap on request bodies that holds before anything is parsed, with or without a declared length."""

from contextlib import suppress

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SMALL_BODY = 64 * 1024


class _TooLargeError(Exception):
    """The body passed its cap."""


class BodyLimit:
    """ASGI middleware that refuses bodies over `large` bytes on `large_paths`, and over 64 KiB elsewhere."""

    def __init__(self, app: ASGIApp, *, large: int, large_paths: frozenset[str]) -> None:
        self.app = app
        self.large = large
        self.large_paths = large_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a body that ends in an error where it grows too large."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.large if scope["path"] in self.large_paths else SMALL_BODY
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isdecimal() or int(length) > limit:
            await _refusal(limit)(scope, receive, send)
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

        async def noticed(message: Message) -> None:
            nonlocal started
            if seen > limit and not started:
                return  # what the app makes of a body that broke off is not what happened
            started = True
            await send(message)

        with suppress(_TooLargeError):
            await self.app(scope, counted, noticed)
        if seen > limit and not started:
            await _refusal(limit)(scope, receive, send)


def _refusal(limit: int) -> JSONResponse:
    size = f"{limit / 2**20:.0f} MiB" if limit >= 2**20 else f"{limit // 1024} KiB"
    message = f"the request is larger than the allowed {size}: send a smaller image"
    return JSONResponse({"kind": "too_large", "message": message}, status_code=413, headers={"connection": "close"})
