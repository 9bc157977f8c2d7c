from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from tiny import tiny_model

from clerestory.errors import PromptError
from clerestory.recordings import prompt_table, random_prompts
from clerestory.recordings.template import Template

TEMPLATE = """
templates = ["{style}", "{style}, {place}"]
matched = ["style"]

[levels.style]
glass = ["a stained glass of {subject}", "{subject} in stained glass"]
plain = ["a picture of {subject}", "{subject} in plain style"]

[levels.subject]
cat = "a cat"
ship = "a ship"

[levels.place]
night = "at night"
sea = "at sea"

[[without]]
style = "glass"
subject = "ship"
"""


@pytest.fixture
def template(tmp_path):
    (tmp_path / "t.toml").write_text(TEMPLATE)
    return tmp_path / "t.toml"


def test_a_text_file_has_a_prompt_a_line(tmp_path):
    (tmp_path / "p.txt").write_text("a cat\n\n  a café at night \n")
    assert list(prompt_table(tmp_path / "p.txt")["prompt"]) == ["a cat", "a café at night"]


def test_factors_of_csv_and_parquet_stay_columns(tmp_path):
    table = pd.DataFrame({"style": ["ink", "none"], "prompt": ["a cat", "a dog"]})
    table.to_csv(tmp_path / "p.csv", index=False)
    table.to_parquet(tmp_path / "p.parquet")
    for name in ("p.csv", "p.parquet"):
        read = prompt_table(tmp_path / name)
        assert list(read) == ["prompt", "style"]
        assert list(read["style"]) == ["ink", "none"]


def test_categories_become_their_values():
    kinds = {"style": ["ink", "ink", None], "size": [1, 2, 1], "prompt": ["a cat", "a dog", "a"]}
    table = prompt_table(pd.DataFrame(kinds).astype("category"))
    assert list(table["prompt"]) == kinds["prompt"] and list(table["size"]) == [1, 2, 1]
    assert table["size"].dtype.kind == "i" and table["style"].isna().tolist() == [
        False,
        False,
        True,
    ]
    assert not any(isinstance(dtype, pd.CategoricalDtype) for dtype in table.dtypes)


def test_a_template_gives_every_combination_in_every_phrase_and_template(template):
    table = prompt_table(template)
    # Two phrases each. Template 0 does not show the place: 3 combinations; template 1 does: 3 × 2.
    assert len(table) == 2 * (3 + 3 * 2)
    assert list(table) == ["prompt", "item", "style", "subject", "place", "phrase", "template"]
    row = table.query("style == 'glass' and place == 'sea'").iloc[1]
    assert row["prompt"] == "a cat in stained glass, at sea"
    assert row["phrase"] == "{subject} in stained glass"
    assert row["item"] == "cat; sea"
    assert not ((table["style"] == "glass") & (table["subject"] == "ship")).any()


def test_an_item_has_the_factors_that_are_not_matched(template):
    table = prompt_table(template)
    for _, rows in table.groupby(["item", "template"]):
        assert rows[["subject", "place"]].drop_duplicates().shape[0] == 1
        assert not rows[["style", "phrase"]].duplicated().any()


def test_random_prompts_are_the_same_for_a_seed(template, tmp_path):
    (tmp_path / "p.txt").write_text("\n".join(f"prompt {n}" for n in range(50)))
    for source in (template, tmp_path / "p.txt", "vocabulary"):
        one, two, other = (
            random_prompts(source, 20, seed, model=tiny_model()) for seed in (1, 1, 2)
        )
        assert one.equals(two)
        assert not one.equals(other)
        assert len(one) == 20
    assert random_prompts(tmp_path / "p.txt", 50).shape[0] == 50


def test_random_fills_leave_out_what_the_template_leaves_out(template):
    table = random_prompts(template, 300)
    assert not ((table["style"] == "glass") & (table["subject"] == "ship")).any()
    assert set(table["subject"]) == {"cat", "ship"}
    shares = table.groupby(["style", "subject"]).size() / len(table)
    assert np.allclose(shares, 1 / 3, atol=0.1)


def test_random_words_are_the_models_own():
    words = tiny_model().vocabulary()
    assert words == ["cat", "dog"]
    prompts = random_prompts("vocabulary", 30, model=tiny_model(), words=3)["prompt"]
    assert {len(prompt.split()) for prompt in prompts} == {3}
    assert set(" ".join(prompts).split()) == {"cat", "dog"}


def test_what_is_wrong_with_a_file_is_said_in_one_line(tmp_path, template):
    def wrong(name, text, words):
        (tmp_path / name).write_text(text)
        with pytest.raises(PromptError, match=words) as caught:
            prompt_table(tmp_path / name)
        assert "\n" not in str(caught.value)

    wrong("a.csv", "text,style\na cat,ink\n", "no column 'prompt'; it has text, style")
    wrong("b.csv", "prompt,seed\na cat,1\n", "column 'seed'.* rename it")
    wrong("c.txt", "\n \n", "no prompt in")
    wrong("d.pdf", "a cat", "must end in .txt, .csv")
    wrong("e.parquet", "no parquet", "cannot be read")
    wrong("f.toml", "templates = [", "is not valid TOML")
    wrong("g.toml", TEMPLATE.replace("{place}", "{plaice}"), "no factor 'plaice'")
    wrong("h.toml", f'paired = ["subject"]{TEMPLATE}', "'cat' has 1 phrases for 2 templates")
    wrong("i.toml", 'templates = ["{a}"]\n[levels.a]\nx = "{a}"', "in a circle")
    wrong(
        "j.toml",
        'templates = ["{a}"]\n[levels.a]\nx = "y"\n[[without]]\na = "x"',
        "leaves no prompt",
    )
    wrong("k.toml", 'template = ["{a}"]', "templates: Field required")
    with pytest.raises(PromptError, match="cannot be read: No such file"):
        prompt_table(tmp_path / "nowhere.txt")
    with pytest.raises(PromptError, match="9 were asked for"):
        (tmp_path / "p.txt").write_text("a cat")
        random_prompts(tmp_path / "p.txt", 9)
    with pytest.raises(PromptError, match="ask for at least one"):
        random_prompts(template, 0)


def test_a_string_that_names_a_file_of_prompts_is_read_and_any_other_is_a_prompt(tmp_path):
    (tmp_path / "p.txt").write_text("a cat\na dog\n")
    assert list(prompt_table(str(tmp_path / "p.txt"))["prompt"]) == ["a cat", "a dog"]
    assert list(prompt_table("a cat. a dog")["prompt"]) == ["a cat. a dog"]


def paired(**changes: Any) -> Template:
    fields: dict[str, Any] = {
        "templates": ("a picture of {mood}", "{mood}, a drawing"),
        "levels": {
            "mood": {
                "sad": ("a sad {who}", "a {who} who cries"),
                "calm": ("a calm {who}", "{who}"),
            },
            "who": {"man": "man", "cow": "cow"},
        },
        "matched": ("mood",),
        "paired": ("mood",),
    }
    return Template(**{**fields, **changes})


def test_paired_phrases_are_each_in_the_template_of_their_number() -> None:
    table = paired().table()
    sad = table[(table["mood"] == "sad") & (table["item"] == "man")]
    assert list(sad["prompt"]) == ["a picture of a sad man", "a man who cries, a drawing"]
    assert len(table) == 2 * 2 * 2


def test_a_paired_level_needs_a_phrase_for_each_template() -> None:
    with pytest.raises(ValidationError, match="'sad' has 1 phrases for 2 templates"):
        paired(levels={"mood": {"sad": "a sad man"}})


def test_random_prompts_of_matched_factors_share_item_and_template() -> None:
    table = paired().random(4, np.random.default_rng(0))
    cells = table.groupby(["item", "template"])["mood"].agg(set)
    assert list(cells) == [{"sad", "calm"}] * 2
    # Every item comes before one comes again.
    assert set(table["item"]) == {"man", "cow"}
    phrases = set(zip(table["template"], table["phrase"], strict=True))
    assert phrases <= {
        ("a picture of {mood}", "a sad {who}"),
        ("a picture of {mood}", "a calm {who}"),
        ("{mood}, a drawing", "a {who} who cries"),
        ("{mood}, a drawing", "{who}"),
    }


def test_random_prompts_of_matched_factors_repeat_only_where_there_are_no_others() -> None:
    prompts = paired().random(9, np.random.default_rng(0))["prompt"]
    assert not prompts[:8].duplicated().any()
    assert prompts[8:].isin(prompts[:8]).all()
    with pytest.raises(PromptError, match="excludes them all"):
        paired(without=({"who": "man"}, {"who": "cow"})).random(1, np.random.default_rng(0))


def test_a_level_may_have_an_empty_text_but_no_empty_list() -> None:
    nothing = paired(levels={"who": {"nobody": ""}, "mood": {"sad": ("a {who}", "{who}")}})
    assert list(nothing.table()["prompt"]) == ["a picture of a", ", a drawing"]
    with pytest.raises(ValidationError, match="level 'nobody' has no phrase"):
        paired(levels={"who": {"nobody": ()}})
