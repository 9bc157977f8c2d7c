"""Files of results and caches that were damaged: an error of one line, missing, or what was saved.

Never other values. Recordings have `recordings/test_damage.py`.
"""

import json

import numpy as np
import pytest
from hostile import kinds
from tiny import tiny_model

from clerestory.attribution.measurement import _read_part
from clerestory.causal.results import VerificationResult
from clerestory.contrasts import Findings, Groups
from clerestory.errors import ClerestoryError, EvidenceError, OutputError
from clerestory.evaluation import SampleCache
from clerestory.io.digests import check_seal, json_digest, seal
from clerestory.io.tensor_files import read_tensors, write_tensors
from clerestory.maximization.trail import Trail
from clerestory.recognition.store import ObservationStore
from clerestory.steering import SteeredModel
from clerestory.studies.tasks import Claim, TaskResult

FLIPS = 40
KEY = "ab" * 20


def load_findings(folder):
    found = Findings.load(folder)
    directions = {name: value.tobytes() for name, value in found.directions.items()}
    return json.dumps(found.to_dict()), directions, found.samples.to_csv()


def load_groups(folder):
    groups = Groups.load(folder)
    return json.dumps(groups.to_dict()), groups.samples.to_csv()


def load_steered(folder):
    steered = SteeredModel.load(folder, tiny_model())
    tensors = [
        {name: value.numpy().tobytes() for name, value in edit.tensors().items()}
        for edit in steered.edits
    ]
    settings = [edit.to_dict() for edit in steered.edits]
    return tensors, settings, steered.provenance, steered.calibration


def load_names(folder):
    found = ObservationStore(folder, {"of": "a test"}).read("alexandra", pictures=True)
    return found and {name: np.asarray(value).tobytes() for name, value in vars(found).items()}


def load_part(folder):
    part = _read_part(folder / "0000.npz", 2, "of these")
    return part and [array.tobytes() for array in part]


def make_cache(folder):
    SampleCache(folder).put(KEY, {"picture": np.arange(48, dtype=np.uint8).reshape(4, 4, 3)})


def load_cache(folder):
    entry = SampleCache(folder).get(KEY)
    return entry and {name: array.tobytes() for name, array in entry.items()}


def make_task(folder):
    folder.mkdir()
    claims = (Claim("a", "It is 0.75.", "supported", "0.5"), Claim("b", "c", "undecided", "d"))
    TaskResult(claims).save(folder)


CASES = {
    "findings": (kinds.make_findings, load_findings),
    "groups": (kinds.make_groups, load_groups),
    "effects": (
        kinds.make_effects,
        lambda folder: json.dumps(VerificationResult.load(folder).to_dict()),
    ),
    "steered": (kinds.make_steered, load_steered),
    "trail": (kinds.make_trail, lambda folder: Trail(folder, {"of": "a test"}).load()),
    "labels": (
        kinds.make_labels,
        lambda folder: kinds._LabelStore(*kinds._judged(folder)).labels,
    ),
    "names": (kinds.make_names, load_names),
    "part": (kinds.make_kept, load_part),
    "cache": (make_cache, load_cache),
    "task": (make_task, TaskResult.load),
}


def damages(raw, rng):
    """The content of a file with one flipped bit, cut short, empty, and of zeros."""
    for _ in range(FLIPS):
        flipped = bytearray(raw)
        flipped[rng.integers(len(raw))] ^= 1 << int(rng.integers(8))
        yield bytes(flipped)
    yield from (raw[: len(raw) // 2], raw[:-1], b"", bytes(len(raw)))


@pytest.mark.parametrize("name", CASES)
def test_damage_is_an_error_or_missing_and_never_another_value(name, tmp_path):
    make, load = CASES[name]
    folder, rng = tmp_path / "it", np.random.default_rng(0)
    make(folder)
    whole = load(folder)
    assert whole
    wrong = []
    # The card and the page are for people: nothing reads them.
    for path in sorted(folder.rglob("*")):
        if path.is_dir() or path.suffix in (".md", ".html"):
            continue
        raw = path.read_bytes()
        for damaged in (*damages(raw, rng), None):
            path.unlink(missing_ok=True)
            if damaged is not None:
                path.write_bytes(damaged)
            try:
                found = load(folder)
            except ClerestoryError as error:
                assert "\n" not in str(error)
                continue
            if found and found != whole:
                wrong.append((path.name, found))
        path.write_bytes(raw)
    assert not wrong


def test_an_entry_of_the_cache_under_another_key_is_missing(tmp_path):
    make_cache(tmp_path)
    (path,) = tmp_path.rglob("*.npz")
    other = "ab" + "0" * 38
    path.rename(path.with_name(f"{other}.npz"))
    assert SampleCache(tmp_path).get(other) is None
    assert load_cache(tmp_path) is None


def test_a_part_of_an_attribution_under_another_number_is_measured_again(tmp_path):
    kinds.make_kept(tmp_path / "parts")
    assert _read_part(tmp_path / "parts" / "0000.npz", 2, "of others") is None


def test_a_seal_tells_altered_figures_and_may_be_left_out():
    content = {"rate": 0.75, "by": {1: "a"}, "name": "naïve"}
    sealed = json.loads(json.dumps(seal(content)))
    check_seal(sealed, "it", EvidenceError)
    assert sealed["digest"] == json_digest(content)
    with pytest.raises(EvidenceError, match="it was altered"):
        check_seal({**sealed, "rate": 0.25}, "it", EvidenceError)
    check_seal({"rate": 0.25}, "it", EvidenceError)


def test_a_tensor_that_was_altered_is_refused_and_files_of_others_are_read(tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "a.safetensors"
    write_tensors(path, {"a": np.arange(8.0)}, framework="np")
    assert read_tensors(path, OutputError)["a"].tolist() == list(range(8))
    raw = bytearray(path.read_bytes())
    raw[-9] ^= 1
    path.write_bytes(raw)
    with pytest.raises(OutputError, match="was altered"):
        read_tensors(path, OutputError, "np")
    save_file({"a": np.arange(8.0)}, path)
    assert read_tensors(path, OutputError, "np")["a"].tolist() == list(range(8))
