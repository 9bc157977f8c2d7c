import shutil
from dataclasses import replace

import pytest
import torch
from tiny import tiny_model, tiny_pipeline

from clerestory.errors import RecordingError
from clerestory.models import wrap
from clerestory.models.provenance import weights_digest
from clerestory.recordings import Plan, Store, make_plan, unmark_damaged, verify
from clerestory.recordings.plan import check_model
from clerestory.recordings.verification import by_site
from recordings.small import contents, recorded


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return recorded(tmp_path_factory.mktemp("whole") / "rec").store.folder.root


@pytest.fixture
def copy(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "rec")
    return tmp_path / "rec"


def files(root):
    return sorted(
        path
        for path in (root / "activations.zarr").rglob("*")
        if "value/c." in str(path) and path.is_file()
    )


def test_a_whole_recording_is_whole(copy):
    reports = []
    assert verify(Store(copy), lambda label, done, of: reports.append((done, of))) == []
    assert reports[-1] == (5, 5)


def test_a_flipped_bit_in_any_chunk_is_found_and_named(copy):
    for number, path in enumerate(files(copy)):
        raw = bytearray(path.read_bytes())
        place = number * 7919 % len(raw)
        raw[place] ^= 1 << number % 8
        path.write_bytes(raw)
        (damage,) = verify(Store(copy))
        site, _, rest = (
            path.relative_to(copy / "activations.zarr").as_posix().partition("/value/c.")
        )
        chunk = int(rest.split(".")[0])
        assert (damage.site, damage.how) == (site, "altered")
        assert list(damage.samples) == list(range(4 * chunk, 4 * chunk + 4))
        raw[place] ^= 1 << number % 8
        path.write_bytes(raw)
    assert verify(Store(copy)) == []


def test_missing_and_truncated_files_and_altered_markers_are_found(copy):
    first, second = files(copy)[0], files(copy)[7]
    first.unlink()
    second.write_bytes(second.read_bytes()[:-3])
    (copy / "done" / "000004.json").write_text("{")
    found = verify(Store(copy))
    assert sorted(each.how for each in found) == ["marker altered", "missing", "truncated"]
    assert by_site(found)["*"] == [16, 17, 18, 19]


def test_what_is_repaired_is_the_undamaged_recording(copy, whole):
    files(copy)[3].unlink()
    (copy / "done" / "000002.json").write_text("nothing")
    assert unmark_damaged(Store(copy), verify(Store(copy))) == 2
    recorded(copy)
    assert verify(Store(copy)) == []
    assert contents(copy) == contents(whole)


def test_an_altered_plan_or_table_or_array_is_refused(copy):
    table = copy / "samples.parquet"
    raw = table.read_bytes()
    other = Store(copy).table
    other.loc[3, "prompt"] = "a moose"
    other.to_parquet(table)
    with pytest.raises(RecordingError, match="was altered"):
        verify(Store(copy))
    table.write_bytes(raw[:50])
    with pytest.raises(RecordingError, match="missing or was altered"):
        verify(Store(copy))
    table.write_bytes(raw)
    for name in ("zarr.json", "prior/embedding/value/zarr.json", "prompt/c.0"):
        file = copy / "activations.zarr" / name
        raw = file.read_bytes()
        file.write_bytes(raw.replace(b"float16", b"float32").replace(b"cat", b"dog"))
        with pytest.raises(RecordingError, match=f"{name} was altered"):
            verify(Store(copy))
        file.write_bytes(raw)
    text = (copy / "manifest.json").read_text()
    (copy / "manifest.json").write_text(text.replace('"steps": 2', '"steps": 3'))
    with pytest.raises(RecordingError, match="its digest differs"):
        verify(Store(copy))
    (copy / "manifest.json").write_text("{}")
    with pytest.raises(RecordingError, match="was altered"):
        verify(Store(copy))
    with pytest.raises(RecordingError, match=r"holds no recording: .*`record --out`"):
        verify(Store(copy / "done"))


def test_a_recording_names_the_weights_and_is_not_continued_with_others(tmp_path):
    # Not the model that all tests share: its weights are changed.
    model = wrap(tiny_pipeline(), name="tiny", defaults=tiny_model().defaults)
    plan = make_plan(model, ["a cat"], sites="prior/embedding", pictures=False)
    assert plan.model.weights == weights_digest(model.pipeline) != ""
    assert Plan.from_dict(plan.to_dict(), plan.table).model == plan.model
    check_model(model, plan.model)
    weights = list(model.pipeline.components["prior_text_encoder"].parameters())
    with torch.no_grad():
        for weight in weights:
            weight.neg_()
    with pytest.raises(RecordingError, match=r"weights: .* there, .* here; weights that were"):
        check_model(model, plan.model)
    # Other tests share the model.
    with torch.no_grad():
        for weight in weights:
            weight.neg_()
    check_model(model, replace(plan.model, weights=""))  # unknown
