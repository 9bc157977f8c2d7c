"""Handlers of all addresses: pages and their twins, themes, blind tests, redraws, searches."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from anyio import CapacityLimiter, to_thread
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from clerestory.errors import RecordingError, SiteError
from clerestory.io.reading import path_inside
from clerestory.microscope import blind, searches
from clerestory.microscope.folder import Microscope, Unit
from clerestory.microscope.forms import read_form, read_number
from clerestory.microscope.queue import AbandonedError, BusyError, Ticket, TurnQueue
from clerestory.microscope.redraw import MAX_WAITING, Drawer
from clerestory.microscope.rendering import STATIC, Renderer, rooted
from clerestory.microscope.searches import Jobs
from clerestory.microscope.themes import LockedError, Themes
from clerestory.microscope.views import DEFAULT_SORT, Views
from clerestory.reporting.pictures import data_address

if TYPE_CHECKING:
    from clerestory.models import Model

__all__ = ["Endpoints"]

RATER = "rater"
"""The cookie with a rater's name."""
TWIN = ".json"
"""The end of a twin's address."""
PARTS = ("redrawn", "searched")
"""Templates of parts of a unit's page, which are pages of their own without JavaScript."""
ACTIONS = ("redraw", "themes", "searched", "stop")
"""The last part of an address under a unit's."""
PICTURES = (".png", ".jpg")
LOCK_TIMEOUT = 0.3
"""Seconds that a page waits for a locked database, so that others are not kept waiting."""
POLL_INTERVAL = 0.2
"""Seconds between two checks whether a browser has left."""


class Endpoints:
    """The handlers of all addresses.

    A handler takes the request, and the unit where the address has one; it returns the page, its
    JSON twin where the address ends in `.json`, or a redirect after a form. Errors of Clerestory
    and HTTPExceptions become pages by `problem`. Coroutines wait for forms and pictures; starlette
    runs the other handlers in threads.

    Args:
        microscope: The microscope.
        load: Loads the model when the first picture is drawn.

    Raises:
        ThemeError: The database of themes was altered, or is of a newer version.
    """

    def __init__(self, microscope: Microscope, load: Callable[[], Model]) -> None:
        self.microscope = microscope
        self.themes = Themes(microscope.folder / "themes.sqlite", LOCK_TIMEOUT)
        self.views = Views(microscope, self.themes)
        self.drawer = Drawer(load)
        self.jobs = Jobs(microscope, self.drawer)
        self.render = Renderer(microscope.model)
        # Threads that wait for a picture have a limit of their own, so that pages never run out of
        # threads.
        self._drawing_threads = CapacityLimiter(MAX_WAITING + 2)

    def routes(self) -> list[BaseRoute]:
        """The handlers by address."""
        # Sites are addressed under the model, as in the addresses that people paste.
        home = f"/{self.microscope.model}"
        pages = {
            home: self._model,
            "/studies": self._studies,
            "/search": self._search,
            "/compare": self._compare,
        }
        files = {"pictures": PICTURES, "searched": PICTURES, "studies": None}
        return [
            Route("/", self._home),
            Mount("/static", StaticFiles(directory=STATIC)),
            *(Route(path + end, page) for path, page in pages.items() for end in ("", TWIN)),
            *(
                Route(f"/{folder}/{{path:path}}", partial(self._file, folder=folder, types=types))
                for folder, types in files.items()
            ),
            Route("/blind", self._start_test, methods=["POST"]),
            Route("/blind/answer", self._answer, methods=["POST"]),
            Route("/blind/{test}", self._blind),
            Route(f"{home}/{{place:path}}", self._place, methods=["GET", "POST"]),
        ]

    def close(self) -> None:
        """End all searches, and the requests that wait for a picture."""
        self.drawer.turns.close()
        self.jobs.close()

    def problem(self, request: Request, error: Exception) -> Response:
        """The page of an error: one sentence, and a link to the model.

        Args:
            request: The request that failed.
            error: An HTTPException, or an error of Clerestory.

        Returns:
            404 for a missing site or unit, 503 for a locked database, 400 for other errors of
            Clerestory, or the status of an HTTPException; as JSON for a twin, as a part of a page
            for htmx.
        """
        status, text, headers = 404 if isinstance(error, SiteError) else 400, str(error), {}
        if isinstance(error, LockedError):
            status, headers = 503, {"Retry-After": "3"}
        if isinstance(error, HTTPException):
            status, text = error.status_code, str(error.detail)
            headers = dict(error.headers or {})
        # Visitors need not know the folder's place on the server.
        text = text.replace(f"{self.microscope.folder}/", "")
        if _asks_for_json(request):
            return JSONResponse({"problem": text}, status, headers)
        if _is_htmx(request):
            # htmx replaces only the part for messages, so that a form keeps what was typed.
            headers |= {"HX-Retarget": "#problem", "HX-Reswap": "innerHTML"}
        template = "problem-part" if _is_htmx(request) else "problem"
        page = self.render(template, problem=text, status=status, live=True)
        return HTMLResponse(page, status, headers=headers)

    def _page(self, request: Request, name: str, data: Mapping[str, Any]) -> Response:
        """The page of a template, or its twin, which is its data."""
        if _asks_for_json(request):
            return JSONResponse(data)
        context = {**data, "rater": request.cookies.get(RATER, ""), "live": True}
        if name in PARTS and not _is_htmx(request):
            context |= {"part": name}
            name = "part"
        return HTMLResponse(self.render(name, **context))

    def _home(self, request: Request) -> Response:
        return RedirectResponse("/" + quote(self.microscope.model))

    def _model(self, request: Request) -> Response:
        return self._page(request, "model", self.views.model())

    def _studies(self, request: Request) -> Response:
        return self._page(request, "studies", self.views.studies())

    def _search(self, request: Request) -> Response:
        # Cut rather than refused: a search box takes any text.
        query = request.query_params.get("q", "")[:200]
        return self._page(request, "search", self.views.search(query))

    def _compare(self, request: Request) -> Response:
        first, second = (request.query_params.get(name, "")[:300] for name in "ab")
        return self._page(request, "compare", self.views.compare(first, second))

    def _file(self, request: Request, *, folder: str, types: tuple[str, ...] | None) -> Response:
        """A file in one of the microscope's folders, of one of these types."""
        try:
            # An address may have `..` in it; only files within the folder are sent.
            name = f"{folder}/{request.path_params['path']}"
            path = path_inside(self.microscope.folder, name, RecordingError)
            exists = path.is_file() and (types is None or path.suffix in types)
        except (RecordingError, OSError, ValueError):  # outside of it, or not a valid name
            exists = False
        if not exists:
            raise HTTPException(404, "There is no such file.")
        return FileResponse(path)

    async def _place(self, request: Request) -> Response:
        """A site, a unit, or an action of a unit."""
        place = request.path_params["place"].removesuffix(TWIN)
        # Addresses of sites have slashes of their own, so a route cannot tell them from units.
        if place in self.microscope.sites:
            return await run_in_threadpool(self._site, request, place)
        unit, action = self._unit_and_action(place)
        # A HEAD is answered like a GET; the server leaves out the body.
        method = "GET" if request.method == "HEAD" else request.method
        if method == "GET" and action in ("", "searched"):
            handler = self._searched if action else self._unit
            return await run_in_threadpool(handler, request, unit)
        actions: dict[tuple[str, str], Callable[[Request, Unit], Awaitable[Response]]] = {
            ("GET", "redraw"): self._redraw,
            ("POST", "themes"): self._theme,
            ("POST", "searched"): self._start_search,
            ("POST", "stop"): self._stop_search,
        }
        if (method, action) not in actions:
            raise HTTPException(405, f"This address does not take {method} requests.")
        return await actions[method, action](request, unit)

    def _unit_and_action(self, place: str) -> tuple[Unit, str]:
        site, _, last = place.rpartition("/")
        if last in ACTIONS:
            site, _, number = site.rpartition("/")
            return self.microscope.unit(site, number), last
        return self.microscope.unit(site, last), ""

    def _site(self, request: Request, address: str) -> Response:
        query = request.query_params
        page = read_number(query.get("page", "0"), 6, "The page must be a number.")
        data = self.views.site(address, query.get("sort", DEFAULT_SORT), page)
        return self._page(request, "rows" if _is_htmx(request) else "site", data)

    def _unit(self, request: Request, unit: Unit) -> Response:
        return self._page(request, "unit", {**self.views.unit(unit), "job": self._job(unit)})

    async def _redraw(self, request: Request, unit: Unit) -> Response:
        """Both pictures, in turn; 204 if the browser has left."""
        query = request.query_params
        try:
            level, seed = float(query.get("level", "3")), int(query.get("seed", "0")[:20])
        except ValueError as error:
            raise HTTPException(400, "Strength and seed must be numbers.") from error
        data: dict[str, Any] = {"prompt": query.get("prompt", ""), "mode": query.get("mode", "add")}
        data |= {"level": level, "seed": seed}
        ticket = Ticket()
        # A thread cannot see that a browser has left, so a task checks it and gives up the ticket.
        watching = asyncio.create_task(_watch(request, self.drawer.turns, ticket))
        try:
            pictures = await to_thread.run_sync(
                partial(self.drawer.draw, unit, ticket=ticket, **data),
                limiter=self._drawing_threads,
                # A server that stops does not wait for a picture.
                abandon_on_cancel=True,
            )
        except BusyError as error:
            raise _busy("Others are drawing: try again in a moment.") from error
        except AbandonedError:
            return Response(status_code=204)
        finally:
            watching.cancel()
            self.drawer.turns.leave(ticket)
        data |= {"path": self.views.path(unit.path), "unit": unit.address}
        data |= {
            "plain": data_address(pictures.unedited),
            "edited": data_address(pictures.edited),
        }
        return self._page(request, "redrawn", data)

    async def _theme(self, request: Request, unit: Unit) -> Response:
        """Add a theme; the list of themes for htmx, a redirect to the unit otherwise."""
        form = await read_form(request)
        return await run_in_threadpool(self._add_theme, request, unit, form)

    def _add_theme(self, request: Request, unit: Unit, form: Mapping[str, str]) -> Response:
        confidence = form.get("confidence", "3")
        theme = self.themes.add(
            unit.address,
            form.get("text", ""),
            rater=form.get("rater", ""),
            confidence=read_number(confidence, 2, "The confidence must be a number from 1 to 5."),
            note=form.get("note", ""),
            # A form that is sent twice has the same key, and is stored once.
            key=form.get("key", "")[:64],
        )
        if _is_htmx(request):
            data = {**self.views.unit(unit), "rater": quote(theme.rater), "live": True}
            response: Response = HTMLResponse(self.render("themes", **data))
        else:
            # 303: the browser gets the page, and a reload does not send the form again.
            response = RedirectResponse(rooted(self.views.path(unit.path)), 303)
        return _with_rater_cookie(response, theme.rater)

    def _searched(self, request: Request, unit: Unit) -> Response:
        """The state or the result of a unit's search."""
        data: dict[str, Any] = {"unit": unit.address, "path": self.views.path(unit.path)}
        data |= {"searched": searches.load_result(self.microscope, unit), "job": self._job(unit)}
        return self._page(request, "searched", data)

    def _job(self, unit: Unit) -> dict[str, Any] | None:
        job = self.jobs.of(unit)
        return None if job is None else job.to_dict()

    async def _start_search(self, request: Request, unit: Unit) -> Response:
        try:
            self.jobs.start(unit)
        except BusyError as error:
            raise _busy("Too many searches wait: stop one, or try again later.") from error
        return await run_in_threadpool(self._searched, request, unit)

    async def _stop_search(self, request: Request, unit: Unit) -> Response:
        """Stop a search, which ends with its next batch."""
        job = self.jobs.of(unit)
        if job is not None:
            job.stop.set()
        return await run_in_threadpool(self._searched, request, unit)

    async def _start_test(self, request: Request) -> Response:
        """Start a blind test of a theme, with a redirect to its first question."""
        form = await read_form(request)
        number = read_number(form.get("theme", ""), 12, "The theme must be a number.")
        rater = form.get("rater", "")
        return await run_in_threadpool(self._draw_test, number, rater)

    def _draw_test(self, number: int, rater: str) -> Response:
        test = blind.start_test(self.microscope, self.themes, self.themes.get(number), rater)
        return _with_rater_cookie(RedirectResponse(f"/blind/{test}", 303), rater)

    def _blind(self, request: Request) -> Response:
        test = request.path_params["test"].removesuffix(TWIN)
        return self._page(request, "blind", self.views.blind(test))

    async def _answer(self, request: Request) -> Response:
        """Store an answer of a blind test, with a redirect to the next question."""
        form = await read_form(request)
        # Anything else becomes −1, which is refused with a sentence.
        picked = {"0": 0, "1": 1}.get(form.get("picked", ""), -1)
        test = await run_in_threadpool(blind.save_answer, self.themes, form.get("key", ""), picked)
        return RedirectResponse(f"/blind/{test}", 303)


def _asks_for_json(request: Request) -> bool:
    return str(request.scope["path"]).endswith(TWIN)


def _is_htmx(request: Request) -> bool:
    """Whether htmx sent the request, which then shows a part of a page."""
    return bool(request.headers.get("HX-Request"))


def _busy(text: str) -> HTTPException:
    return HTTPException(503, text, {"Retry-After": "3"})


def _with_rater_cookie(response: Response, rater: str) -> Response:
    """The response with a cookie of the rater's name, which fills in the next form."""
    # Quoted, since a cookie must be ASCII and a name may have any letters.
    response.set_cookie(RATER, quote(rater), samesite="strict", httponly=True)
    return response


async def _watch(request: Request, turns: TurnQueue, ticket: Ticket) -> None:
    """Leave the queue when the browser has left."""
    while not await request.is_disconnected():
        await asyncio.sleep(POLL_INTERVAL)
    turns.leave(ticket)
