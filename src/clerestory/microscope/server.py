"""The pages over HTTP: a starlette application, and uvicorn to run it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from clerestory.errors import ClerestoryError, SiteError
from clerestory.microscope import blind, searches
from clerestory.microscope.folder import Microscope, Unit
from clerestory.microscope.redraw import BusyError, Drawer, opened
from clerestory.microscope.rendering import STATIC, Renderer, rooted
from clerestory.microscope.searches import Jobs
from clerestory.microscope.themes import Themes
from clerestory.microscope.views import Views
from clerestory.pictures import data_address

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
RATER = "rater"
"""The cookie with a rater's name."""
PARTS = ("redrawn", "searched")
"""What is put into a unit's page; a page of its own where no script asks."""
LONGEST = 64 * 1024
"""Bytes of a form."""


def application(folder: Path, opens: Callable[[], Model] | None = None) -> Starlette:
    """The application over a microscope's folder; `opens` opens its model, for the slider."""
    microscope = Microscope(folder)
    pages = _Pages(microscope, opens or (lambda: opened(microscope)))
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
    )


def serve(folder: Path, *, host: str = "127.0.0.1", port: int = 8642) -> None:
    """Serve until it is stopped."""
    import uvicorn

    uvicorn.run(application(folder), host=host, port=port, log_level="warning")


class _Pages:
    """A method a page."""

    def __init__(self, microscope: Microscope, opens: Callable[[], Model]) -> None:
        self.microscope = microscope
        self.themes = Themes(microscope.folder / "themes.sqlite")
        self.views = Views(microscope, self.themes)
        self.drawer = Drawer(opens)
        self.jobs = Jobs(microscope, self.drawer)
        self.render = Renderer(microscope.model)

    def page(self, request: Request, name: str, told: Mapping[str, Any]) -> Response:
        """A page, or its twin."""
        if request.path_params.get("twin"):
            return JSONResponse(told)
        how = {**told, "rater": request.cookies.get(RATER, ""), "live": True}
        if name in PARTS and not request.headers.get("HX-Request"):
            how |= {"part": name}
            name = "part"
        return HTMLResponse(self.render(name, **how))

    async def home(self, request: Request) -> Response:
        return RedirectResponse("/" + quote(self.microscope.model))

    async def model(self, request: Request) -> Response:
        return self.page(request, "model", self.views.model())

    async def studies(self, request: Request) -> Response:
        return self.page(request, "studies", self.views.studies())

    async def report(self, request: Request) -> Response:
        folder = (self.microscope.folder / "studies").resolve()
        path = (folder / request.path_params["path"]).resolve()
        if not path.is_relative_to(folder) or not path.is_file():
            raise HTTPException(404, "There is no such report.")
        return FileResponse(path)

    async def search(self, request: Request) -> Response:
        return self.page(
            request, "search", self.views.search(request.query_params.get("q", "")[:200])
        )

    async def compare(self, request: Request) -> Response:
        asked = [request.query_params.get(name, "") for name in "ab"]
        return self.page(request, "compare", self.views.compare(*asked))

    async def place(self, request: Request) -> Response:
        """A site, a unit, or what a unit's page asks for."""
        place = request.path_params["place"]
        if place.endswith(".json"):
            request.path_params["twin"], place = ".json", place.removesuffix(".json")
        if place in self.microscope.sites:
            return self._site(request, place)
        unit, what = self._unit(place)
        actions: dict[tuple[str, str], Callable[[Request, Unit], Awaitable[Response]]] = {
            ("GET", ""): self.unit,
            ("GET", "redraw"): self.redraw,
            ("POST", "themes"): self.theme,
            ("GET", "searched"): self.searched,
            ("POST", "searched"): self.begin_search,
            ("POST", "stop"): self.stop_search,
        }
        if (request.method, what) not in actions:
            raise HTTPException(405, "This page cannot be asked for so.")
        return await actions[request.method, what](request, unit)

    def _unit(self, place: str) -> tuple[Unit, str]:
        site, _, last = place.rpartition("/")
        if last in ("redraw", "themes", "searched", "stop"):
            site, _, number = site.rpartition("/")
            return self.microscope.unit(site, number), last
        return self.microscope.unit(site, last), ""

    def _site(self, request: Request, address: str) -> Response:
        asked = request.query_params
        page = asked.get("page", "0")
        if not page.isdecimal() or len(page) > 6:
            raise HTTPException(400, "A page is a number.")
        told = self.views.site(address, asked.get("sort", "number"), int(page))
        name = "rows" if request.headers.get("HX-Request") else "site"
        return self.page(request, name, told)

    async def unit(self, request: Request, unit: Unit) -> Response:
        return self.page(request, "unit", {**self.views.unit(unit), "job": self._job(unit)})

    async def redraw(self, request: Request, unit: Unit) -> Response:
        asked = request.query_params
        try:
            level, seed = float(asked.get("level", "3")), int(asked.get("seed", "0"))
        except ValueError as error:
            raise HTTPException(400, "Strength and seed are numbers.") from error
        mode, prompt = asked.get("mode", "add"), asked.get("prompt", "")[:1000]
        try:
            came = await run_in_threadpool(self.drawer.draw, unit, prompt, mode, level, seed)
        except BusyError as error:
            raise HTTPException(503, "Others are drawing: try again in a moment.") from error
        told = {"prompt": prompt, "mode": mode, "level": level, "seed": seed, "unit": unit.address}
        told |= {
            "path": self.views.path(unit.path),
            "plain": data_address(came.plain),
            "edited": data_address(came.edited),
        }
        return self.page(request, "redrawn", told)

    async def theme(self, request: Request, unit: Unit) -> Response:
        form = await _form(request)
        confidence = form.get("confidence", "3")
        if not confidence.isdecimal() or len(confidence) > 2:
            raise HTTPException(400, "A confidence is a number from 1 to 5.")
        said = self.themes.add(
            unit.address,
            form.get("text", ""),
            rater=form.get("rater", ""),
            confidence=int(confidence),
            note=form.get("note", ""),
        )
        if request.headers.get("HX-Request"):
            told = {**self.views.unit(unit), "rater": said.rater, "live": True}
            response: Response = HTMLResponse(self.render("themes", **told))
        else:
            response = RedirectResponse(rooted(self.views.path(unit.path)), 303)
        response.set_cookie(RATER, quote(said.rater), samesite="strict", httponly=True)
        return response

    async def searched(self, request: Request, unit: Unit) -> Response:
        told: dict[str, Any] = {"unit": unit.address, "path": self.views.path(unit.path)}
        told |= {"searched": searches.found(self.microscope, unit), "job": self._job(unit)}
        return self.page(request, "searched", told)

    def _job(self, unit: Unit) -> dict[str, Any] | None:
        job = self.jobs.of(unit)
        return None if job is None else job.told()

    async def begin_search(self, request: Request, unit: Unit) -> Response:
        self.jobs.begin(unit)
        return await self.searched(request, unit)

    async def stop_search(self, request: Request, unit: Unit) -> Response:
        job = self.jobs.of(unit)
        if job is not None:
            job.stop.set()
        return await self.searched(request, unit)

    async def begin(self, request: Request) -> Response:
        form = await _form(request)
        number, rater = form.get("theme", ""), form.get("rater", "")
        if not number.isdecimal() or len(number) > 12:
            raise HTTPException(400, "A theme is a number.")
        theme = self.themes.one(int(number))
        test = blind.begin(self.microscope, self.themes, theme, rater)
        response = RedirectResponse(f"/blind/{test}", 303)
        response.set_cookie(RATER, quote(rater), samesite="strict", httponly=True)
        return response

    async def blind(self, request: Request) -> Response:
        test = request.path_params["test"]
        if test.endswith(".json"):
            request.path_params["twin"], test = ".json", test.removesuffix(".json")
        return self.page(request, "blind", self.views.blind(test))

    async def answer(self, request: Request) -> Response:
        form = await _form(request)
        picked = form.get("picked", "")
        test = blind.answer(self.themes, form.get("key", ""), {"0": 0, "1": 1}.get(picked, -1))
        return RedirectResponse(f"/blind/{test}", 303)

    async def problem(self, request: Request, error: Exception) -> Response:
        """One sentence, and where to go on."""
        status = 404 if isinstance(error, SiteError) else 400
        text = str(error)
        if isinstance(error, HTTPException):
            status, text = error.status_code, str(error.detail)
        if request.url.path.endswith(".json"):
            return JSONResponse({"problem": text}, status)
        part = bool(request.headers.get("HX-Request"))
        page = self.render(
            "problem-part" if part else "problem", problem=text, status=status, live=True
        )
        where = {"HX-Retarget": "#problem", "HX-Reswap": "innerHTML"} if part else {}
        return HTMLResponse(page, status, headers=where)


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form; HTTPException for one that is too long or has files."""
    if int(request.headers.get("content-length") or LONGEST + 1) > LONGEST:
        raise HTTPException(413, "The form is too long.")
    form = await request.form(max_files=0, max_fields=20)
    return {name: value for name, value in form.items() if isinstance(value, str)}
