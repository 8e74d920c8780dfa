"""Access control: host, origin and token are checked before anything else of a request is read."""

import ipaddress
import socket
from hmac import compare_digest
from html import escape
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from camlens.studio.problems import refusal
from camlens.studio.settings import StudioSettings

OPEN_PATHS = frozenset({"/api/health"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_REFUSED_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>camlens studio</title>
<h1>A token is required</h1>
<p>Open the full address that <code>camlens studio</code> printed when it started. It ends in
<code>?token=</code> and a secret, which your browser then remembers.</p></html>"""

_FORWARDING_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>camlens studio</title>
<meta http-equiv="refresh" content="0; url={address}"><a href="{address}">Continue to the studio</a></html>"""


class Guard:
    """ASGI middleware that refuses unknown hosts, other origins, and requests without the token."""

    def __init__(self, app: ASGIApp, settings: StudioSettings) -> None:
        self.app = app
        self.settings = settings
        self.cookie = f"camlens-{settings.port}"
        self.hosts = {"localhost", "127.0.0.1", "::1", settings.host, *settings.hosts}
        if not settings.loopback:
            self.hosts |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with a refusal."""
        http = scope["type"] == "http"
        if not http and scope["type"] != "websocket":
            await self.app(scope, receive, send)
            return
        answer = self._objection(scope, Headers(scope=scope)) if http else Response(status_code=403)
        await (answer or self.app)(scope, receive, send)

    def _objection(self, scope: Scope, headers: Headers) -> Response | None:
        host = headers.get("host", "")
        if len(headers.getlist("host")) != 1 or not self._known_host(host):
            message = f"unknown host {host[:100]!r}: to allow it, start the studio with --allow-host"
            return refusal(421, "host", "request.host", message)
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return refusal(403, "origin", "request.origin", f"requests from pages of {origin[:100]!r} are refused")
        if scope["method"] not in SAFE_METHODS and headers.get("sec-fetch-site", "same-origin") not in (
            "same-origin",
            "none",
        ):
            return refusal(403, "origin", "request.origin", "requests from pages of other sites are refused")
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
        message = "the token is missing or wrong: send it as 'Authorization: Bearer TOKEN'"
        return refusal(401, "token", "request.token", message)

    def _remembered(self, scope: Scope, query: list[tuple[str, str]], token: str) -> Response:
        """Set the token's cookie, on a page that forwards to the same address without the token.

        This is not a redirect: after a click on a link in another site or application, the browser would not send
        a strict cookie with the redirected request.
        """
        rest = urlencode([(name, value) for name, value in query if name != "token"])
        path = "/" + scope["path"].lstrip("/\\")  # never '//host', which a browser would follow to another host
        address = escape(quote(path) + (f"?{rest}" if rest else ""))
        answer = HTMLResponse(_FORWARDING_PAGE.format(address=address))
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
        cookie = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return cookie.value if cookie else ""
