"""What answers each address: pages and their twins, themes, blind tests, the slider, searches."""

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

from clerestory.errors import RecordingError, SiteError
from clerestory.io.reading import path_inside
from clerestory.microscope import blind, searches
from clerestory.microscope.folder import Microscope, Unit
from clerestory.microscope.forms import is_number, read_form
from clerestory.microscope.queue import AbandonedError, BusyError, Ticket, TurnQueue
from clerestory.microscope.redraw import WAITING, Drawer
from clerestory.microscope.rendering import Renderer, rooted
from clerestory.microscope.searches import Jobs
from clerestory.microscope.themes import Themes
from clerestory.microscope.views import Views
from clerestory.reporting.pictures import data_address

if TYPE_CHECKING:
    from clerestory.models import Model

__all__ = ["Endpoints"]

RATER = "rater"
"""The cookie with a rater's name."""
PARTS = ("redrawn", "searched")
"""What is put into a unit's page; a page of its own where no script asks."""
PICTURES = (".png", ".jpg")
GLANCE = 0.2
"""Seconds between two looks whether somebody still waits."""


class Endpoints:
    """A method an address; those that wait for no body run in threads."""

    def __init__(self, microscope: Microscope, opens: Callable[[], Model]) -> None:
        """Open the database of themes beside the microscope.

        Args:
            microscope: The microscope.
            opens: Opens the model when the first picture is drawn.

        Raises:
            ThemeError: The database was altered, or is of a newer version.
        """
        self.microscope = microscope
        self.themes = Themes(microscope.folder / "themes.sqlite")
        self.views = Views(microscope, self.themes)
        self.drawer = Drawer(opens)
        self.jobs = Jobs(microscope, self.drawer)
        self.render = Renderer(microscope.model)
        # Threads that wait for a picture are counted apart, so that they never use up those of
        # pages.
        self.drawing = CapacityLimiter(WAITING + 2)

    def page(self, request: Request, name: str, data: Mapping[str, Any]) -> Response:
        """A page, or its twin.

        Args:
            request: Says whether the `.json` twin is wanted, and by which cookie the rater is
                known.
            name: The template.
            data: What it shows; the twin is this as JSON.

        Returns:
            HTML or JSON; a part of a page where htmx asks, a page of its own elsewhere.
        """
        if request.path_params.get("twin"):
            return JSONResponse(data)
        how = {**data, "rater": request.cookies.get(RATER, ""), "live": True}
        if name in PARTS and not request.headers.get("HX-Request"):
            how |= {"part": name}
            name = "part"
        return HTMLResponse(self.render(name, **how))

    def home(self, request: Request) -> Response:
        """To the model.

        Args:
            request: The request.

        Returns:
            A redirect.
        """
        return RedirectResponse("/" + quote(self.microscope.model))

    def model(self, request: Request) -> Response:
        """Its stages and sites.

        Args:
            request: The request.

        Returns:
            The page, or its twin.
        """
        return self.page(request, "model", self.views.model())

    def studies(self, request: Request) -> Response:
        """The reports that lie in the folder.

        Args:
            request: The request.

        Returns:
            The page, or its twin.
        """
        return self.page(request, "studies", self.views.studies())

    def report(self, request: Request) -> Response:
        """A file of one of them.

        Args:
            request: The request, whose path is a file under `studies`.

        Returns:
            The file.

        Raises:
            HTTPException: 404, there is no such file in the folder.
        """
        return self._file("studies", request.path_params["path"], None)

    def picture(self, request: Request) -> Response:
        """A sample's, or a searched prompt's.

        Args:
            request: The request, whose path is a picture's.

        Returns:
            The file.

        Raises:
            HTTPException: 404, there is no such picture in the folder.
        """
        return self._file(request.path_params["kind"], request.path_params["path"], PICTURES)

    def _file(self, folder: str, name: str, kinds: tuple[str, ...] | None) -> Response:
        try:
            # An address may hold `..`; only files within the folder are sent.
            path = path_inside(self.microscope.folder, f"{folder}/{name}", RecordingError)
            known = path.is_file() and (kinds is None or path.suffix in kinds)
        except (RecordingError, OSError, ValueError):  # out of it, or a name that is none
            known = False
        if not known:
            raise HTTPException(404, "There is no such file.")
        return FileResponse(path)

    def close(self) -> None:
        """End searches, and send away who waits for a picture."""
        self.drawer.turns.close()
        self.jobs.close()

    def search(self, request: Request) -> Response:
        """Themes, words and prompts.

        Args:
            request: The request; `q` in its query is what is searched, of which 200 letters count.

        Returns:
            The page, or its twin.
        """
        asked = request.query_params.get("q", "")[:200]
        return self.page(request, "search", self.views.search(asked))

    def compare(self, request: Request) -> Response:
        """Two units, or a form that asks which.

        Args:
            request: The request; `a` and `b` in its query are units.

        Returns:
            The page, or its twin.

        Raises:
            SiteError: A unit does not exist.
        """
        asked = [request.query_params.get(name, "")[:300] for name in "ab"]
        return self.page(request, "compare", self.views.compare(*asked))

    async def place(self, request: Request) -> Response:
        """A site, a unit, or what a unit's page asks for.

        Args:
            request: The request, whose path is a site, a unit, or a unit's part.

        Returns:
            The page, its twin, or a part of it.

        Raises:
            HTTPException: 405 for a method that the address does not take.
            SiteError: There is no such site or unit.
        """
        place = request.path_params["place"]
        if place.endswith(".json"):
            request.path_params["twin"], place = ".json", place.removesuffix(".json")
        if place in self.microscope.sites:
            return await run_in_threadpool(self._site, request, place)
        unit, what = self._unit(place)
        method = "GET" if request.method == "HEAD" else request.method
        if method == "GET" and what in ("", "searched"):
            return await run_in_threadpool(getattr(self, what or "unit"), request, unit)
        actions: dict[tuple[str, str], Callable[[Request, Unit], Awaitable[Response]]] = {
            ("GET", "redraw"): self.redraw,
            ("POST", "themes"): self.theme,
            ("POST", "searched"): self.start_search,
            ("POST", "stop"): self.stop_search,
        }
        if (method, what) not in actions:
            raise HTTPException(405, "This page cannot be asked for so.")
        return await actions[method, what](request, unit)

    def _unit(self, place: str) -> tuple[Unit, str]:
        site, _, last = place.rpartition("/")
        if last in ("redraw", "themes", "searched", "stop"):
            site, _, number = site.rpartition("/")
            return self.microscope.unit(site, number), last
        return self.microscope.unit(site, last), ""

    def _site(self, request: Request, address: str) -> Response:
        asked = request.query_params
        page = asked.get("page", "0")
        if not is_number(page, 6):
            raise HTTPException(400, "A page is a number.")
        data = self.views.site(address, asked.get("sort", "number"), int(page))
        name = "rows" if request.headers.get("HX-Request") else "site"
        return self.page(request, name, data)

    def unit(self, request: Request, unit: Unit) -> Response:
        """All of a unit.

        Args:
            request: The request.
            unit: The unit.

        Returns:
            The page, or its twin.
        """
        return self.page(request, "unit", {**self.views.unit(unit), "job": self._job(unit)})

    async def redraw(self, request: Request, unit: Unit) -> Response:
        """A prompt with the unit changed; in turn, for as long as somebody waits for it.

        Args:
            request: The request; `prompt`, `mode`, `level` and `seed` in its query.
            unit: The unit.

        Returns:
            Both pictures; 204 where the browser has left.

        Raises:
            HTTPException: 400 for a strength or seed that is no number, 503 where too many wait.
        """
        asked = request.query_params
        try:
            level, seed = float(asked.get("level", "3")), int(asked.get("seed", "0")[:20])
        except ValueError as error:
            raise HTTPException(400, "Strength and seed are numbers.") from error
        data: dict[str, Any] = {"prompt": asked.get("prompt", ""), "mode": asked.get("mode", "add")}
        data |= {"level": level, "seed": seed}
        ticket = Ticket()
        # A thread cannot see that a browser has left, so a task looks and gives up the ticket.
        watching = asyncio.create_task(_watch(request, self.drawer.turns, ticket))
        try:
            pictures = await to_thread.run_sync(
                partial(self.drawer.draw, unit, ticket=ticket, **data),
                limiter=self.drawing,
                abandon_on_cancel=True,
            )
        except BusyError as error:
            raise _busy("Others are drawing: try again in a moment.") from error
        except AbandonedError:
            return Response(status_code=204)  # nobody reads it
        finally:
            watching.cancel()
            self.drawer.turns.leave(ticket)
        data |= {"path": self.views.path(unit.path), "unit": unit.address}
        data |= {"plain": data_address(pictures.plain), "edited": data_address(pictures.edited)}
        return self.page(request, "redrawn", data)

    async def theme(self, request: Request, unit: Unit) -> Response:
        """Keep what somebody calls the unit.

        Args:
            request: The request, with the form's fields `text`, `rater`, `confidence`, `note` and
                `key`.
            unit: The unit.

        Returns:
            The list of themes for htmx, a redirect to the unit's page otherwise.

        Raises:
            HTTPException: 400 for a confidence that is no number.
            ThemeError: A text is missing or too long.
        """
        form = await read_form(request)
        return await run_in_threadpool(self._add_theme, request, unit, form)

    def _add_theme(self, request: Request, unit: Unit, form: Mapping[str, str]) -> Response:
        confidence = form.get("confidence", "3")
        if not is_number(confidence, 2):
            raise HTTPException(400, "A confidence is a number from 1 to 5.")
        theme = self.themes.add(
            unit.address,
            form.get("text", ""),
            rater=form.get("rater", ""),
            confidence=int(confidence),
            note=form.get("note", ""),
            key=form.get("key", "")[:64],  # sent twice, it is kept once
        )
        if request.headers.get("HX-Request"):
            data = {**self.views.unit(unit), "rater": quote(theme.rater), "live": True}
            response: Response = HTMLResponse(self.render("themes", **data))
        else:
            response = RedirectResponse(rooted(self.views.path(unit.path)), 303)
        return _with_rater_cookie(response, theme.rater)

    def searched(self, request: Request, unit: Unit) -> Response:
        """How far a search of its prompts is, or what came of it.

        Args:
            request: The request.
            unit: The unit.

        Returns:
            The part of the unit's page, a page of its own, or its twin.
        """
        data: dict[str, Any] = {"unit": unit.address, "path": self.views.path(unit.path)}
        data |= {"searched": searches.load_result(self.microscope, unit), "job": self._job(unit)}
        return self.page(request, "searched", data)

    def _job(self, unit: Unit) -> dict[str, Any] | None:
        job = self.jobs.of(unit)
        return None if job is None else job.to_dict()

    async def start_search(self, request: Request, unit: Unit) -> Response:
        """Search prompts, in the background.

        Args:
            request: The request.
            unit: The unit.

        Returns:
            As `searched`.

        Raises:
            HTTPException: 503 where too many wait.
        """
        try:
            self.jobs.start(unit)
        except BusyError as error:
            raise _busy("Other searches wait already: stop one, or try again later.") from error
        return await run_in_threadpool(self.searched, request, unit)

    async def stop_search(self, request: Request, unit: Unit) -> Response:
        """Stop that.

        Args:
            request: The request.
            unit: The unit.

        Returns:
            As `searched`; the search ends with its next batch.
        """
        job = self.jobs.of(unit)
        if job is not None:
            job.stop.set()
        return await run_in_threadpool(self.searched, request, unit)

    async def start_test(self, request: Request) -> Response:
        """Make up a blind test of a theme.

        Args:
            request: The request, with the form's fields `theme` and `rater`.

        Returns:
            A redirect to the first question.

        Raises:
            HTTPException: 400 for a theme that is no number.
            ThemeError: Too few samples were held out, or the rater named the theme.
        """
        form = await read_form(request)
        return await run_in_threadpool(
            self._start_test, form.get("theme", ""), form.get("rater", "")
        )

    def _start_test(self, number: str, rater: str) -> Response:
        if not is_number(number, 12):
            raise HTTPException(400, "A theme is a number.")
        test = blind.start_test(self.microscope, self.themes, self.themes.one(int(number)), rater)
        return _with_rater_cookie(RedirectResponse(f"/blind/{test}", 303), rater)

    def blind(self, request: Request) -> Response:
        """The next question of a test.

        Args:
            request: The request, whose path names the test.

        Returns:
            The page, or its twin.

        Raises:
            ThemeError: There is no such test.
        """
        test = request.path_params["test"]
        if test.endswith(".json"):
            request.path_params["twin"], test = ".json", test.removesuffix(".json")
        return self.page(request, "blind", self.views.blind(test))

    async def answer(self, request: Request) -> Response:
        """Keep what was picked.

        Args:
            request: The request, with the form's fields `key` and `picked`.

        Returns:
            A redirect to the next question.

        Raises:
            ThemeError: There is no such question, or nothing was picked.
        """
        form = await read_form(request)
        picked = {"0": 0, "1": 1}.get(form.get("picked", ""), -1)
        test = await run_in_threadpool(blind.save_answer, self.themes, form.get("key", ""), picked)
        return RedirectResponse(f"/blind/{test}", 303)

    def problem(self, request: Request, error: Exception) -> Response:
        """One sentence, and where to go on.

        Args:
            request: The request that failed.
            error: An HTTPException, or an error of Clerestory.

        Returns:
            404 for what does not exist, 400 for other errors, an HTTPException's own status; as
            JSON for a twin, as a part of a page for htmx.
        """
        status, text, headers = 404 if isinstance(error, SiteError) else 400, str(error), {}
        if isinstance(error, HTTPException):
            status, text = error.status_code, str(error.detail)
            headers = dict(error.headers or {})
        # Where the folder lies on the server is nobody's business.
        text = text.replace(f"{self.microscope.folder}/", "")
        if request.url.path.endswith(".json"):
            return JSONResponse({"problem": text}, status, headers)
        part = bool(request.headers.get("HX-Request"))
        page = self.render(
            "problem-part" if part else "problem", problem=text, status=status, live=True
        )
        where = {"HX-Retarget": "#problem", "HX-Reswap": "innerHTML"} if part else {}
        return HTMLResponse(page, status, headers={**headers, **where})


def _busy(text: str) -> HTTPException:
    return HTTPException(503, text, {"Retry-After": "3"})


def _with_rater_cookie(response: Response, rater: str) -> Response:
    """With a cookie of the rater's name, for the next form."""
    # Quoted, since a cookie holds ASCII only and a name may be of any letters.
    response.set_cookie(RATER, quote(rater), samesite="strict", httponly=True)
    return response


async def _watch(request: Request, turns: TurnQueue, ticket: Ticket) -> None:
    """Give the place up once who asked has left."""
    while not await request.is_disconnected():
        await asyncio.sleep(GLANCE)
    turns.leave(ticket)
