"""A local Ray cluster of two workers, one of them killed on the way."""

import json
import os
import pickle
import signal

import psutil
import pytest
from helpers.dictionaries import small_dictionary
from tiny import tiny_model, tiny_pipeline

from clerestory.errors import RecordingError
from clerestory.io.digests import json_digest
from clerestory.models import load
from clerestory.recordings import Store, make_plan, record_plan
from clerestory.recordings.cluster import _Worker, fill_with_ray
from clerestory.recordings.plan import check_model
from clerestory.recordings.writer import start_recording
from recordings.small import HOW, PROMPTS, contents

ray = pytest.importorskip("ray")
SMALL = {"height": 16, "width": 16}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture
def begun(tmp_path):
    """A plan begun in two folders, of a model that workers can open."""
    folder = tmp_path / "model"
    tiny_pipeline().save_pretrained(folder)
    model = load(folder, device="cpu")
    plan = make_plan(model, PROMPTS, range(4), **{**HOW, **SMALL, "chunk": 2})
    record_plan(model, plan, tmp_path / "whole")
    store = Store(tmp_path / "rec")
    start_recording(store, model, plan)
    return store, contents(tmp_path / "whole")


def workers():
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if (process.info["cmdline"] or [""])[0].startswith("ray::_Worker")
    ]


def test_workers_of_which_one_is_killed_give_the_same_recording(begun):
    store, expected = begun
    killed, reports = [], []

    def progress(label, done, of):
        reports.append((done, of))
        if not killed:
            killed.append(workers()[0])
            os.kill(killed[0], signal.SIGKILL)

    fill_with_ray(store, {"device": "cpu"}, workers=2, progress=progress)
    assert killed
    assert reports[-1] == (40, 40)
    assert contents(store.folder.root) == expected


@pytest.mark.parametrize(
    ("there", "planned"),
    [
        ('"revision": ""', '"revision": "other"'),
        pytest.param('"dtype": "float32"', '"dtype": "float16"', marks=pytest.mark.exhaustive),
    ],
)
def test_a_worker_with_another_model_says_so(begun, tmp_path, there, planned):
    manifest = tmp_path / "rec" / "manifest.json"
    assert there in manifest.read_text()
    content = json.loads(manifest.read_text().replace(there, planned))
    content["digest"] = json_digest(content)
    manifest.write_text(json.dumps(content))
    with pytest.raises(RecordingError, match=r"planned with another model|cannot go on"):
        fill_with_ray(Store(tmp_path / "rec"), {"device": "cpu"}, workers=1)


def test_a_model_of_another_precision_or_revision_is_told(begun):
    plan = begun[0].plan
    model = tiny_model()
    with pytest.raises(RecordingError, match=r"another model \(name: .* there, .* here"):
        check_model(model, plan.model)


def test_a_worker_encodes_latents_as_the_process_that_planned_them(tmp_path):
    """Dictionaries travel to workers, which need not have their folders."""
    tiny_pipeline().save_pretrained(tmp_path / "model")
    model = load(tmp_path / "model", device="cpu")
    model.attach(small_dictionary(32, site="prior/embedding"), "glass")
    sites = "prior/embedding:glass,text.blocks.1/mlp"
    plan = make_plan(model, PROMPTS[:4], sites=sites, pictures=False, batch=2, chunk=2)
    record_plan(model, plan, tmp_path / "one")
    store = Store(tmp_path / "many")
    start_recording(store, model, plan)
    attached = pickle.loads(pickle.dumps(list(model.dictionaries.values())))
    worker = _Worker(store.folder.url, plan.model.name, {"device": "cpu"}, attached)
    for chunk in store.markers.incomplete_chunks():
        worker.fill(chunk)
    assert contents(tmp_path / "one") == contents(tmp_path / "many")
    assert list(store.plan.model.dictionaries) == ["prior/embedding:glass"]


def test_fewer_than_one_worker_is_refused(begun):
    with pytest.raises(RecordingError, match="workers is 0"):
        fill_with_ray(begun[0], {}, workers=0)
