"""Capture the figures that Clerestory computes on Lancet, and compare two captures.

python tools/compare_figures.py capture OUT        # about 40 CPU-minutes; resumes in OUT
python tools/compare_figures.py compare OLD NEW    # exit status 1 where a figure moved

A capture is a JSON file per part, and the raw pictures. It runs on one thread: another number
of them, or another processor, changes the last bits.

A comparison pairs figures by path, after `RENAMES` and `VALUES` have translated the old capture.
What has no counterpart by path is paired by equal value in the same part, and reported, so that
it can be added to `RENAMES`: a short value, such as 0.5, says little of what it is the figure of.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shlex
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PICTURES, SITE, SEEDS = "pictures", "prior/embedding", (0, 1)
ITEMS = ("a cat", "tycho brahe and a moose", "maria with a raven in a library", "a house", "a ship")
SEARCH = "maximize 'text.blocks.2/mlp[498]' --pool mean --budget 1000 --null 100 --seed 1 --json"
COMMANDS: dict[str, str] = {
    "record": "record --prompts docs/concepts/styles.toml --sites 'text.*/mlp' --no-pictures"
    " --out {work}/recording --json",
    "find": "find {work}/recording --positive \"style == 'ink'\" --negative \"style == 'plain'\""
    " --hard-negative \"style == 'pencil'\" --match subject --out {work}/found --json",
    "attribute": "attribute '[alexandra elbakyan] with a [raven] in a [library]' --seeds 0"
    " --of lancet:pallor=pale --paraphrases 20 --json",
    "search-metropolis": f"{SEARCH} --search metropolis --out {{work}}/search-metropolis",
    "search-gradient": f"{SEARCH} --search gradient --out {{work}}/search-gradient",
    "familiarity": "familiarity 'alexandra elbakyan' --count 99 --seeds 0 --json",
    "suppress": "suppress 'alexandra elbakyan with a raven' --unwanted 'lancet:clothes=black'"
    " --preserve raven --selection-paraphrases 10 --evaluation-paraphrases 10 --seeds 0"
    " --budget 50 --json",
    "verify": "verify {work}/found --classifier lancet:style --label ink --items 4"
    " --baselines 3 --no-maps --json",
}
for study in ("stained-glass", "tycho-brahe", "mood", "perspective", "unknown-name"):
    COMMANDS[f"study-{study}"] = f"study run {study} --scale quick --out {{work}}/{study} --json"

SEPARATOR = " > "
TOLERANCE, SHORT = 1e-9, 6
"""Relative, for the same figure; letters below which equal values are a weak pair."""
RENAMES: list[tuple[str, str]] = [
    (r"^steps\b", "tasks"),
    (r"^claims > ([^>]+) > ([^>]+) >", r"claims > \1: \2 >"),
    (r"\bdecoy_(auroc|low|high)$", r"hard_negative_\1"),
    (r"\bdetects > shuffled\b", "detects > shuffled_aurocs"),
    (r"\bof > ([^>]+) > alone\b", r"of > \1 > single"),
    (r"\bof > ([^>]+) > together\b", r"of > \1 > synergy"),
    (r"\btogether > shown\b", "synergy > units"),
    (r"^together\b", "synergy"),
    (r"\b(synergy > units > [^>]+) > excess$", r"\1 > synergy"),
    (r"\b(synergy > units|of) > ([^>]+) > whole\b", r"\1 > \2 > total"),
    (r"\bwithout > (\d+ > \d+)$", r"contributions > \1"),
    (r"^about > accepted$", "diagnostics > acceptance_rate"),
    (r"^about > effective$", "diagnostics > effective_sample_size"),
    (r"^about > (r_hat|temperatures)\b", r"diagnostics > \1"),
    (r"^contents$", "items"),
    (r"^unedited$", "negative_rate"),
    (r"^words(_keep)? > ", r"prompting\1 > "),
    (r"^prompting_keep\b", "prompting_preservation"),
    (r"^controls\b", "effects"),
    (r"\bcollateral\b", "preservation"),
    (r"(?<= > )back\b", "reverse_patching"),
    (r"(?<= > )shuffled > ", "baselines > "),
    (r"(?<=baselines > )contents$", "items"),
    (r"(?<=baselines > )beside$", "unit_effect"),
    # Each unit repeated the figures of the prompts.
    (r"^effects > [^>]+ > words > ", "prompting > "),
]
"""Regular expressions over the path of an old figure, and what the new capture has instead."""
VALUES: dict[tuple[str, Any], tuple[str, str]] = {
    ("holds", True): ("status", "supported"),
    ("holds", False): ("status", "not supported"),
    ("holds", None): ("status", "undecided"),
    ("verdict", "found"): ("status", "supported"),
    ("verdict", "not found"): ("status", "not supported"),
    ("verdict", "undecided"): ("status", "undecided"),
}
"""Old (key, value) pairs that have another key and value now."""
IGNORED = {"seconds", "versions", "definition", "command", "python", "bytes"}
"""Keys of what depends on the machine, or is no figure."""
TEXTS = {"unit", "status", "verdict", "words", "prompt", "sha256"}
"""Keys of the strings that are compared; all others are prose."""
IDENTITIES = ("id", "unit", "says", "name", "prompt")
"""Keys that name the elements of a list, so that they are paired whatever their order."""


def capture(out: Path, parts: Iterable[str] = (PICTURES, *COMMANDS)) -> None:
    """Compute the parts that `out` does not have yet."""
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    (out / "work").mkdir(parents=True, exist_ok=True)
    for part in parts:
        path, start = out / f"{part}.json", time.perf_counter()
        if not path.exists():
            figures = draw(out) if part == PICTURES else run(part, out / "work")
            path.write_text(json.dumps(figures, indent=1) + "\n")
            report(f"{part}: {time.perf_counter() - start:.0f} s")


def run(part: str, work: Path) -> dict[str, Any]:
    """The JSON that a command prints and, for a search, every Parquet table of its folder."""
    import pandas as pd

    words = shlex.split(COMMANDS[part].format(work=work))
    done = subprocess.run(
        [sys.executable, "-m", "clerestory", *words], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    figures: dict[str, Any] = json.loads(done.stdout)
    if part.startswith("search"):
        files = sorted((work / part).glob("*.parquet"))
        figures["tables"] = {file.stem: pd.read_parquet(file).to_dict("list") for file in files}
    return figures


def draw(out: Path) -> dict[str, Any]:
    """Digests of 20 pictures, as they are and with a direction added at the conditioning site."""
    import numpy as np

    import clerestory

    model, prompts = clerestory.load("lancet"), [f"a stained glass of {item}" for item in ITEMS]
    prompts += [f"a picture of {item}" for item in ITEMS]
    plain = model.run(prompts, SEEDS, read=[SITE])
    read = plain.read(SITE)
    conditioning = np.asarray(getattr(read, "value", read)).reshape(2, len(ITEMS) * len(SEEDS), -1)
    # What saying the style changes at the site is the direction that is added.
    direction = (conditioning[0] - conditioning[1]).mean(0)
    edited = model.run(prompts, SEEDS, edits=[clerestory.Add(SITE, direction)])
    arrays: dict[str, Any] = {
        "plain": np.asarray(plain.pictures),
        "edited": np.asarray(edited.pictures),
    }
    np.savez_compressed(out / f"{PICTURES}.npz", conditioning=conditioning, **arrays)
    return {
        name: {"sha256": [hashlib.sha256(picture.tobytes()).hexdigest() for picture in pictures]}
        for name, pictures in arrays.items()
    }


def figures_of(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every figure of a JSON value with its path: numbers, absent numbers and some strings."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            if key not in IGNORED:
                yield from figures_of(each, (*path, key))
    elif isinstance(value, list):
        names = _identities(value)
        if names:
            yield (*path, "order"), " | ".join(names)
        for name, each in zip(names or map(str, range(len(value))), value, strict=True):
            yield from figures_of(each, (*path, name))
    else:
        key = next((name for name in reversed(path) if not name.isdigit()), "")
        if not isinstance(value, str) or key in TEXTS or (key, value) in VALUES:
            yield path, value


def _identities(values: list[Any]) -> list[str]:
    """What names the elements of a list of objects; empty where nothing does uniquely."""
    for key in IDENTITIES:
        names = [str(each[key]) for each in values if isinstance(each, Mapping) and key in each]
        if len(set(names)) == len(values):
            return names
    return []


def translated(path: tuple[str, ...], value: Any) -> tuple[str, Any]:
    """The path and value of an old figure under the new names."""
    key, value = VALUES.get((path[-1], value), (path[-1], value))
    text = SEPARATOR.join((*path[:-1], key))
    for pattern, new in RENAMES:
        text = re.sub(pattern, new, text)
    return text, value


def same(one: Any, other: Any) -> bool:
    """Whether two figures are equal, numbers within `TOLERANCE`."""
    numbers = isinstance(one, int | float) and isinstance(other, int | float)
    return math.isclose(one, other, rel_tol=TOLERANCE) if numbers else bool(one == other)


def pairs_by_value(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Paths of equal figures, each used once; of several, the one with most path in common."""
    known: dict[Any, list[str]] = defaultdict(list)
    for path, value in new.items():
        known[value].append(path)
    pairs = []
    for path, value in old.items():
        if known[value]:
            parts = set(path.split(SEPARATOR))
            best = max(known[value], key=lambda each: len(parts & set(each.split(SEPARATOR))))
            known[value].remove(best)
            pairs.append((path, best))
    return pairs


def compare(old: Path, new: Path) -> int:
    """Report what moved, part by part; how many figures moved or are gone."""
    import numpy as np

    parts = (part for part in (PICTURES, *COMMANDS) if (old / f"{part}.json").exists())
    wrong = sum(compare_part(part, old, new) for part in parts)
    after = np.load(new / f"{PICTURES}.npz")
    for name, values in np.load(old / f"{PICTURES}.npz").items():
        differing = int(np.sum(values != after[name]))
        report(f"{PICTURES}.npz, {name}: {differing} of {values.size} values differ")
        wrong += differing
    return wrong


def compare_part(part: str, old: Path, new: Path) -> int:
    """Report what moved in one part; how many figures moved or are gone."""
    first, second = (json.loads((folder / f"{part}.json").read_text()) for folder in (old, new))
    before = dict(translated(*each) for each in figures_of(first))
    after = {SEPARATOR.join(path): value for path, value in figures_of(second)}
    both = before.keys() & after.keys()
    moved = [path for path in before if path in both and not same(before[path], after[path])]
    gone = {path: value for path, value in before.items() if path not in both}
    added = {path: value for path, value in after.items() if path not in both}
    pairs = pairs_by_value(gone, added)
    weak = sum(len(str(gone[path])) < SHORT for path, _ in pairs)
    lost = {path for path in gone.keys() - dict(pairs).keys() if gone[path] is not None}
    lost = {path for path in lost if not path.endswith(" > order")}
    extra = added.keys() - {other for _, other in pairs}
    report(
        f"{part}: {len(both) - len(moved)} equal, {len(moved)} moved, {len(pairs)} paired by value "
        f"({weak} weakly), {len(lost)} without counterpart, {len(extra)} new"
    )
    for path in moved:
        report(f"  moved: {path}: {before[path]} -> {after[path]}")
    for path in sorted(lost):
        report(f"  without counterpart: {path}: {gone[path]}")
    report_counts("by value", (f"{one} -> {other}" for one, other in pairs))
    report_counts("new", extra)
    return len(moved) + len(lost)


def report_counts(what: str, paths: Iterable[str]) -> None:
    """Paths, those that differ in indices only as one line."""
    for text, count in sorted(Counter(re.sub(r"\b\d+\b", "#", path) for path in paths).items()):
        report(f"  {what}, {count} x: {text}")


def report(text: str) -> None:
    """Print a line."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run the command line."""
    match sys.argv[1:]:
        case ["capture", out]:
            capture(Path(out).resolve())
            return 0
        case ["compare", old, new]:
            return min(compare(Path(old), Path(new)), 1)
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    sys.exit(main())
