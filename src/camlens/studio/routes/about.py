"""Examples of heat maps, and the documentation of the API."""

from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from camlens.studio.examples import reading_examples
from camlens.studio.jobs import Report
from camlens.studio.routes._shared import Bench, Wait, as_job
from camlens.studio.schemas import Examples, JobView

router = APIRouter()
_KEY = ("examples",)


_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
td, th { text-align: left; padding: .4rem 1.2rem .4rem 0; vertical-align: top; }
tr { border-top: 1px solid color-mix(in srgb, currentColor 25%, transparent); }
table { border-collapse: collapse; }
"""
_DOCS = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>camlens studio: API</title><link rel="stylesheet" href="/api/docs.css"></head><body><main>
<h1>camlens studio: API</h1>
<p>Everything that the page shows is available here. Request and response types are in
<a href="/api/openapi.json">openapi.json</a>, which API clients can read. If the studio has a token, send
<code>Authorization: Bearer TOKEN</code>. Errors are answered as <code>{{kind, code, message}}</code>.</p>
<table><thead><tr><th>Route</th><th>Description</th><th>Parameters</th></tr></thead><tbody>{rows}</tbody></table>
</main></body></html>"""


@router.get("/examples", response_model=JobView[Examples], tags=["about"])
async def examples(bench: Bench, wait: Wait = 30) -> JobView[Any]:
    """Return good and worrying patterns, each as a picture with its map."""

    def work(report: Report) -> Examples:
        answer = reading_examples(report)
        bench.cache.put(_KEY, answer, sum(len(example.picture) for example in answer.examples) + 4096)
        return answer

    return await as_job(bench, _KEY, work, wait, known=bench.cache.get(_KEY, Examples))


@router.get("/docs.css", include_in_schema=False)
def style() -> Response:
    """Return the style sheet of the documentation."""
    return Response(_STYLE, media_type="text/css")


@router.get("/docs", include_in_schema=False)
def docs(request: Request) -> HTMLResponse:
    """Return an HTML page that lists the routes."""
    rows = []
    for path, operations in request.app.openapi()["paths"].items():
        for method, operation in operations.items():
            parameters = ", ".join(parameter["name"] for parameter in operation.get("parameters", []))
            cells = f"{method.upper()} {path}", operation.get("description", ""), parameters
            rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    return HTMLResponse(_DOCS.format(rows="".join(rows)))
