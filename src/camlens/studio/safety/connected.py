"""Work on an answer stops if the client that asked for it has gone."""

import asyncio

from anyio import CancelScope
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class WhileConnected:
    """ASGI middleware that cancels a request when its client disconnects before the answer is complete."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on for as long as somebody listens."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        messages: asyncio.Queue[Message] = asyncio.Queue(1)  # read ahead by one: a large body must not pile up
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
