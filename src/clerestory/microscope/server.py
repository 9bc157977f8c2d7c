"""Serves the pages: a starlette application, run by uvicorn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from anyio import to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from clerestory.errors import ClerestoryError
from clerestory.microscope.endpoints import Endpoints
from clerestory.microscope.folder import Microscope
from clerestory.microscope.guard import Guard, check_token, host_names
from clerestory.microscope.redraw import open_model

if TYPE_CHECKING:
    from clerestory.models import Model

__all__ = ["application", "serve"]


LOOPBACK = "127.0.0.1"
SHUTDOWN_TIMEOUT = 3
"""Seconds that open requests have when the server stops."""
THREADS = 2
"""Threads that render pages; more of them would only wait for each other."""


def application(
    folder: Path,
    load: Callable[[], Model] | None = None,
    *,
    hosts: Iterable[str] | None = None,
    token: str | None = None,
) -> ASGIApp:
    """Make the application of a microscope's folder.

    Args:
        folder: The folder of a microscope.
        load: Loads the model for redraws and searches; by default, the recorded model.
        hosts: Host names of the server; by default those of this machine's loopback.
        token: Access token, which visitors give once; None for none.

    Returns:
        An ASGI application.

    Raises:
        RecordingError: The folder holds no microscope, or has symbolic links.
    """
    return _build_application(folder, load, hosts=hosts, token=token)[0]


def _build_application(
    folder: Path,
    load: Callable[[], Model] | None = None,
    *,
    hosts: Iterable[str] | None = None,
    token: str | None = None,
) -> tuple[ASGIApp, Endpoints]:
    microscope = Microscope(folder)
    endpoints = Endpoints(microscope, load or partial(open_model, microscope))
    app = Starlette(
        routes=endpoints.routes(),
        exception_handlers={HTTPException: endpoints.problem, ClerestoryError: endpoints.problem},
        lifespan=partial(_lifespan, endpoints),
    )
    return Guard(app, host_names(LOOPBACK) if hosts is None else hosts, token), endpoints


@asynccontextmanager
async def _lifespan(endpoints: Endpoints, _: Starlette) -> AsyncIterator[None]:
    to_thread.current_default_thread_limiter().total_tokens = THREADS
    yield
    await to_thread.run_sync(endpoints.close)


def serve(
    folder: Path,
    *,
    host: str = LOOPBACK,
    port: int = 8642,
    token: str | None = None,
    hosts: Iterable[str] = (),
    load: Callable[[], Model] | None = None,
) -> None:
    """Serve a microscope until Ctrl-C.

    Args:
        folder: The folder of a microscope.
        host: The address to bind.
        port: The port.
        token: Access token, required if other machines can reach the server.
        hosts: Further host names of the server.
        load: Loads the model for redraws and searches; by default, the recorded model.

    Raises:
        OptionError: Other machines can reach the server, and there is no token.
        RecordingError: The folder holds no microscope, or has symbolic links.
    """
    import uvicorn

    check_token(host, token)
    app, endpoints = _build_application(folder, load, hosts=host_names(host, hosts), token=token)

    class Server(uvicorn.Server):
        """Also closes the queue at a signal, so that no request waits for a picture."""

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            super().handle_exit(sig, frame)
            # Not at once: the signal may interrupt this thread while it holds the queue's lock.
            asyncio.get_running_loop().call_soon_threadsafe(endpoints.drawer.turns.close)

    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        # Nobody needs to know the version of the server.
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT,
    )
    # Uvicorn raises it after an orderly end by Ctrl-C.
    with suppress(KeyboardInterrupt):
        Server(config).run()
