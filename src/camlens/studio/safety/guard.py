"""Who may ask: host, origin and token are checked before anything of a request is looked at."""

import ipaddress
import socket
from hmac import compare_digest
from html import escape
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from camlens.studio.settings import StudioSettings

OPEN_PATHS = frozenset({"/api/health"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_REFUSED_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>camlens studio</title>
<h1>This studio needs its token</h1>
<p>Open the whole address that <code>camlens studio</code> printed when it started: it ends in
<code>?token=</code> and a secret. Your browser then remembers it.</p></html>"""


_ONWARD_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>camlens studio</title>
<meta http-equiv="refresh" content="0; url={address}"><a href="{address}">Go on to the studio</a></html>"""


class Guard:
    """ASGI middleware that refuses foreign hosts, foreign origins and those without the token."""

    def __init__(self, app: ASGIApp, settings: StudioSettings) -> None:
        self.app = app
        self.settings = settings
        self.cookie = f"camlens-{settings.port}"
        self.hosts = {"localhost", "127.0.0.1", "::1", settings.host, *settings.hosts}
        if not settings.loopback:
            self.hosts |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with the reason why not."""
        http = scope["type"] == "http"
        if not http and scope["type"] != "websocket":
            await self.app(scope, receive, send)
            return
        answer = self._objection(scope, Headers(scope=scope)) if http else Response(status_code=403)
        await (answer or self.app)(scope, receive, send)

    def _objection(self, scope: Scope, headers: Headers) -> Response | None:
        host = headers.get("host", "")
        if len(headers.getlist("host")) != 1 or not self._known_host(host):
            return _refusal(
                421,
                "host",
                f"this studio does not answer for host {host[:100]!r}: start it with --allow-host",
            )
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return _refusal(403, "origin", f"requests from pages of {origin[:100]!r} are refused")
        if scope["method"] not in SAFE_METHODS and headers.get("sec-fetch-site", "same-origin") not in (
            "same-origin",
            "none",
        ):
            return _refusal(403, "origin", "requests from other sites' pages are refused")
        return self._token_objection(scope, headers)

    def _known_host(self, host: str) -> bool:
        name = (urlsplit(f"//{host}").hostname or "") if _splits(host) else ""
        if name in self.hosts:
            return True
        return not self.settings.loopback and _is_address(name)

    def _token_objection(self, scope: Scope, headers: Headers) -> Response | None:
        token = self.settings.token
        if token is None or scope["path"] in OPEN_PATHS:
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = next((value for name, value in query if name == "token"), None)
        page = scope["method"] == "GET" and not scope["path"].startswith("/api/")
        if given is not None and compare_digest(given.encode(), token.encode()):
            return self._remembered(scope, query, token) if page else None
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        shown = bearer if scheme.lower() == "bearer" else _cookie(headers, self.cookie)
        if compare_digest(shown.encode(), quote(token).encode()) or compare_digest(shown.encode(), token.encode()):
            return None
        if page:
            return HTMLResponse(_REFUSED_PAGE, status_code=401)
        return _refusal(401, "token", "the token is missing or wrong: send it as 'Authorization: Bearer TOKEN'")

    def _remembered(self, scope: Scope, query: list[tuple[str, str]], token: str) -> Response:
        """A page that goes on to the same address without the token, which a cookie now carries.

        Not a redirect: after a click on another site's page, a terminal's or a chat's, the browser would not
        send a strict cookie along with the redirected request.
        """
        rest = urlencode([(name, value) for name, value in query if name != "token"])
        path = "/" + scope["path"].lstrip("/\\")  # never '//host', which a browser would follow elsewhere
        address = escape(quote(path) + (f"?{rest}" if rest else ""))
        answer = HTMLResponse(_ONWARD_PAGE.format(address=address))
        answer.set_cookie(self.cookie, quote(token), httponly=True, samesite="strict", path="/")
        return answer


def _splits(host: str) -> bool:
    try:
        return urlsplit(f"//{host}").netloc == host and "@" not in host
    except ValueError:
        return False


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _cookie(headers: Headers, name: str) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return found.value if found else ""


def _refusal(status: int, kind: str, message: str) -> Response:
    return JSONResponse({"kind": kind, "message": message}, status_code=status)
