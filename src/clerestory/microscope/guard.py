"""Who may ask, and what a browser may do with the answer: every request passes here first.

A page of another site can send a browser here (cross-site requests), and a name that resolves to
this machine can make it believe that both are one (DNS rebinding): the Host, the Origin and what
browsers say of a request's site are checked. Answers forbid scripts and styles of others.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import socket
from collections.abc import Iterable
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clerestory.errors import OptionError

__all__ = ["MIN_TOKEN_LENGTH", "Guard", "check_token", "host_names", "is_loopback"]

MIN_TOKEN_LENGTH = 16
"""Letters of a token, at least."""
HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]@/]*)(?::[0-9]*)?")
POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
REPORTS = (
    "sandbox; default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""For files that lie in the folder: their own styles, no script, no origin."""
OTHERS = ("/studies/", "/pictures/", "/searched/")


class Guard:
    """Middleware: 400 for another host, 403 for another origin, 401 without the token."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str], token: str | None = None) -> None:
        """Put a guard before an application.

        Args:
            app: The application.
            hosts: Names by which the server may be asked, without ports; `*` for any IP address.
            token: What has to be shown once; None lets everybody in who reaches the server.
        """
        self.app, self.hosts, self.token = app, frozenset(map(str.lower, hosts)), token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer it here, or let it through.

        Args:
            scope: ASGI's scope.
            receive: Gives the request's messages.
            send: Takes the answer's; security headers are added to its first one.
        """
        # Lifespan events come from the server itself; there are no websockets.
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                _set_security_headers(MutableHeaders(scope=message), scope["path"])
            await send(message)

        refusal = self._refusal(scope, Headers(scope=scope))
        await (refusal or self.app)(scope, receive, with_headers)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        if any(not letter.isprintable() for letter in scope["path"]):
            return PlainTextResponse("The address has control characters.\n", 400)
        host = headers.get("host", "")
        if not self._is_allowed_host(host):
            return PlainTextResponse("This server does not go by that name (--allow-host).\n", 400)
        if _is_foreign(scope, headers, host):
            return PlainTextResponse("Another site's page sent this.\n", 403)
        return None if self.token is None else self._check_session(scope, headers, self.token)

    def _is_allowed_host(self, host: str) -> bool:
        """By name; a number cannot be another's, so any is good where all are listened to."""
        name = _name(host)
        return name in self.hosts or ("*" in self.hosts and _is_number(name))

    def _check_session(self, scope: Scope, headers: Headers, token: str) -> Response | None:
        """What who has not shown the token is told; shown in the address it becomes a cookie."""
        proof = _proof(token)
        parameters = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        token_given = next((value for name, value in parameters if name == "token"), None)
        if (
            token_given is not None
            and _same(_proof(token_given), proof)
            and scope["method"] == "GET"
        ):
            rest = urlencode([(name, value) for name, value in parameters if name != "token"])
            # One slash only: `//name` would lead to another site.
            path = "/" + quote(scope["path"].lstrip("/"))
            response = RedirectResponse(path + (f"?{rest}" if rest else ""), 303)
            # `lax`, so that a link from elsewhere finds the session; such requests change and draw
            # nothing.
            response.set_cookie(_session(headers), proof, samesite="lax", httponly=True)
            return response
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _same(_proof(bearer.strip()), proof):
            return None
        if _same(cookie_parser(headers.get("cookie", "")).get(_session(headers), ""), proof):
            return None
        text = "Open it with the token once: add ?token=… to the address.\n"
        return PlainTextResponse(text, 401, {"WWW-Authenticate": "Bearer"})


def check_token(host: str, token: str | None) -> None:
    """Check that a server is not open to others without a token that is hard to guess.

    Args:
        host: The address to listen at.
        token: The token; None for none.

    Raises:
        OptionError: Others could reach the server without a token, or the token is short or odd.
    """
    if token is None and not is_loopback(host):
        raise OptionError(
            f"--host {host} lets other machines in: give --token too, "
            f"{MIN_TOKEN_LENGTH} letters or more "
            "(`openssl rand -hex 16` makes one)."
        )
    if token is not None and (
        len(token) < MIN_TOKEN_LENGTH or not token.isascii() or not token.isprintable()
    ):
        raise OptionError(
            f"The token has {len(token)} letters: it takes "
            f"{MIN_TOKEN_LENGTH} or more of ASCII, without "
            "control characters."
        )


def host_names(host: str, more: Iterable[str] = ()) -> set[str]:
    """What a server that listens at `host` goes by.

    Args:
        host: The address to listen at.
        more: Further names.

    Returns:
        Names without ports; `*` where the server listens at all addresses.
    """
    if is_loopback(host):
        return {"localhost", "127.0.0.1", "[::1]", _name(host), *more}
    known = {socket.gethostname(), socket.getfqdn(), "localhost", _name(host), *more}
    return known | {"*"} if host in ("0.0.0.0", "::") else known


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it.

    Args:
        host: A name or an address, IPv6 with or without brackets.

    Returns:
        False for every name but `localhost`, since a name may come to mean another address.
    """
    bare = host.strip("[]").lower()
    if bare == "localhost":
        return True
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return False


def _name(host: str) -> str:
    """Without a port; IPv6 in brackets."""
    host = host.strip().lower()
    if host.count(":") > 1 and not host.startswith("["):
        return f"[{host}]"
    found = HOST.fullmatch(host)
    return found[1] if found else ""


def _is_number(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _is_foreign(scope: Scope, headers: Headers, host: str) -> bool:
    """Whether a page of another site sent it; browsers say so, and cannot be made not to.

    A link that is followed may come from anywhere, but nothing is drawn for it.
    """
    site, target = headers.get("sec-fetch-site", "none"), headers.get("sec-fetch-dest", "")
    followed = scope["method"] in ("GET", "HEAD") and target == "document"
    # A redraw keeps the model busy: no link from another page may start one.
    drawn = scope["path"].removesuffix(".json").endswith("/redraw")
    if site not in ("none", "same-origin") and (drawn or not followed):
        return True
    origin = headers.get("origin")
    try:
        return origin is not None and urlsplit(origin).netloc.lower() != host.lower()
    except ValueError:
        return True


def _proof(token: str) -> str:
    """What the cookie holds in the token's place."""
    return hashlib.sha256(b"clerestory microscope\0" + token.encode()).hexdigest()


def _session(headers: Headers) -> str:
    """The cookie of who has shown the token; by port, since a machine's ports share cookies."""
    port = headers.get("host", "").rpartition(":")[2]
    return f"clerestory-{port if port.isdecimal() and port.isascii() else 80}"


def _same(one: str, two: str) -> bool:
    # In constant time, so that the time of an answer says nothing about the token.
    return hmac.compare_digest(one.encode(), two.encode())


def _set_security_headers(headers: MutableHeaders, path: str) -> None:
    """What a browser may do with the answer."""
    headers["Content-Security-Policy"] = REPORTS if path.startswith(OTHERS) else POLICY
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "same-origin"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
