from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from studies.fakes import Fake, run_fake

from clerestory.studies import StudyResult, write_report
from clerestory.studies.tasks import Task

HOSTILE = "<script>alert(1)</script> & “so”"


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.words = ""
        self.text = text
        self.feed(text)
        self.words = " ".join(self.words.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.words += data


PLAN: dict[str, Task] = {
    "fake.a": Fake(outcomes=(True, False, None), pictures=3, text=f"Of {HOSTILE}"),
    "fake.beside": Fake(text="Of what stands beside it"),
    "fake.gated": Fake(requires_support=("fake.a",)),
}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyResult, Page]:
    out = tmp_path_factory.mktemp("study") / "out"
    fields = {"headline": ("fake.a",), "question": f"Is it {HOSTILE}?"}
    result = run_fake(PLAN, out, given={"tint": "colour:light"}, **fields)
    path = write_report(result)
    assert path == out / "report.html"
    return result, Page(path.read_text("utf-8"))


def test_the_report_is_one_file_that_fetches_nothing_and_runs_nothing(
    done: tuple[StudyResult, Page],
) -> None:
    page = done[1]
    assert not {"script", "link", "iframe", "object", "form"} & set(page.tags)
    pictures = [one for one in page.addresses if one.startswith("data:image/png;base64,")]
    assert len(pictures) == 3
    assert all(one in pictures or one.startswith("#") for one in page.addresses)
    assert "url(" not in page.text and "@import" not in page.text and "http" not in page.addresses
    assert "default-src 'none'" in page.text


def test_what_comes_from_a_file_is_text(done: tuple[StudyResult, Page]) -> None:
    page = done[1]
    assert HOSTILE in page.words
    assert page.text.count("<script") == 0


def test_it_opens_with_the_question_and_the_answer(done: tuple[StudyResult, Page]) -> None:
    result, page = done
    body = page.text.partition("<body>")[2]
    first = re.search(r"<h1>(.*?)</h1>\s*<(\w+)", body, re.DOTALL)
    assert first is not None
    assert result.study.question.replace("&", "") in Page(first[1]).words.replace("&", "")
    at = [page.words.index(text) for text in (result.study.question, *result.answer())]
    assert at == sorted(at)
    assert page.words.index("Methods") > at[-1]


def test_it_has_every_claim_with_its_criterion_and_status(
    done: tuple[StudyResult, Page],
) -> None:
    result, page = done
    claims = [claim for run in result.tasks.values() for claim in run.result.claims]
    assert len(claims) == 5
    for claim in claims:
        assert claim.text in page.words and claim.criterion in page.words
    statuses = re.findall(r'<b class="status">(.*?)</b>', page.text)
    assert statuses == [
        "supported",
        "not supported",
        "undecided",
        "supported",
        "undecided",
    ]


def test_it_has_warnings_methods_tables_and_the_command(done: tuple[StudyResult, Page]) -> None:
    result, page = done
    for text in (
        "few-items fake.a: Few were drawn.",
        "Nothing was drawn.",
        "What came",
        result.command(),
    ):
        assert text in page.words
    assert "--classifier tint=colour:light" in page.words
    assert "not every claim of fake.a is supported" in page.words


def test_it_is_light(done: tuple[StudyResult, Page]) -> None:
    assert len(done[1].text) < 60_000


def test_an_interval_is_drawn_where_it_lies_and_nowhere_else() -> None:
    from clerestory.studies.report import _interval
    from clerestory.studies.tasks import Claim

    rate = _interval(Claim("", "", "supported", "", 0.5, 0.25, 0.75))
    assert rate == {"low": 25.0, "figure": 50.0, "width": 50.0, "zero": 0.0}
    change = _interval(Claim("", "", "supported", "", 0.0, -0.5, 0.5))
    assert change == {"low": 25.0, "figure": 50.0, "width": 50.0, "zero": 50.0}
    assert _interval(Claim("", "", "supported", "", 3.0)) is None
    assert _interval(Claim("", "", "supported", "", 3.0, 2.0, 4.0)) is None
