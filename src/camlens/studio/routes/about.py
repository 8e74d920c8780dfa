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


@router.get("/examples", response_model=JobView[Examples], tags=["about"])
async def examples(bench: Bench, wait: Wait = 30) -> JobView[Any]:
    """Return good and worrying patterns, each as a picture with its map."""
    cached = bench.cache.get(_KEY)
    known = cached if isinstance(cached, Examples) else None

    def work(report: Report) -> Examples:
        answer = reading_examples(report)
        bench.cache.put(_KEY, answer, sum(len(example.picture) for example in answer.examples) + 4096)
        return answer

    return await as_job(bench, _KEY, work, lambda answer: answer, wait, known=known)


_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2.2rem; text-transform: capitalize; }
section { border-top: 1px solid color-mix(in srgb, currentColor 25%, transparent); padding: .8rem 0; }
code, pre { font: .86em/1.5 ui-monospace, monospace; overflow-wrap: anywhere; }
pre { white-space: pre-wrap; background: color-mix(in srgb, currentColor 7%, transparent);
  padding: .6rem .8rem; border-radius: 6px; }
.method { font-weight: 700; margin-right: .6rem; }
td, th { text-align: left; padding: .1rem 1.2rem .1rem 0; vertical-align: top; font-weight: 400; }
"""


@router.get("/docs.css", include_in_schema=False)
def style() -> Response:
    """Return the style sheet of the documentation."""
    return Response(_STYLE, media_type="text/css")


@router.get("/docs", include_in_schema=False)
def docs(request: Request) -> HTMLResponse:
    """Return the documentation of every route."""
    return HTMLResponse(documentation(request.app.openapi()))


def documentation(schema: dict[str, Any]) -> str:
    """Render an OpenAPI schema as an HTML page without scripts."""
    groups: dict[str, list[str]] = {}
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            name = operation.get("tags", ["other"])[0]
            groups.setdefault(name, []).append(_route(path, method, operation))
    routes = "".join(f"<h2>{escape(name)}</h2>{''.join(sections)}" for name, sections in groups.items())
    types = "".join(
        f'<section id="{escape(name)}"><h3><code>{escape(name)}</code></h3>{_fields(component)}</section>'
        for name, component in schema["components"]["schemas"].items()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<title>camlens studio: API</title><link rel="stylesheet" href="/api/docs.css"></head><body><main>'
        f"<h1>{escape(schema['info']['title'])}: API</h1>"
        "<p>Everything that the page shows is available here. The schema is "
        '<a href="/api/openapi.json">openapi.json</a>. '
        "If the studio has a token, send <code>Authorization: Bearer TOKEN</code>. "
        "Errors are answered as <code>{kind, code, message}</code>.</p>"
        f"{routes}<h2>Types</h2>{types}</main></body></html>"
    )


def _route(path: str, method: str, operation: dict[str, Any]) -> str:
    parameters = "".join(
        f"<tr><th><code>{escape(parameter['name'])}</code></th><td>{escape(_type(parameter['schema']))}</td>"
        f"<td>{escape(parameter.get('description') or parameter['schema'].get('description', ''))}</td></tr>"
        for parameter in operation.get("parameters", [])
    )
    body = operation.get("requestBody", {}).get("content", {})
    takes = ", ".join(f"{kind} {_type(content.get('schema', {}))}" for kind, content in body.items())
    answer = operation["responses"].get("200", {}).get("content", {})
    gives = ", ".join(f"{kind} {_type(content.get('schema', {}))}" for kind, content in answer.items())
    return (
        f'<section><p><span class="method">{method.upper()}</span><code>{escape(path)}</code></p>'
        f"<p>{escape(operation.get('description', ''))}</p>"
        + (f"<table>{parameters}</table>" if parameters else "")
        + (f"<p>Request body: <code>{escape(takes)}</code></p>" if takes else "")
        + (f"<p>Response: <code>{escape(gives)}</code></p>" if gives else "")
        + "</section>"
    )


def _fields(schema: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><th><code>{escape(name)}</code></th><td>{escape(_type(field))}</td></tr>"
        for name, field in schema.get("properties", {}).items()
    )
    text = escape(schema.get("description", ""))
    return f"<p>{text}</p><table>{rows}</table>"


def _type(schema: dict[str, Any]) -> str:
    """Return the type of a schema in a few characters."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(_type(option) for option in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        inner = schema.get("items") or (schema.get("prefixItems") or [{}])[0]
        return f"list of {_type(inner)}"
    return str(schema.get("const", schema.get("type", "")))
