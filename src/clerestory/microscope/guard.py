"""Middleware that checks every request, and adds security headers to every response.

A page of another site can make a browser send requests here (cross-site requests), and a host name
that resolves to this machine can make both sites one origin (DNS rebinding). Hence the checks of
Host, Origin and Sec-Fetch-Site. Responses forbid scripts and styles from elsewhere.
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
"""Minimum number of letters of a token."""
HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]@/]*)(?::[0-9]*)?")
POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
FILE_POLICY = (
    "sandbox; default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The policy of files in the folder: inline styles, no scripts, no origin."""
FILE_PATHS = ("/studies/", "/pictures/", "/searched/")


class Guard:
    """Middleware that responds with 400 to another host, 403 to another origin, 401 without token.

    Starlette's `TrustedHostMiddleware` cannot allow all IP addresses without allowing all names.

    Args:
        app: The application.
        hosts: Host names of the server, without ports; `*` for any IP address.
        token: Access token; None admits everybody who reaches the server.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str], token: str | None = None) -> None:
        # Host names are compared without case, as DNS does.
        self.app, self.hosts, self.token = app, frozenset(map(str.lower, hosts)), token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to a request that is refused, or pass it on.

        Args:
            scope: ASGI's scope.
            receive: Returns the request's messages.
            send: Sends the response's messages; security headers are added to the first.
        """
        # Lifespan events come from the server itself; there are no web sockets.
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
            return PlainTextResponse("This server has another host name (--allow-host).\n", 400)
        if _is_foreign(scope, headers, host):
            return PlainTextResponse("The request comes from another site.\n", 403)
        return None if self.token is None else self._check_session(scope, headers, self.token)

    def _is_allowed_host(self, host: str) -> bool:
        """Whether a name is listed, or an IP address, which DNS rebinding cannot forge, allowed."""
        name = _name(host)
        return name in self.hosts or ("*" in self.hosts and _is_address(name))

    def _check_session(self, scope: Scope, headers: Headers, token: str) -> Response | None:
        """The response to a request without a valid session; a token in the query starts one."""
        proof = _proof(token)
        parameters = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        query_token = next((value for name, value in parameters if name == "token"), None)
        is_valid = query_token is not None and _is_same(_proof(query_token), proof)
        if is_valid and scope["method"] == "GET":
            query = urlencode([(name, value) for name, value in parameters if name != "token"])
            # One slash only: `//name` would lead to another site.
            path = "/" + quote(scope["path"].lstrip("/"))
            response = RedirectResponse(path + (f"?{query}" if query else ""), 303)
            # `lax`, so that links from other sites find the session; those change and draw nothing.
            response.set_cookie(_session(headers), proof, samesite="lax", httponly=True)
            return response
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        # For scripts, which have no cookies.
        if scheme.lower() == "bearer" and _is_same(_proof(bearer.strip()), proof):
            return None
        if _is_same(cookie_parser(headers.get("cookie", "")).get(_session(headers), ""), proof):
            return None
        text = "An access token is required once: add ?token=… to the address.\n"
        return PlainTextResponse(text, 401, {"WWW-Authenticate": "Bearer"})


def check_token(host: str, token: str | None) -> None:
    """Check that a server which other machines reach has a token that is hard to guess.

    Args:
        host: The address to bind.
        token: The token; None for none.

    Raises:
        OptionError: A token is missing, too short, or not of printable ASCII.
    """
    if token is None and not is_loopback(host):
        raise OptionError(
            f"--host {host} lets other machines in: give --token too, {MIN_TOKEN_LENGTH} letters "
            "or more (`openssl rand -hex 16` makes one)."
        )
    if token is not None and (
        len(token) < MIN_TOKEN_LENGTH or not token.isascii() or not token.isprintable()
    ):
        raise OptionError(
            f"The token has {len(token)} letters: it takes {MIN_TOKEN_LENGTH} or more of printable "
            "ASCII."
        )


def host_names(host: str, more: Iterable[str] = ()) -> set[str]:
    """The host names of a server.

    Args:
        host: The address to bind.
        more: Further names.

    Returns:
        Names without ports; `*` if the server binds all addresses.
    """
    if is_loopback(host):
        return {"localhost", "127.0.0.1", "[::1]", _name(host), *more}
    known = {socket.gethostname(), socket.getfqdn(), "localhost", _name(host), *more}
    return known | {"*"} if host in ("0.0.0.0", "::") else known


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address.

    Args:
        host: A name or an address, IPv6 with or without brackets.

    Returns:
        False for every name except `localhost`, since names may resolve to other addresses.
    """
    name = host.strip("[]").lower()
    return name == "localhost" or (_is_address(name) and ipaddress.ip_address(name).is_loopback)


def _name(host: str) -> str:
    """A host without its port, IPv6 in brackets; empty if it is not valid."""
    host = host.strip().lower()
    if host.count(":") > 1 and not host.startswith("["):
        return f"[{host}]"
    match = HOST.fullmatch(host)
    return match[1] if match else ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _is_foreign(scope: Scope, headers: Headers, host: str) -> bool:
    """Whether a page of another site sent a request; links to pages may come from anywhere."""
    # Scripts cannot set the headers that start with Sec-.
    site, target = headers.get("sec-fetch-site", "none"), headers.get("sec-fetch-dest", "")
    is_link = scope["method"] in ("GET", "HEAD") and target == "document"
    # A redraw keeps the model busy: no link of another site may start one.
    is_redraw = scope["path"].removesuffix(".json").endswith("/redraw")
    # Browsers that send no such header are caught by the origin below.
    if site not in ("none", "same-origin") and (is_redraw or not is_link):
        return True
    origin = headers.get("origin")
    try:
        return origin is not None and urlsplit(origin).netloc.lower() != host.lower()
    except ValueError:
        return True


def _proof(token: str) -> str:
    """The cookie's value, from which nobody can compute the token."""
    return hashlib.sha256(b"clerestory microscope\0" + token.encode()).hexdigest()


def _session(headers: Headers) -> str:
    """The session cookie's name, with the port, since all ports of a host share cookies."""
    port = headers.get("host", "").rpartition(":")[2]
    return f"clerestory-{port if port.isdecimal() and port.isascii() else 80}"


def _is_same(first: str, second: str) -> bool:
    # In constant time, so that the time of a response reveals nothing about the token.
    return hmac.compare_digest(first.encode(), second.encode())


def _set_security_headers(headers: MutableHeaders, path: str) -> None:
    is_file = path.startswith(FILE_PATHS)
    headers["Content-Security-Policy"] = FILE_POLICY if is_file else POLICY
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "same-origin"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
