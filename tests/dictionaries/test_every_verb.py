"""Every verb takes latents as units, in Python and on the command line, and gives the right value.

`helpers.planted_latents` says what each latent does: LIGHT lights the picture, BLUE makes it blue,
FOLLOWER is raised by the same words as LIGHT and does nothing.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import call
from helpers.planted_latents import (
    BLUE,
    BLUE_CLASSIFIER,
    CONDITIONING,
    FOLLOWER,
    LATENTS,
    LIGHT,
    LIGHT_CLASSIFIER,
    PARITY,
    TEXT,
    dictionary,
    light,
    model,
    prompts,
)
from PIL import Image

import clerestory
from clerestory.attribution import attribute
from clerestory.causal import rank_groups, verify
from clerestory.cli.main import app
from clerestory.contrasts import Findings, Groups, find, group
from clerestory.dictionaries import Dictionary
from clerestory.edits import Add, Scale
from clerestory.errors import DictionaryError, EditError, SiteError
from clerestory.maximization import MaximizationResult, compare, maximize
from clerestory.microscope import Microscope
from clerestory.naming import name_units
from clerestory.recognition import familiarity
from clerestory.recordings import Recording, record
from clerestory.steering import SteeredModel, bake, steer
from clerestory.suppression import suppress

SITE = f"{TEXT}:glass"
CAUSE, NOTHING, COLOUR = (f"{SITE}[{latent}]" for latent in (LIGHT, FOLLOWER, BLUE))
QUERIES = {"positive": "style == 'glass'", "negative": "style == 'plain'", "match": "item"}
OTHERS = [PARITY, BLUE_CLASSIFIER]
TARGET = f"{LIGHT_CLASSIFIER}=light"
THINGS = [f"d{number}" for number in range(36)]
WORDS = ["moose", "glass", "tree", "night", "cat", "dog", "house", "sky", "red", "plain"]


@pytest.fixture(scope="module")
def planted():
    """The model with its dictionary."""
    opened = model()
    opened.attach(dictionary(), "glass")
    return opened


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A dictionary, a recording of its site without pictures, one of colours, and findings."""
    out, bare = tmp_path_factory.mktemp("verbs"), model()
    dictionary().save(out / "dictionary")
    plain = {"sites": [TEXT, CONDITIONING], "seeds_per_item": 1, "progress": False}
    recording = record(bare, prompts(), out=out / "rec", pictures=False, **plain)
    recording.attach(dictionary(), "glass")
    find(recording, **QUERIES, progress=False).save(out / "findings")
    record(bare, prompts(2, ("glass", "plain", "night")), out=out / "colours", **plain)
    (out / "items.txt").write_text("\n".join(THINGS))
    (out / "words.txt").write_text("\n".join(WORDS))
    return out


@pytest.fixture
def command(folder, monkeypatch):
    """A command with the dictionary; models are opened without it."""
    for place in ("clerestory.load", "clerestory.models.load"):
        monkeypatch.setattr(place, lambda *_, **__: model(), raising=False)

    def called(*arguments, attach=f"glass={folder / 'dictionary'}", **how):
        return call(app, *arguments, *(("--dictionary", attach) if attach else ()), **how)

    return called


def recorded(folder, name="rec") -> Recording:
    recording = Recording.open(folder / name)
    recording.attach(dictionary(), "glass")
    return recording


def findings_of(folder) -> Findings:
    return Findings.load(folder / "findings")


def as_options(queries) -> list[str]:
    return [item for name, text in queries.items() for item in (f"--{name}", text)]


def test_run_reads_latents_and_each_edit_does_what_its_latent_does(planted, command, tmp_path):
    run = planted.run(["p plain c1", "p glass c1", "p night c1"], 3, read=SITE)
    assert run.read(SITE)[:, 0, [LIGHT, BLUE]].to_numpy().tolist() == [[0, 0], [2, 0], [0, 2]]
    plain = planted.run("p plain c1", 3).pictures[0].astype(int)
    for latent in range(LATENTS):
        edit = Add(SITE, np.eye(LATENTS)[latent], 2.0)
        change = planted.run("p plain c1", 3, edits=[edit]).pictures[0] - plain
        expected = {LIGHT: [160] * 3, BLUE: [0, 0, 55]}.get(latent, [0] * 3)
        assert (change == expected).all(), latent
    sites = json.loads(command("sites", "*:glass", "--json").stdout)
    assert [(each["address"], each["shape"][1]) for each in sites] == [(SITE, LATENTS)]
    command("draw", "p glass c1", "--out", tmp_path / "drawn", "--seeds", "3")
    (drawn,) = (tmp_path / "drawn").glob("*glass*.png")
    expected = planted.run("p glass c1", 3).pictures[0]
    assert (np.asarray(Image.open(drawn)) == expected).all(), "an attached one changes nothing"


def test_record_and_find_rank_the_planted_latent(planted, folder, command, tmp_path):
    table = prompts()
    table.to_csv(tmp_path / "prompts.csv", index=False)
    how = ("--prompts", tmp_path / "prompts.csv", "--seeds-per-item", 1, "--no-pictures")
    command("record", *how, "--sites", SITE, "--out", tmp_path / "rec")
    values = Recording.open(tmp_path / "rec").read(CAUSE).to_numpy().ravel()
    assert (values == 2.0 * (table["style"] == "glass")).all()
    # The latents that were recorded, and those of the recorded values.
    for rec in (tmp_path / "rec", folder / "rec"):
        done = command("find", rec, *as_options(QUERIES), "--kind", "neuron", "--json")
        by_unit = {each["unit"]: each for each in json.loads(done.stdout)["findings"]}
        assert by_unit[CAUSE]["status"] == by_unit[NOTHING]["status"] == "found"
        assert by_unit[CAUSE]["detects"]["auroc"] == 1.0
        assert by_unit[COLOUR]["status"] == "not found"
    # `find` takes the folder alone where the latents were recorded.
    alone = find(Recording.open(tmp_path / "rec"), **QUERIES, kind="neuron", progress=False)
    assert alone.findings[0].unit == CAUSE


def test_verify_finds_the_effect_of_the_planted_latent_and_none_of_another(
    planted, folder, command
):
    how = {"classifier": LIGHT_CLASSIFIER, "label": "light", "units": [CAUSE, NOTHING]}
    result = verify(findings_of(folder), planted, others=OTHERS, progress=False, **how)
    cause, nothing = result.effects
    assert (cause.addition.effect, cause.ablation.effect, cause.status) == (1, 1, "supported")
    assert (nothing.addition.effect, nothing.ablation.effect) == (0, 0)
    assert nothing.status == "not supported" and (cause.detects, nothing.detects) == (1, 1)
    # As much of the pure effect: BLUE changes another class, not this one.
    arguments = [*("--classifier", LIGHT_CLASSIFIER), *("--label", "light"), "--no-maps"]
    arguments += [item for unit in how["units"] for item in ("--unit", unit)]
    arguments += [item for other in OTHERS for item in ("--other", other)]
    done = command("verify", folder / "findings", *arguments, "--json")
    printed = json.loads(done.stdout)["effects"]
    assert [each["status"] for each in printed] == ["supported", "not supported"]
    with pytest.raises(DictionaryError, match="attach it"):
        command("verify", folder / "findings", *arguments, attach=None)


def test_a_direction_of_latents_is_verified(planted, folder):
    unit = f"{SITE}[difference]"
    result = verify(
        findings_of(folder),
        planted,
        classifier=LIGHT_CLASSIFIER,
        label="light",
        units=[unit],
        others=OTHERS,
        maps=False,
        progress=False,
    )
    assert result.effects[0].status == "supported" and result.effects[0].addition.effect == 1


def test_group_finds_and_ranks_latents(planted, folder, command, tmp_path):
    recording = recorded(folder, "colours")
    groups = group(recording, classifier=LIGHT_CLASSIFIER, control="item", progress=False)
    signs = {unit.unit: unit.sign for unit in groups["light"].units if unit.status == "found"}
    # The other group has the pictures of `night`.
    assert (signs[CAUSE], signs[NOTHING], signs[COLOUR]) == (1, 1, -1)
    units = {name: [CAUSE, NOTHING] for name in groups.groups}
    ranked = rank_groups(groups, planted, units=units, others=[PARITY], progress=False)
    (of_light,) = [each for each in ranked.groups if each.group == "light"]
    assert {effect.unit: effect.status for effect in of_light.effects} == {
        CAUSE: "supported",
        NOTHING: "not supported",
    }
    # Of latents that were recorded themselves.
    record(
        planted,
        prompts(2, ("glass", "plain", "night")),
        sites=SITE,
        seeds_per_item=1,
        out=tmp_path / "rec",
        progress=False,
    )
    arguments = ["--classifier", LIGHT_CLASSIFIER, "--control", "item", "--rank-by-control"]
    arguments += ["--other", PARITY, "--out", tmp_path / "groups", "--json"]
    done = command("group", tmp_path / "rec", *arguments)
    effects = {
        (each["group"], effect["unit"]): effect["status"]
        for each in json.loads(done.stdout)["groups"]
        for effect in each["effects"]
    }
    assert effects["light", CAUSE] == "supported"
    assert all(unit.startswith(SITE) for _, unit in effects)
    saved = Groups.load(tmp_path / "groups").provenance.dictionaries
    assert saved == {SITE: dictionary().digest}
    with pytest.raises(DictionaryError, match="attach it"):
        command("group", tmp_path / "rec", *arguments[:-3], attach=None)


def test_group_by_latents_makes_clusters_of_what_they_know(folder, command, tmp_path):
    arguments = ["--by", SITE, "--clusters", 3, "--control", "item", "--out", tmp_path / "groups"]
    command("group", folder / "colours", *arguments, "--json")
    groups, table = Groups.load(tmp_path / "groups"), prompts(2, ("glass", "plain", "night"))
    style = table["style"].to_numpy()[groups.samples["sample"]]
    counts = pd.crosstab(groups.samples["group"], style).to_numpy()
    assert np.sort(counts, axis=None).tolist() == [0] * 6 + [96] * 3
    # The units of another site tell the clusters apart; those that made them are left out.
    found = {unit.unit for unit in groups["cluster 1"].units if unit.status == "found"}
    assert f"{CONDITIONING}[0]" in found and not any(unit.startswith(TEXT) for unit in found)


def test_maximize_raises_the_latent(planted, folder, command, tmp_path):
    how = {"vocabulary": WORDS, "words": 2, "budget": 20, "random_prompts": 90}
    result = maximize(planted, f"'{COLOUR}' - '{CAUSE}'", **how, progress=False)
    best = result.best[0]
    assert "night" in best.words.split() and "glass" not in best.words.split()
    assert best.score == 2 == planted.run(best.prompt, read=COLOUR, pictures=False).read(COLOUR)
    arguments = ["--vocabulary", folder / "words.txt", "--words", 2, "--budget", 20]
    arguments += ["--random-prompts", 90, "--out", tmp_path / "out", "--json"]
    printed = json.loads(command("maximize", CAUSE, *arguments).stdout)
    assert "glass" in printed["best"][0]["prompt"] and printed["best"][0]["score"] == 2
    saved = MaximizationResult.load(tmp_path / "out").provenance.dictionaries
    assert saved == {SITE: dictionary().digest}


def test_a_gradient_search_raises_a_latent_of_a_text_encoder():
    from helpers.dictionaries import small_dictionary
    from tiny import tiny_model

    tiny, site = tiny_model(), "text.blocks.1/resid"
    tiny.attach(small_dictionary(32), "glass", site=site)
    try:
        unit = f"{site}:glass[3]"
        how = {"search": "gradient", "budget": 60, "random_prompts": 60, "words": 2}
        result = maximize(tiny, unit, vocabulary=list("abcdefgh"), **how, progress=False)
        read = tiny.run(result.best[0].prompt, read=unit, pool="last", pictures=False).read(unit)
    finally:
        tiny.detach("glass")
    assert result.best[0].score == pytest.approx(float(read.squeeze()), abs=1e-5)
    assert result.best[0].z > 1


def test_attribute_gives_a_latents_rise_to_the_word_that_makes_it(planted, command):
    prompt, units = "[lamp] with a [raven]", [CAUSE, COLOUR, TARGET]
    result = attribute(planted, prompt, units, paraphrases=20, progress=False)
    shares = [
        {share.piece: round(share.value, 6) for share in split.shapley}
        for split in result.of.values()
    ]
    assert shares == [{"lamp": 2, "raven": 0}] * 2 + [{"lamp": 1, "raven": 0}]
    # No unit is active jointly: what is left of the sums are rounding errors.
    assert result.synergy is not None and result.synergy.significant == 0
    arguments = ["--of", CAUSE, "--paraphrases", 20, "--no-path", "--no-synergy", "--json"]
    (split,) = json.loads(command("attribute", prompt, *arguments).stdout)["of"].values()
    assert [round(share["value"], 6) for share in split["shapley"]] == [2, 0]


def test_suppress_switches_off_the_latent_that_brings_the_unwanted(planted, command, tmp_path):
    """A lamp is blue, and lights the picture, which nobody asked for."""
    prompt, preserve = "a cat with a lamp", f"lamp={BLUE_CLASSIFIER}=blue"
    halves = {"selection_paraphrases": 12, "evaluation_paraphrases": 24}
    result = suppress(
        planted,
        prompt,
        unwanted=TARGET,
        preserve=preserve,
        classifiers=[PARITY],
        other_prompts=["a cat", "a dog"],
        methods=["latents"],
        progress=False,
        **halves,
    )
    (method,) = result.methods
    assert (method.setting, method.reduction) == (f"{CAUSE} x0", 1.0)
    assert (method.preservation, method.status, result.edited_site) == (1.0, "supported", SITE)
    (edit,) = result.steered.edits
    assert isinstance(edit, Scale) and (edit.site, edit.unit, edit.factor) == (SITE, LIGHT, 0)
    arguments = ["--unwanted", TARGET, "--preserve", preserve, "--classifiers", PARITY]
    arguments += [item for name, n in halves.items() for item in (f"--{name.replace('_', '-')}", n)]
    arguments += ["--methods", "latents", "--budget", 0, "--out", tmp_path / "out", "--json"]
    printed = json.loads(command("suppress", prompt, *arguments).stdout)
    assert printed["methods"][0]["setting"] == f"{CAUSE} x0"
    assert SITE in (tmp_path / "out" / "suppression.html").read_text()
    with pytest.raises(clerestory.errors.EvidenceError, match="No autoencoder is attached"):
        command("suppress", prompt, *arguments[:-3], attach=None)


def test_a_model_is_steered_by_latents_and_its_edits_are_not_baked(
    planted, folder, command, tmp_path
):
    how = {"selection_items": 12, "evaluation_items": 24, "baselines": 19, "sites": [SITE]}
    result = steer(
        planted,
        findings_of(folder),
        TARGET,
        "glass {item}",
        items=THINGS,
        preserve=OTHERS,
        progress=False,
        **how,
    )
    assert result.calibration.target_rate == 1 and result.calibration.status == "supported"
    assert {edit.site for edit in result.steered.edits} == {SITE}
    out = tmp_path / "steered"
    arguments = ["--items", folder / "items.txt", "--selection-items", 12, "--baselines", 19]
    arguments += ["--evaluation-items", 24, "--site", SITE, "--out", out]
    arguments += [item for other in OTHERS for item in ("--preserve", other)]
    command("steer", "build", folder / "findings", TARGET, "glass {item}", *arguments)
    assert SITE in call(app, "steer", "show", out).stdout
    drawn = ("steer", "draw", out, "p plain c1", "--seeds", "3", "--out", tmp_path / "drawn")
    with pytest.raises(DictionaryError, match="attach it"):
        command(*drawn, attach=None)
    command(*drawn)
    (picture,) = [path for path in (tmp_path / "drawn").glob("*.png") if path.stem != "grid"]
    assert light(np.asarray(Image.open(picture))[None]).argmax() == 1
    done = command("steer", "bake", out, "--out", tmp_path / "baked", status=1)
    assert "cannot be folded: it acts on latents of a dictionary" in " ".join(done.stderr.split())
    assert not (tmp_path / "baked").exists()


def test_compare_draws_a_model_that_is_steered_by_latents(planted, folder, command, tmp_path):
    steered = SteeredModel(planted, [Add(SITE, np.eye(LATENTS)[LIGHT], 2.0)])
    how = {"items": THINGS[:12], "count": 12, "seeds_per_item": 1}
    result = compare(
        planted, ["night", "glass"], TARGET, "glass {item}", steered=steered, progress=False, **how
    )
    rates = result.table().set_index("condition")["target"]
    assert [rates[name][:4] for name in ("unedited", "night", "glass", "steered")] == [
        *("0.00", "0.00", "1.00", "1.00")
    ]
    steered.save(tmp_path / "steered")
    maximize(
        planted,
        CAUSE,
        vocabulary=WORDS,
        words=1,
        budget=10,
        random_prompts=5,
        out=tmp_path / "searched",
        progress=False,
    )
    arguments = [TARGET, "glass {item}", "--items", folder / "items.txt", "--count", 12]
    arguments += ["--steered", tmp_path / "steered", "--json"]
    printed = json.loads(command("compare", tmp_path / "searched", *arguments).stdout)
    assert SITE in json.dumps(printed)


def test_familiarity_is_the_same_with_a_dictionary(planted, command):
    how = {"classifiers": [LIGHT_CLASSIFIER], "count": 99, "seeds_per_item": 1, "progress": False}
    contexts = ["{item} at sea", "{item} in a meadow"]
    results = [familiarity(each, "glass", contexts=contexts, **how) for each in (planted, model())]
    first, second = (each.to_dict() for each in results)
    assert results[0].verdict == "familiar"
    assert first.pop("provenance")["dictionaries"] == {SITE: dictionary().digest}
    assert second.pop("provenance")["dictionaries"] == {} and first == second
    command("familiarity", "glass", "--classifiers", LIGHT_CLASSIFIER, "--count", 99)


STUDY = """
name = "latents"
question = "Which latent lights the picture?"
headline = ["find.glass", "verify.glass", "build.glass"]

[classifiers.light]
default = "zero-shot:MODEL[light, dark]"
[classifiers.parity]
default = "zero-shot:MODEL[even, odd]"

[record.styles]
sites = ["conditioning:glass"]
seeds_per_item = 1
[record.styles.prompts]
templates = ["{style}"]
matched = ["style"]
[record.styles.prompts.levels.style]
glass = [GLASS]
plain = [PLAIN]
[record.styles.prompts.levels.subject]
SUBJECTS

[find.glass]
record = "styles"
concept = "glass"
positive = "style == 'glass'"
negative = "style == 'plain'"
match = ["subject"]
kind = "neuron"

[find.directions]
record = "styles"
concept = "glass"
positive = "style == 'glass'"
negative = "style == 'plain'"
match = ["subject"]

[verify.glass]
find = "glass"
classifier = "light"
label = "light"
units = ["conditioning:glass[5]"]

[maximize.glass]
find = "directions"
site = "conditioning:glass"
budget = 100
random_prompts = 100

[build.glass]
find = "directions"
classifier = "light"
label = "light"
template = "glass {item}"
sites = ["conditioning:glass"]
preserved = ["parity"]
selection_items = 6
evaluation_items = 24
baselines = 19
[build.glass.items]
templates = ["{thing}"]
[build.glass.items.levels.thing]
THINGS
"""


def study_file(path: Path) -> Path:
    phrases = {
        lead.upper(): ", ".join(f'"p{number} {lead} {{subject}}"' for number in range(8))
        for lead in ("glass", "plain")
    }
    levels = {"SUBJECTS": [f"c{n}" for n in range(24)], "THINGS": [f"d{n}" for n in range(36)]}
    text = STUDY
    for name, names in levels.items():
        text = text.replace(name, "\n".join(f'{each} = "{each}"' for each in names))
    for name, listed in phrases.items():
        text = text.replace(name, listed)
    path.write_text(text)
    return path


def test_a_study_whose_tasks_name_latents(folder, command, tmp_path):
    arguments = ["--classifier", f"light={LIGHT_CLASSIFIER}", "--classifier", f"parity={PARITY}"]
    done = command(
        "study",
        "run",
        study_file(tmp_path / "latents.toml"),
        *arguments,
        *("--out", tmp_path / "out", "--json"),
        attach=f"{CONDITIONING}:glass={folder / 'dictionary'}",
    )
    printed = json.loads(done.stdout)
    claims = {claim["id"]: (claim["status"], claim["text"]) for claim in printed["claims"]}
    unit = f"{CONDITIONING}:glass[{LIGHT}]"
    assert claims["find.glass: neuron detects"][0] == "supported"
    assert unit in claims["find.glass: neuron detects"][1]
    # Undecided, since nothing measures what else it changes.
    status, text = claims["verify.glass: controls"]
    assert status == "undecided" and text.startswith(f"{unit} is not shown to control light")
    assert "it changes the rate by +1.00" in text
    assert claims["build.glass: drawn"][0] == "supported"
    assert "glass" in claims["maximize.glass: maximized"][1].partition("scores")[0]
    assert f"--dictionary {CONDITIONING}:glass=DICTIONARY" in printed["command"]
    with pytest.raises(SiteError, match="has no dictionary 'glass'"):
        command(
            "study",
            "run",
            tmp_path / "latents.toml",
            *arguments,
            *("--out", tmp_path / "other"),
            attach=None,
        )


def test_a_microscope_of_latents_names_and_redraws_them(folder, command, tmp_path, monkeypatch):
    out, how = tmp_path / "scope", ("--sites", f"*:glass,{TEXT}")
    command("microscope", "build", folder / "colours", *how, "--out", out)
    microscope = Microscope(out)
    assert microscope.sites[SITE].units == LATENTS
    served = {}
    monkeypatch.setattr("clerestory.microscope.serve", lambda *_, **how: served.update(how))
    from clerestory.microscope.redraw import Drawer

    command("microscope", "serve", out)
    drawer, unit = Drawer(served["load"]), microscope.named(CAUSE)
    pair = drawer.draw(unit, "p plain c1", "clamp", 3.0, 1)
    assert light(np.stack([pair.unedited, pair.edited])).argmax(1).tolist() == [0, 1]
    follower = drawer.draw(microscope.named(NOTHING), "p plain c1", "clamp", 3.0, 1)
    assert (follower.edited == follower.unedited).all()
    # Another dictionary of the same name is refused; without one neurons are redrawn.
    dictionary(seed=1).save(tmp_path / "other")
    command("microscope", "serve", out, attach=f"glass={tmp_path / 'other'}")
    with pytest.raises(DictionaryError, match="another dictionary"):
        Drawer(served["load"]).draw(unit, "p plain c1", "clamp", 3.0, 1)
    command("microscope", "serve", out, attach=None)
    drawer = Drawer(served["load"])
    pair = drawer.draw(microscope.named(f"{TEXT}[0]"), "p plain c1", "clamp", 3.0, 1)
    assert light(pair.edited[None]).argmax() == 1
    with pytest.raises(SiteError, match="attach it"):
        drawer.draw(unit, "p plain c1", "clamp", 3.0, 1)


def test_a_machine_names_latents_by_the_word_that_raises_them(planted, tmp_path, command):
    words, animals = ("glass", "plain", "night", "oak"), ("cat", "dog", "owl", "fox")
    texts = [f"a {w} {a} of n{a}{n}" for a in animals for w in words for n in range(30)]
    recording = record(planted, texts, sites=SITE, out=tmp_path / "rec", progress=False)
    names = name_units(
        recording, planted, units=[CAUSE, COLOUR], names=1, vocabulary=[], progress=False
    )
    assert [(name.unit, name.text) for name in names.names] == [(CAUSE, "glass"), (COLOUR, "night")]
    assert all(name.detection.status == "found" for name in names.names)
    # Recorded latents: `--dictionary` is for the model that draws.
    build = ("microscope", "build", tmp_path / "rec", "--name-units", "--out")
    command(*build, tmp_path / "scope")
    named = json.loads((tmp_path / "scope" / "names" / "000.json").read_text())
    assert {each["unit"]: each["text"] for each in reversed(named)}[CAUSE] == "glass"
    with pytest.raises(DictionaryError, match="attach it"):
        command(*build, tmp_path / "other", attach=None)


def test_latents_of_a_transcoder_are_found_and_no_verb_edits_them(folder):
    opened = model()
    transcoder = replace(dictionary(), output_site=CONDITIONING)
    address = opened.attach(transcoder, "glass")
    recording = Recording.open(folder / "rec")
    recording.attach(transcoder, "glass")
    found = find(recording, **QUERIES, progress=False)
    how = {"classifier": LIGHT_CLASSIFIER, "label": "light", "progress": False}
    with pytest.raises(EditError, match="latents of a transcoder, which can be read but not"):
        verify(found, opened, units=[CAUSE], maps=False, **how)
    with pytest.raises(EditError, match="latents of a transcoder"):
        steer(opened, found, TARGET, "glass {item}", items=THINGS, selection_items=12,
              evaluation_items=24, sites=[address], baselines=0, progress=False)  # fmt: skip
    steered = SteeredModel(opened, [Scale(CAUSE, 0.0)])
    with pytest.raises(EditError, match="latents of a transcoder"):
        steered.draw("a cat", 3)


def test_baking_names_the_reason(planted, tmp_path):
    result = bake(SteeredModel(planted, [Scale(CAUSE, 0.0)]), tmp_path / "out", measure=False)
    assert result.folder is None and "acts on latents of a dictionary" in result.refusals[0].reason


def test_a_dictionary_of_random_directions_has_no_latent_like_the_planted_one(folder):
    random = Dictionary.random(6, LATENTS, seed=0, site=TEXT)
    recording = Recording.open(folder / "rec")
    recording.attach(random, "random")
    values = recording.read(f"{TEXT}:random").to_numpy()
    rises = np.abs(np.corrcoef(values[:, 0].T, (prompts()["style"] == "glass"))[-1, :-1])
    assert not (np.nan_to_num(rises) > 0.99).any()
