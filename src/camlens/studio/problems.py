"""From errors to answers: which status code, and the same two fields for every fault."""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from camlens.core.errors import CamlensError, DataError
from camlens.studio.bench import NotReadyError
from camlens.studio.jobs import QueueFullError


class ReadOnlyError(CamlensError):
    """The studio was started with --read-only."""


_STATUS: dict[type[CamlensError], int] = {
    NotReadyError: 503,
    QueueFullError: 503,
    ReadOnlyError: 403,
    DataError: 404,
}


def install(app: FastAPI) -> None:
    """Answer every error with `kind` and `message`, and never with a stack trace."""
    app.add_exception_handler(CamlensError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _fault)


def _answer(status: int, kind: str, message: str) -> JSONResponse:
    headers = {"retry-after": "2"} if status == 503 else None
    return JSONResponse({"kind": kind, "message": message}, status_code=status, headers=headers)


async def _ours(request: Request, error: Exception) -> JSONResponse:
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 422)
    if isinstance(error, DataError) and request.method == "POST":
        status = 422
    return _answer(status, type(error).__name__.removesuffix("Error").lower(), str(error))


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    faults = [f"{'.'.join(map(str, fault['loc'][1:]))}: {fault['msg']}" for fault in error.errors()]
    return _answer(422, "request", "; ".join(faults)[:500])


async def _http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return _answer(error.status_code, "http", str(error.detail))


async def _fault(_request: Request, _error: Exception) -> JSONResponse:
    return _answer(500, "fault", "the studio met an error of its own; its log says more")
