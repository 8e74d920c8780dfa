"""Error answers: each has a status code and the three fields of `Problem`."""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from camlens.core.errors import CamlensError, DataError
from camlens.studio.bench import NotReadyError
from camlens.studio.jobs import QueueFullError
from camlens.studio.schemas import Problem


class ReadOnlyError(CamlensError):
    """The studio was started with --read-only."""

    default_code = "studio.read-only"


_STATUS: dict[type[CamlensError], int] = {
    NotReadyError: 503,
    QueueFullError: 503,
    ReadOnlyError: 403,
    DataError: 404,
}


def install(app: FastAPI) -> None:
    """Answer every exception with a `Problem`, never with a stack trace."""
    app.add_exception_handler(CamlensError, _camlens_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _internal_error)


def problem_of(error: CamlensError) -> Problem:
    """Return the error as the API sends it."""
    kind = type(error).__name__.removesuffix("Error").lower()
    return Problem(kind=kind, code=error.code, message=str(error))


def refusal(status: int, kind: str, code: str, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return the error answer with these fields."""
    problem = Problem(kind=kind, code=code, message=message)
    return JSONResponse(problem.model_dump(), status_code=status, headers=headers)


async def _camlens_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, CamlensError)
    status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 422)
    if isinstance(error, DataError) and request.method == "POST":
        status = 422
    problem = problem_of(error)
    headers = {"retry-after": "2"} if status == 503 else None
    return refusal(status, problem.kind, problem.code, problem.message, headers)


async def _invalid_request(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    faults = [f"{'.'.join(map(str, fault['loc'][1:]))}: {fault['msg']}" for fault in error.errors()]
    return refusal(422, "request", "request.invalid", "; ".join(faults)[:500])


async def _http_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return refusal(error.status_code, "http", "request.http", str(error.detail))


async def _internal_error(_request: Request, _error: Exception) -> JSONResponse:
    return refusal(500, "fault", "studio.fault", "internal error of the studio: see its log")
