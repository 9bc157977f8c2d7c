"""The pages over HTTP: a starlette application, and uvicorn to run it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from anyio import to_thread
from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from clerestory.errors import ClerestoryError, RecordingError
from clerestory.microscope.endpoints import Endpoints
from clerestory.microscope.folder import Microscope
from clerestory.microscope.guard import Guard, check_token, names_of
from clerestory.microscope.redraw import opened
from clerestory.microscope.rendering import STATIC

if TYPE_CHECKING:
    from clerestory.models import Model

__all__ = ["application", "serve"]


class _Twin(Convertor[str]):
    """The end of an address: nothing, or `.json`."""

    regex = r"(?:\.json)?"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("twin", _Twin())
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
) -> Starlette:
    """The application over a microscope's folder; `opens` opens its model, for the slider.

    It answers to the names in `hosts`, by default this machine's loopback, and with a `token` only
    who has shown it. RecordingError where the folder has links, which could lead out of it.
    """
    microscope = Microscope(folder)
    linked = next((one for one in folder.iterdir() if one.is_symlink()), None)
    if linked is not None:
        raise RecordingError(
            f"{linked} is a link, and could lead out of the microscope: remove it."
        )
    pages = Endpoints(microscope, opens or (lambda: opened(microscope)))
    kept = [
        Mount(f"/{name}", StaticFiles(directory=folder / name, check_dir=False))
        for name in ("pictures", "searched")
    ]
    model = quote(microscope.model, safe="")
    return Starlette(
        routes=[
            Route("/", pages.home),
            Mount("/static", StaticFiles(directory=STATIC)),
            *kept,
            Route("/studies{twin:twin}", pages.studies),
            Route("/studies/{path:path}", pages.report),
            Route("/search{twin:twin}", pages.search),
            Route("/compare{twin:twin}", pages.compare),
            Route("/blind", pages.begin, methods=["POST"]),
            Route("/blind/answer", pages.answer, methods=["POST"]),
            Route("/blind/{test}", pages.blind),
            Route(f"/{model}{{twin:twin}}", pages.model),
            Route(f"/{model}/{{place:path}}", pages.place, methods=["GET", "POST"]),
        ],
        exception_handlers={HTTPException: pages.problem, ClerestoryError: pages.problem},
        middleware=[Middleware(Guard, names_of(LOOPBACK) if hosts is None else hosts, token)],
        lifespan=_few_threads,
    )


@asynccontextmanager
async def _few_threads(_: Starlette) -> AsyncIterator[None]:
    """Pages are made by a few threads: with forty they would wait for each other."""
    to_thread.current_default_thread_limiter().total_tokens = THREADS
    yield


def serve(
    folder: Path,
    *,
    host: str = LOOPBACK,
    port: int = 8642,
    token: str | None = None,
    hosts: Iterable[str] = (),
) -> None:
    """Serve until it is stopped; `hosts` are more names by which others reach it.

    OptionError where other machines could reach it without a token.
    """
    import uvicorn

    check_token(host, token)
    pages = application(folder, hosts=names_of(host, hosts), token=token)
    uvicorn.run(
        pages,
        host=host,
        port=port,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=GRACE,
    )
