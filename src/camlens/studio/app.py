"""The web application of the studio: API routes, middleware and the built page."""

import importlib
import pkgutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, Response
from fastapi.staticfiles import StaticFiles

from camlens.studio import problems, routes
from camlens.studio.bench import Workbench
from camlens.studio.priming import opened_bench, primed_page
from camlens.studio.safety.guard import Guard
from camlens.studio.safety.middleware import BodyLimit, SafeHeaders, WhileConnected
from camlens.studio.settings import StudioSettings

PAGE = Path(__file__).parent / "static"
LARGE_BODIES = frozenset({"/api/uploads"})
_UNBUILT = """<!doctype html><html lang="en"><meta charset="utf-8"><title>camlens studio</title>
<h1>The page is not built</h1><p>This source checkout has no built front end. Run <code>make studio-ui</code>
once (needs Node), or install the wheel. The API works: see <a href="/api/docs">its documentation</a>.</p></html>"""


def create_app(settings: StudioSettings | None = None) -> FastAPI:
    """Create the application; it loads its model in the background once it is started."""
    settings = settings or StudioSettings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.bench = opened_bench(settings)
        yield
        app.state.bench.close()

    app = FastAPI(
        title="camlens studio",
        summary="See where a PyTorch vision model looks, and whether that can be trusted",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    problems.install(app)
    for router in routers():
        app.include_router(router, prefix="/api")
    _serve_page(app)
    # the last middleware added is the first to run
    app.add_middleware(BodyLimit, large=settings.upload_bytes, large_paths=LARGE_BODIES)
    app.add_middleware(WhileConnected)
    app.add_middleware(Guard, settings=settings)
    app.add_middleware(SafeHeaders)
    return app


def routers() -> list[APIRouter]:
    """Return the router of each module in `routes`."""
    names = sorted(module.name for module in pkgutil.iter_modules(routes.__path__) if module.name[0] != "_")
    return [importlib.import_module(f"{routes.__name__}.{name}").router for name in names]


def _serve_page(app: FastAPI) -> None:
    if (PAGE / "assets").is_dir():
        app.mount("/assets", StaticFiles(directory=PAGE / "assets"), name="assets")

    @app.get("/api/{path:path}", include_in_schema=False)
    def no_such_route(path: str) -> Response:
        return problems.refusal(404, "route", "request.route", f"unknown route /api/{path[:100]}: see /api/docs")

    @app.get("/{path:path}", include_in_schema=False)
    def page(request: Request, path: str) -> Response:
        """Return the page, which picks its view by the address."""
        built = PAGE / "index.html"
        if not built.is_file():
            return HTMLResponse(_UNBUILT, status_code=503)
        if path == "favicon.svg" and (PAGE / path).is_file():
            return FileResponse(PAGE / path, headers={"cache-control": "max-age=86400"})
        bench: Workbench | None = getattr(request.app.state, "bench", None)
        text = built.read_text(encoding="utf-8")
        if bench is not None:
            text = primed_page(text, bench, request.query_params)
        return HTMLResponse(text, headers={"cache-control": "no-cache"})
