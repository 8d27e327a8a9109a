"""Who may use the live page: nobody from other sites, and nobody without the token.

A web page of a stranger can make a browser send requests to loopback, and by changing what its own name resolves to
(DNS rebinding) even read the replies. So the Host header has to name this machine; what changes something has to
come from our own pages (Sec-Fetch-Site, Origin) and carry a token that other sites cannot read; and the pages run no
script but their own. Other users of this machine reach loopback as well, so every request needs the token, or the
cookie that is given for it. Source: OWASP, Cross-Site Request Forgery Prevention Cheat Sheet; W3C, Fetch Metadata
Request Headers.

Invariant: a request that is refused here has reached nothing else.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "offramp_review"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with no-referrer, browsers send our own form with an origin of null
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What this process lets in.

    Attributes:
        loopback: whether it listens on loopback alone; then the Host header has to name loopback.
        token: needed with every request, or the cookie that stands for it.
        csrf: in every form of ours; new for each process.
        session: value of the cookie that stands for the token.
    """

    loopback: bool = True
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    session: str = field(default_factory=lambda: secrets.token_urlsafe(24))

    def names_us(self, host: str) -> bool:
        """Whether a Host header may be answered: on loopback one that names it, elsewhere any."""
        return not self.loopback or is_loopback(_name_in(host))

    def knows(self, headers: Headers) -> bool:
        """Whether the request shows the token, or the cookie that was given for it."""
        cookie = cookie_parser(headers.get("cookie", "")).get(cookie_name(headers), "")
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        return _equal(cookie, self.session) or _equal(bearer, self.token)

    def is_token(self, given: str) -> bool:
        """Whether this is the token."""
        return _equal(given, self.token)

    def ours(self, csrf: str) -> bool:
        """Whether a form was one of ours."""
        return _equal(csrf, self.csrf)


def cookie_name(headers: Headers) -> str:
    """The cookie's name, with the port: browsers do not keep the cookies of two ports of a host apart."""
    port = headers.get("host", "").rpartition(":")[2]
    return f"{COOKIE}_{port}" if port.isdecimal() and port.isascii() else COOKIE


def _name_in(host: str) -> str:
    """The name or address in a Host header, without port and brackets; empty where it is not in that form."""
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9A-Za-z.-]+))(?::\d{1,5})?", host)
    return "" if found is None else found[1] or found[2]


def is_loopback(host: str) -> bool:
    """Whether a name or address means this machine and no other."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def same_origin(headers: Headers) -> bool:
    """Whether a browser says that a request comes from our own page; a client that says nothing is not a browser."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None and site != "same-origin":
        return False
    return origin is None or origin.partition("://")[2] == headers.get("host")


class Guard:
    """Lets through what `access` allows, and puts the protecting headers on every reply."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, _with_headers(send))
            return
        await self._app(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> Response | None:
        headers, method = Headers(scope=scope), scope["method"]
        if not self._access.names_us(headers.get("host", "")):
            return PlainTextResponse("This page only answers requests addressed to this machine.\n", 403)
        if method not in _SAFE and not same_origin(headers):
            return PlainTextResponse("This request comes from another site.\n", 403)
        if (admitted := self._admitted(scope)) is not None:
            return admitted
        if self._access.knows(headers):
            return None
        return PlainTextResponse("Open the address that offramp printed, with its token.\n", 401)

    def _admitted(self, scope: Scope) -> Response | None:
        """The token in the address is taken once, kept as a cookie, and leaves the address."""
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = dict(query).get("token", "")
        if scope["method"] != "GET" or not self._access.is_token(given):
            return None
        rest = urlencode([(name, value) for name, value in query if name != "token"])
        path = "/" + scope["path"].lstrip("/")
        reply = RedirectResponse(path + (f"?{rest}" if rest else ""), 303)
        name = cookie_name(Headers(scope=scope))
        reply.set_cookie(name, self._access.session, httponly=True, samesite="strict")
        return reply


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [pair for pair in message["headers"] if pair[0].decode("latin-1").lower() not in HEADERS]
            extra = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            message = {**message, "headers": [*kept, *extra]}
        await send(message)

    return sending


def _equal(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())
