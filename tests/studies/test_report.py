from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from studies.fakes import Fake, ran

from clerestory.studies import Ran, answer, told, write
from clerestory.studies.tasks import Step

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


PLAN: dict[str, Step] = {
    "fake.a": Fake(holds=(True, False, None), pictures=3, says=f"Of {HOSTILE}"),
    "fake.beside": Fake(says="Of what stands beside it"),
    "fake.gated": Fake(only_if=("fake.a",)),
}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ran, Page]:
    out = tmp_path_factory.mktemp("study") / "out"
    how = {"headline": ("fake.a",), "question": f"Is it {HOSTILE}?"}
    came = ran(PLAN, out, given={"tint": "colour:light"}, **how)
    path = write(came)
    assert path == out / "report.html"
    return came, Page(path.read_text("utf-8"))


def test_the_report_is_one_file_that_fetches_nothing_and_runs_nothing(
    done: tuple[Ran, Page],
) -> None:
    page = done[1]
    assert not {"script", "link", "iframe", "object", "form"} & set(page.tags)
    pictures = [one for one in page.addresses if one.startswith("data:image/png;base64,")]
    assert len(pictures) == 3
    assert all(one in pictures or one.startswith("#") for one in page.addresses)
    assert "url(" not in page.text and "@import" not in page.text and "http" not in page.addresses
    assert "default-src 'none'" in page.text


def test_what_comes_from_a_file_is_text(done: tuple[Ran, Page]) -> None:
    page = done[1]
    assert HOSTILE in page.words
    assert page.text.count("<script") == 0


def test_it_opens_with_the_question_and_the_answer(done: tuple[Ran, Page]) -> None:
    came, page = done
    body = page.text.partition("<body>")[2]
    first = re.search(r"<h1>(.*?)</h1>\s*<(\w+)", body, re.DOTALL)
    assert first is not None
    assert came.study.question.replace("&", "") in Page(first[1]).words.replace("&", "")
    at = [page.words.index(text) for text in (came.study.question, *answer(came))]
    assert at == sorted(at)
    assert page.words.index("How it was done") > at[-1]


def test_it_has_every_claim_with_its_bar_and_whether_it_holds(done: tuple[Ran, Page]) -> None:
    came, page = done
    claims = [claim for step in came.done.values() for claim in step.came.claims]
    assert len(claims) == 5
    for claim in claims:
        assert claim.text in page.words and claim.bar in page.words
    said = re.findall(r'<b class="said">(.*?)</b>', page.text)
    assert said == ["holds", "does not hold", "undecided", "holds", "does not hold"]


def test_it_has_warnings_methods_tables_and_the_command(done: tuple[Ran, Page]) -> None:
    came, page = done
    about = told(came)["about"]
    for text in ("fake.a: Few were drawn.", "Nothing was drawn.", "What came", about["command"]):
        assert text in page.words
    assert "--classifier tint=colour:light" in page.words
    assert "not all that fake.a claims holds" in page.words


def test_it_is_light(done: tuple[Ran, Page]) -> None:
    assert len(done[1].text) < 60_000


def test_an_interval_is_drawn_where_it_lies_and_nowhere_else() -> None:
    from clerestory.studies.report import _bar
    from clerestory.studies.tasks import Claim

    rate = _bar(Claim("", "", True, "", 0.5, 0.25, 0.75))
    assert rate == {"low": 25.0, "at": 50.0, "width": 50.0, "zero": 0.0}
    change = _bar(Claim("", "", True, "", 0.0, -0.5, 0.5))
    assert change == {"low": 25.0, "at": 50.0, "width": 50.0, "zero": 50.0}
    assert _bar(Claim("", "", True, "", 3.0)) is None
    assert _bar(Claim("", "", True, "", 3.0, 2.0, 4.0)) is None
