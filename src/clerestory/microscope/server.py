"""The pages over HTTP: a starlette application, and uvicorn to run it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from anyio import to_thread
from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from clerestory.errors import ClerestoryError
from clerestory.microscope.endpoints import Endpoints
from clerestory.microscope.folder import Microscope
from clerestory.microscope.guard import Guard, check_token, host_names
from clerestory.microscope.redraw import opened
from clerestory.microscope.rendering import STATIC

if TYPE_CHECKING:
    from clerestory.models import Model

__all__ = ["application", "serve"]


class _JsonSuffix(Convertor[str]):
    """The end of an address: nothing, or `.json`."""

    regex = r"(?:\.json)?"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


class _Picture(_JsonSuffix):
    """Folders with pictures."""

    regex = "pictures|searched"


register_url_convertor("twin", _JsonSuffix())
register_url_convertor("picture", _Picture())
LOOPBACK = "127.0.0.1"
GRACE = 3
"""Seconds that open requests have once it is stopped."""
THREADS = 2
"""That make pages."""


def application(
    folder: Path,
    opens: Callable[[], Model] | None = None,
    *,
    hosts: Iterable[str] | None = None,
    token: str | None = None,
) -> ASGIApp:
    """Make the application over a microscope's folder.

    It answers to the names in `hosts`, by default this machine's loopback, and with a `token` only
    who has shown it. RecordingError where the folder holds no microscope, or has links.

    Args:
        folder: The folder of a microscope.
        opens: Opens the model, for redraws and searches; by default the recorded one is loaded.
        hosts: Names that it answers to; by default those of this machine's loopback.
        token: What has to be shown once; None for none.

    Returns:
        An ASGI application.

    Raises:
        RecordingError: The folder holds no microscope, or has links.
    """
    return _route(folder, opens, hosts=hosts, token=token)[0]


def _route(
    folder: Path,
    opens: Callable[[], Model] | None = None,
    *,
    hosts: Iterable[str] | None = None,
    token: str | None = None,
) -> tuple[ASGIApp, Endpoints]:
    microscope = Microscope(folder)
    pages = Endpoints(microscope, opens or (lambda: opened(microscope)))
    model = quote(microscope.model, safe="")
    app = Starlette(
        routes=[
            Route("/", pages.home),
            Mount("/static", StaticFiles(directory=STATIC)),
            Route("/{kind:picture}/{path:path}", pages.picture),
            Route("/studies{twin:twin}", pages.studies),
            Route("/studies/{path:path}", pages.report),
            Route("/search{twin:twin}", pages.search),
            Route("/compare{twin:twin}", pages.compare),
            Route("/blind", pages.start_test, methods=["POST"]),
            Route("/blind/answer", pages.answer, methods=["POST"]),
            Route("/blind/{test}", pages.blind),
            Route(f"/{model}{{twin:twin}}", pages.model),
            Route(f"/{model}/{{place:path}}", pages.place, methods=["GET", "POST"]),
        ],
        exception_handlers={HTTPException: pages.problem, ClerestoryError: pages.problem},
        lifespan=partial(_served, pages),
    )
    return Guard(app, host_names(LOOPBACK) if hosts is None else hosts, token), pages


@asynccontextmanager
async def _served(pages: Endpoints, _: Starlette) -> AsyncIterator[None]:
    """Pages are made by a few threads (forty would wait for each other); work ends with them."""
    to_thread.current_default_thread_limiter().total_tokens = THREADS
    yield
    await to_thread.run_sync(pages.close)


def serve(
    folder: Path,
    *,
    host: str = LOOPBACK,
    port: int = 8642,
    token: str | None = None,
    hosts: Iterable[str] = (),
) -> None:
    """Serve a microscope until it is stopped.

    OptionError where other machines could reach it without a token.

    Args:
        folder: The folder of a microscope.
        host: The address to listen at.
        port: The port.
        token: What has to be shown once; needed where other machines reach the server.
        hosts: Further names by which it may be asked.

    Raises:
        OptionError: Other machines could reach it without a token.
        RecordingError: The folder holds no microscope, or has links.
    """
    import uvicorn

    check_token(host, token)
    app, pages = _route(folder, hosts=host_names(host, hosts), token=token)

    class Server(uvicorn.Server):
        """Sends away who waits for a picture, as soon as it is to end."""

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            super().handle_exit(sig, frame)
            # Not at once: a signal may come while this thread holds the queue's lock.
            asyncio.get_running_loop().call_soon_threadsafe(pages.drawer.turns.close)

    how: dict[str, Any] = {"host": host, "port": port, "log_level": "warning"}
    how |= {"server_header": False, "timeout_graceful_shutdown": GRACE}
    # Ctrl-C is how a server is meant to end.
    with suppress(KeyboardInterrupt):  # which it raises once it has ended
        Server(uvicorn.Config(app, **how)).run()
