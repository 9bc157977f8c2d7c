"""Slips of the hand in Python are one line that says what to write, or are understood."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from pydantic import TypeAdapter, ValidationError
from tiny import tiny_model

import clerestory
from clerestory import Ablate, Add, Clamp, Erase, Recording, SteeredModel, Study
from clerestory.arguments import checked
from clerestory.classifiers import load_classifier
from clerestory.errors import ClerestoryError, OptionError
from clerestory.evaluation import load_target
from clerestory.models import Model

SITE = "text.blocks.0/mlp"


@functools.cache
def model() -> Model:
    return tiny_model()


def read(prompts: Any = "a cat", seeds: Any = 0, **options: Any) -> Any:
    return model().run(prompts, seeds, **{"pictures": False, "progress": False, **options})


class Forgetful:
    """An edit that changes in place, or not at all, and forgets to return."""

    site = SITE

    def __call__(self, value: Any) -> Any:
        return None


SLIPS: dict[str, tuple[Callable[[], object], str]] = {
    "an edit that returns None": (lambda: read(edits=[Forgetful()]), "returned None; an edit must"),
    "an edit without a list": (
        lambda: read(edits=Clamp(f"{SITE}[0]", 1)),
        r"edits is of type Clamp; it must be a list: \[…\]",
    ),
    "no edits": (lambda: read(edits=None), "edits is None; it must be a list"),
    "an address as an edit": (lambda: read(edits=[SITE]), "an edit, such as Add"),
    "seed": (lambda: read(seed=3), r"no argument 'seed'. Write seeds\."),
    "num_inference_steps": (lambda: read(num_inference_steps=4), r"Write steps\."),
    "guidance_scale": (lambda: read(guidance_scale=4.0), r"Write guidance\."),
    "negative_prompt": (lambda: read(negative_prompt="x"), r"Write negative\."),
    "generator": (lambda: read(generator=None), r"Write seeds\."),
    "edit": (lambda: read(edit=[]), r"Write edits\."),
    "a list of negatives": (
        lambda: read(negative=["x"]),
        r"negative is \['x'\]; it must be a valid string",
    ),
    "steps as text": (lambda: read(steps="4"), "steps is '4'; it must be a valid integer"),
    "half a pixel": (lambda: read(height=16.5), "height is 16.5; it must be a valid integer"),
    "guidance that is no number": (lambda: read(guidance=float("nan")), "write a finite number"),
    "a number as a prompt": (
        lambda: read(3),
        "prompts is 3; it must be a valid string or be a list",
    ),
    "numbers as prompts": (lambda: read([3, 4]), r"prompts\[0\] is 3; it must be a valid string\."),
    "a missing prompt": (
        lambda: read(["a cat", None]),
        r"prompts\[1\] is None; it must be a valid string\.",
    ),
    "a path as a prompt": (lambda: read(Path("prompts.txt")), "it must be a valid string"),
    "a table of prompts": (
        lambda: read(pd.DataFrame({"prompt": ["a cat"]})),
        r"DataFrame; it must be a valid string or be one of its columns, such as list\(table\['",
    ),
    "half a character": (lambda: read("a \ud83d cat"), "half a character"),
    "a range as text": (
        lambda: read(seeds="0:4"),
        "seeds is '0:4'; it must be a valid integer or be a",
    ),
    "half a seed": (lambda: read(seeds=1.5), "seeds is 1.5; it must be a valid integer"),
    "a set of seeds": (
        lambda: read(seeds={1, 2}),
        "a list, each of whose items must be a valid integer",
    ),
    "no batch": (lambda: read(batch="16"), "batch is '16'; it must be a valid integer"),
    "pictures as text": (lambda: read(pictures="no"), "it must be a valid boolean"),
    "a number as a site": (lambda: read(read=3), "read is 3; it must be a valid string"),
    "a tap that is none": (lambda: read(taps={SITE: 3}), r"taps\[.*\] is 3; it must be callable"),
    "a module of many sites": (lambda: read(read="unet.mid_block"), "is a module; its sites are"),
    "no prompt": (lambda: model().run(), r"run\(\) needs prompts; write prompts=…"),  # type: ignore[call-arg]
    "by place": (lambda: model().run("a", 0, SITE), r"write read=… for others"),  # type: ignore[misc]
    "one edit for sets": (
        lambda: model().sweep("a", 0, [Forgetful()]),
        r"edit_sets\[0\] is of type Forgetful; it must be a list: \[…\]",
    ),  # type: ignore[list-item]
    "a site that is a number": (lambda: model().sites[3], "is 3; it must be a valid string"),  # type: ignore[index]
    "a list to tokenize": (lambda: model().tokenize(["a"]), "it must be a valid string"),  # type: ignore[arg-type]
    "a misspelt strength": (lambda: Add(SITE, [1.0], strenght=3), r"Write strength\."),  # type: ignore[call-arg]
    "a direction of text": (lambda: Add(SITE, "up"), "has texts that are no real numbers"),
    "rows of several lengths": (
        lambda: Add(SITE, [[1.0], [1.0, 2.0]]),
        "its rows have several lengths",
    ),
    "no direction": (lambda: Ablate(SITE), r"needs direction; write direction=…"),  # type: ignore[call-arg]
    "a branch": (
        lambda: Add(SITE, [1.0], branch="both sides"),
        "it must be 'cond' or 'uncond' or be 'both'",
    ),  # type: ignore[arg-type]
    "a value of text": (lambda: Clamp(f"{SITE}[0]", "high"), "it must be a valid number"),  # type: ignore[arg-type]
    "an eraser": (lambda: Erase.fit(SITE, np.ones((4, 2)), [0, 1, 0, 1], how=1), "no argument"),
    "a misspelt device": (lambda: clerestory.load("lancet", devise="cpu"), r"Write device\."),  # type: ignore[call-arg]
    "torch_dtype": (lambda: clerestory.load("lancet", torch_dtype=1), r"Write dtype\."),  # type: ignore[call-arg]
    "a model that is open": (lambda: clerestory.load(model()), "open already"),
    "no name": (lambda: clerestory.load(""), "write a model's name"),
    "a study's scale": (lambda: Study.load("style", scale="small"), "it must be 'quick' or 'full'"),  # type: ignore[arg-type]
    "a study's number": (lambda: Study.load(3), "it must be a valid string or be a path"),  # type: ignore[arg-type]
    "a recording's name": (lambda: Recording("rec"), "Recording.open"),  # type: ignore[arg-type]
    "a folder of numbers": (
        lambda: clerestory.load_steered(3),
        "it must be a valid string or be a path",
    ),  # type: ignore[arg-type]
    "a model's name": (lambda: SteeredModel("lancet", []), r"a model, from clerestory\.load"),  # type: ignore[arg-type]
    "a recording's path": (
        lambda: clerestory.find("rec", positive="a", negative="b"),  # type: ignore[arg-type]
        r"recording is 'rec'; it must be a recording, from clerestory\.Recording\.open",
    ),
    "one unit": (
        lambda: clerestory.verify(None, model(), classifier="a:b", label="c"),  # type: ignore[arg-type]
        r"findings is None; it must be findings, from clerestory\.find",
    ),
    "a pipeline to record": (
        lambda: clerestory.record(model().pipeline, "a", sites=SITE, out="x"),
        r"a model, from clerestory\.load",
    ),
    "sites that are missing": (lambda: clerestory.record(model(), "a", out="x"), "needs sites"),  # type: ignore[call-arg]
    "a recording's seed of text": (
        lambda: clerestory.record(model(), "a", sites=SITE, out="x", seed="3"),  # type: ignore[arg-type]
        "seed is '3'; it must be a valid integer",
    ),
    "one name of several": (
        lambda: clerestory.familiarity(model(), "Hermione", known="Goth"),
        r"known is 'Goth'; it must be a list: \['Goth'\]",
    ),
    "a budget of text": (
        lambda: clerestory.maximize(model(), SITE, budget="many"),  # type: ignore[arg-type]
        "budget is 'many'; it must be a valid integer",
    ),
    "an attribution of one": (
        lambda: clerestory.attribute(model(), "a [cat]", "lancet:style=ink"),
        r"of is 'lancet:style=ink'; it must be a list: \['lancet:style=ink'\]",
    ),
    "a misspelt paraphrase": (
        lambda: clerestory.suppress(model(), "a", unwanted="b", preserve="c", paraphrase=3),  # type: ignore[call-arg]
        r"Write selection_paraphrases|Write evaluation_paraphrases|has no argument 'paraphrase'",
    ),
    "a strength of one": (
        lambda: clerestory.steer(model(), "f", "a:b=c", strengths=2.0),  # type: ignore[arg-type]
        r"strengths is 2\.0; it must be a list: \[2\.0\]",
    ),
    "a template to compare": (
        lambda: clerestory.compare(model(), ["a"], "a:b=c", ["{item}"]),  # type: ignore[arg-type]
        "template is .*; it must be a valid string",
    ),
    "a model for a recording": (
        lambda: clerestory.find(model(), positive="a", negative="b"),  # type: ignore[arg-type]
        "it must be a recording",
    ),
    "a seed below 0": (
        lambda: clerestory.maximize(model(), f"{SITE}[0]", seed=-1),
        "seed is -1; it must be greater than or equal to 0",
    ),
    "a search that is a number": (
        lambda: clerestory.maximize(model(), f"{SITE}[0]", search=3),  # type: ignore[arg-type]
        "search is 3; it must be a valid string or be an instance of Search",
    ),
    "activations of text": (
        lambda: Add.in_deviations(SITE, [1.0, 0.0], [["x"]]),
        "has texts that are no real numbers",
    ),
    "no invented names": (
        lambda: clerestory.familiarity(model(), "Goth", count=0),
        "count is 0; it must be",
    ),
    "a class of a group": (
        lambda: clerestory.group("rec", classifier="a:b"),  # type: ignore[arg-type]
        "it must be a recording",
    ),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_of_the_hand_is_one_line_that_says_what_to_write(slip: str) -> None:
    call, expected = SLIPS[slip]
    with pytest.raises(ClerestoryError, match=expected) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "prompts",
    [
        np.array(["a cat", "a dog"]),
        pd.Series(["a cat", "a dog"]),
        xr.DataArray(["a cat", "a dog"]),
        (text for text in ("a cat", "a dog")),
        ("a cat", np.str_("a dog")),
        dict.fromkeys(("a cat", "a dog")).keys(),
    ],
    ids=["array", "series", "labelled array", "generator", "numpy text", "keys"],
)
def test_what_means_a_list_of_prompts_is_taken_for_one(prompts: Any) -> None:
    assert list(read(prompts).samples["prompt"]) == ["a cat", "a dog"]


@pytest.mark.parametrize(
    "seeds", [np.arange(2), torch.arange(2), pd.Series([0, 1]), iter([0, 1]), (np.int64(0), 1)]
)
def test_what_means_a_list_of_seeds_is_taken_for_one(seeds: Any) -> None:
    assert list(read(seeds=seeds).samples["seed"]) == [0, 1]


def test_numbers_of_numpy_are_taken_for_those_of_python() -> None:
    options = model().options(steps=np.int64(3), guidance=np.float32(2.5))
    assert (type(options.steps), type(options.guidance)) == (int, float)
    assert options == model().options(steps=3, guidance=2.5)


def test_a_modules_path_is_read_as_its_site() -> None:
    site = model().sites[SITE]
    by_path, by_site = read(read=site.path), read(read=SITE)
    assert list(by_path.site_values) == [SITE]
    np.testing.assert_array_equal(by_path.read(SITE), by_site.read(SITE))


def test_a_modules_path_is_edited_as_its_site() -> None:
    path = model().sites[SITE].path
    by_path = read(read=SITE, edits=[Clamp(f"{path}[2]", 7.0)]).read(SITE)
    np.testing.assert_array_equal(
        by_path, read(read=SITE, edits=[Clamp(f"{SITE}[2]", 7.0)]).read(SITE)
    )
    np.testing.assert_allclose(by_path[..., 2], 7.0, rtol=1e-6)


@checked()
def example(
    name: str,
    sizes: Sequence[int] = (),
    mode: Literal["a", "b"] = "a",
    out: Path | None = None,
    counts: Mapping[str, int] | None = None,
    span: tuple[int, int] = (0, 1),
) -> tuple[Any, ...]:
    return name, sizes, mode, out, counts, span


def test_what_fits_goes_through_as_it_is() -> None:
    sizes = [1, 2]
    assert example("x", sizes)[1] is sizes
    assert example("x", range(3))[1] == range(3)
    assert example("x", out="folder")[3] == Path("folder")  # type: ignore[arg-type]
    assert example("x", out=None)[3] is None
    counts = Counter("ab")
    assert example("x", counts=counts)[4] is counts


def test_only_what_does_not_fit_is_converted() -> None:
    sizes = [np.int64(1), 2]
    assert example("x", sizes)[1] == [1, 2]  # type: ignore[arg-type]
    assert type(sizes[0]) is np.int64
    assert example("x", counts={"a": np.int64(1)})[4] == {"a": 1}  # type: ignore[dict-item]
    assert example("x", span=[2, 3])[5] == (2, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"sizes": [1, True]}, "sizes[1] is True; it must be a valid integer."),
        ({"counts": {"a": "1"}}, "counts['a'] is '1'; it must be a valid integer."),
        ({"span": (1,)}, "span[1] is missing; it must be given."),
        ({"out": b"x"}, "out is b'x'; it must be a path."),
        ({"size": 1, "name": 2}, "example() has no argument 'size'. Write sizes."),
    ],
)
def test_the_item_that_does_not_fit_is_named(arguments: dict[str, Any], line: str) -> None:
    with pytest.raises(OptionError) as caught:
        example(**{"name": "x", **arguments})
    assert str(caught.value) == line


def test_a_generator_without_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clerestory.arguments.MAX_ITEMS", 8)

    @checked()
    def endless(sizes: Sequence[int]) -> None: ...

    with pytest.raises(OptionError, match="must have at most 8 items"):
        endless(itertools.count())  # type: ignore[arg-type]


def test_an_error_of_the_function_is_not_one_of_its_arguments() -> None:
    @checked()
    def parse(text: str) -> int:
        return TypeAdapter(int).validate_python(text)

    with pytest.raises(ValidationError):
        parse("x")


def test_a_message_is_short_whatever_was_given() -> None:
    with pytest.raises(OptionError) as caught:
        example("x", ["y" * 10_000])  # type: ignore[list-item]
    assert str(caught.value) == f"sizes[0] is {'y' * 59!r}"[:-1] + "…; it must be a valid integer."


def brightness(pictures: Any) -> Any:
    light = pictures.mean((1, 2, 3)) / 255
    return np.stack([1 - light, light], 1)


brightness.classes = ("dark", "light")  # type: ignore[attr-defined]


def test_a_function_with_classes_is_a_classifier() -> None:
    taken = load_classifier(brightness)
    assert (taken.source, taken.classes) == (f"python:{__name__}:brightness", ("dark", "light"))
    white = np.full((1, 2, 2, 3), 255, np.uint8)
    assert load_target(brightness, "light").classifier(white).tolist() == [[0, 1]]
    with pytest.raises(OptionError, match=f"its name, 'python:{__name__}:brightness'"):
        clerestory.familiarity(model(), "x", classifiers=[brightness])  # type: ignore[list-item]
    with pytest.raises(ClerestoryError, match="has no name of its own: define it at the top"):
        load_classifier(lambda pictures: pictures)
