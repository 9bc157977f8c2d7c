"""The pages over HTTP: a starlette application, and uvicorn to run it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from anyio import to_thread
from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from clerestory.errors import ClerestoryError
from clerestory.microscope.endpoints import Endpoints
from clerestory.microscope.folder import Microscope
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
THREADS = 2
"""That make pages."""


def application(folder: Path, opens: Callable[[], Model] | None = None) -> Starlette:
    """The application over a microscope's folder; `opens` opens its model, for the slider."""
    microscope = Microscope(folder)
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
        lifespan=_few_threads,
    )


@asynccontextmanager
async def _few_threads(_: Starlette) -> AsyncIterator[None]:
    """Pages are made by a few threads: with forty they would wait for each other."""
    to_thread.current_default_thread_limiter().total_tokens = THREADS
    yield


def serve(folder: Path, *, host: str = "127.0.0.1", port: int = 8642) -> None:
    """Serve until it is stopped."""
    import uvicorn

    uvicorn.run(application(folder), host=host, port=port, log_level="warning")
