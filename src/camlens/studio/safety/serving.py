"""The HTTP server of the studio, with limits on connections, waiting times and log lines."""

import asyncio
import logging

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0  # from the connection, or the previous response, to the end of the request head
BODY_SECONDS = 120.0  # from the end of the head to the end of the body
READ_SECONDS = 60.0  # without the client reading what was sent
MOST_CONNECTIONS = 256
BACKLOG = 64
LOGGED, LOGGED_SECONDS = 5, 60.0


def server(app: FastAPI, *, host: str = "127.0.0.1", port: int = 0) -> uvicorn.Server:
    """Return a server with limits on connections, waiting times and log lines.

    It accepts 256 connections, or half the number of file descriptors if that is less.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="asyncio",
        http=BoundedProtocol,
        ws="none",
        log_level="warning",
        backlog=BACKLOG,
        limit_concurrency=_most_connections(),
        timeout_graceful_shutdown=2,
    )
    for name in ("asyncio", "uvicorn.error"):
        logger = logging.getLogger(name)
        if not any(isinstance(known, Throttle) for known in logger.filters):
            logger.addFilter(Throttle())
    return uvicorn.Server(config)


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 that closes connections whose client is too slow to send or to read.

    If there are too many connections, the one that has been waiting longest for a request is closed.
    """

    _awaited: object = None
    _since = 0.0
    _deadline: asyncio.TimerHandle | None = None
    _reading: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the deadline of the first request."""
        super().connection_made(transport)
        self._await_request()
        others = [line for line in self.connections if isinstance(line, BoundedProtocol) and line is not self]
        others = [line for line in others if not line.transport.is_closing()]
        waiting = [line for line in others if line.waits]
        if self.limit_concurrency is not None and len(others) + 1 >= self.limit_concurrency and waiting:
            min(waiting, key=lambda line: line._since).transport.abort()

    @property
    def waits(self) -> bool:
        """Whether the client has not sent a complete request yet."""
        return self.conn.their_state in (h11.IDLE, h11.SEND_BODY)

    def data_received(self, data: bytes) -> None:
        """Process the data, and update the deadline."""
        super().data_received(data)
        self._await_request()

    def on_response_complete(self) -> None:
        """Start the deadline of the next request."""
        super().on_response_complete()
        self._await_request()

    def pause_writing(self) -> None:
        """Start the deadline for the client to read."""
        super().pause_writing()
        self._reading = self.loop.call_later(READ_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Cancel the deadline for the client to read."""
        super().resume_writing()
        if self._reading is not None:
            self._reading.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel all deadlines."""
        super().connection_lost(exc)
        for timer in (self._deadline, self._reading):
            if timer is not None:
                timer.cancel()

    def _await_request(self) -> None:
        """Set the deadline for the next part of the request; data that trickles in does not extend it."""
        awaited = self.conn.their_state
        if awaited is self._awaited:
            return
        if self._deadline is not None:
            self._deadline.cancel()
        self._awaited, self._since = awaited, self.loop.time()
        seconds = {h11.IDLE: HEAD_SECONDS, h11.SEND_BODY: BODY_SECONDS}.get(awaited)
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)


class Throttle(logging.Filter):
    """Limit each line of code to five log records a minute."""

    def __init__(self) -> None:
        super().__init__()
        self._passed: dict[tuple[str, int], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log the record; the last one announces that more are suppressed."""
        place = record.pathname, record.lineno
        start, passed = self._passed.get(place, (record.created, 0))
        if record.created - start >= LOGGED_SECONDS:
            start, passed = record.created, 0
        self._passed[place] = start, passed + 1
        if passed + 1 == LOGGED:
            record.msg = f"{record.msg} (similar messages are suppressed for a minute)"
        return passed < LOGGED


def _most_connections() -> int:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return MOST_CONNECTIONS
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CONNECTIONS if files == resource.RLIM_INFINITY else max(8, min(MOST_CONNECTIONS, files // 2))
