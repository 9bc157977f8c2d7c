"""How far the tests and intervals keep their word, `docs/explanation/calibration.md`.

python tools/calibrate.py [--sets 1000] [--workers 2] [PART …]

Null data sets, in which nothing differs, and data sets with one known difference, for every verb;
synthetic ones, and of Lancet's activations. Verbs that draw resample a bank of outcomes that is
drawn once. Each part is kept in build/calibration, so a second call resumes where the first was
stopped; results/calibration.json has them all. `generate_docs.py` writes the page.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from itertools import product
from pathlib import Path

# A worker for each core: threads of their own would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import calibration_contrasts as contrasts
import calibration_effects as effects
import calibration_lancet as lancet
import numpy as np
from calibration_contrasts import DESIGNS, Row
from paths import BUILD, RESULTS

__all__ = ["FIGURES", "PARTS", "calibrate", "measure", "write"]

FIGURES = RESULTS / "calibration.json"
KEPT = BUILD / "calibration"
SETS = 1_000
POWER_TEMPLATES, POWER_ITEMS, PLANTED = (4, 5, 6, 8, 12), (12, 24, 48), (0.8, 0.9, 0.97)
POWER_SETS, NEUTRAL_SETS = 250, 500
COVERED = ("phrase", "skew (gamma .15)", "heavy tails (t, 3 df)", "zero-inflation", "ties", "seed")
"""Structures of which intervals are measured as well."""

Part = Callable[[int, np.random.Generator], "Iterable[Row] | Row"]


def parts() -> dict[str, Part]:
    """Every part by name: a function of the number of sets and a random generator."""
    lancets: dict[str, Part] = {"lancet neutral": _neutral, "lancet glass": _glass}
    lancets["lancet attribute"] = lancet.attribute_rows
    return {**_find_parts(), **_group_parts(), **_drawing_parts(), **lancets}


def _find_parts() -> dict[str, Part]:
    made: dict[str, Part] = {}
    for name in contrasts.FIND:
        # A phrase with missing cells is left out, and with four the rest would be too few.
        two = ((6, 24), (6, 12) if name == "missing cells" else (4, 12))
        for phrases, items in DESIGNS if name == "phrase" else two:
            key = f"find null {name} J{phrases} I{items}"
            made[key] = partial(_sets, contrasts.find_nulls, name, phrases, items)
    for name in contrasts.CONFOUNDS:
        made[f"find {name}"] = partial(_sets, contrasts.confounded, name)
    for name, (phrases, items) in product(COVERED, DESIGNS):
        key = f"find interval {name} J{phrases} I{items}"
        made[key] = partial(_sets, contrasts.find_coverage, name, phrases, items)
    for phrases, items, planted in product(POWER_TEMPLATES, POWER_ITEMS, PLANTED):
        key = f"find power {planted} J{phrases} I{items}"
        made[key] = partial(_power, phrases, items, planted)
    return made


def _group_parts() -> dict[str, Part]:
    made: dict[str, Part] = {}
    for name, (templates, items) in product(contrasts.GROUP, ((4, 12), (6, 24))):
        key = f"group null {name} J{templates} I{items}"
        made[key] = partial(_sets, contrasts.group_nulls, name, templates, items)
    for templates, items in DESIGNS:
        key = f"group interval J{templates} I{items}"
        made[key] = partial(_sets, contrasts.group_coverage, templates, items)
    return made


def _drawing_parts() -> dict[str, Part]:
    made: dict[str, Part] = {}
    for items, seeds in effects.SIZES:
        design = f"I{items} S{seeds}"
        for verb in ("verify", "steer", "suppress"):
            made[f"{verb} claims {design}"] = partial(_sets, effects.claim_rows, verb, items, seeds)
            made[f"{verb} changes {design}"] = partial(
                _more_sets, effects.change_rows, verb, items, seeds
            )
        for templates in (1, 6):
            made[f"steer rates J{templates} {design}"] = partial(
                _sets, effects.rate_rows, "steer", items, seeds, templates
            )
    made["verify baselines"] = partial(_sets, effects.baseline_rows, "verify", 24, 4)
    for paraphrases in (12, 24):
        made[f"attribute J{paraphrases}"] = partial(_more_sets, effects.attribute_rows, paraphrases)
    made["familiarity"] = partial(_sets, effects.familiarity_rows)
    made["maximize"] = partial(_sets, effects.maximize_rows)
    return made


def _sets(make: Callable[..., Iterable[Row] | Row], *args: object) -> Iterable[Row] | Row:
    *known, sets, rng = args
    return make(*known, sets, rng)


def _more_sets(make: Callable[..., Iterable[Row]], *args: object) -> Iterable[Row]:
    """With four times the sets where they cost little, for a smaller error of coverage."""
    *known, sets, rng = args
    assert isinstance(sets, int)
    return make(*known, 4 * sets, rng)


def _power(phrases: int, items: int, planted: float, sets: int, rng: np.random.Generator) -> Row:
    return contrasts.find_power(phrases, items, planted, min(sets, POWER_SETS), rng)


def _neutral(sets: int, rng: np.random.Generator) -> Iterable[Row]:
    return lancet.neutral_rows(min(sets, NEUTRAL_SETS), rng)


def _glass(sets: int, rng: np.random.Generator) -> Iterable[Row]:
    return lancet.glass_rows()


PARTS = parts()


def measure(name: str, sets: int) -> list[Row]:
    """Measure a part.

    Args:
        name: A name of `PARTS`.
        sets: How many data sets of each kind.

    Returns:
        Its rows.
    """
    # The name is the seed: a part's figures do not depend on which others are measured.
    rows = PARTS[name](sets, np.random.default_rng(zlib.crc32(name.encode())))
    return [rows] if isinstance(rows, dict) else list(rows)


def calibrate(names: Iterable[str], sets: int, workers: int) -> None:
    """Measure what is not kept yet, and write the rows of all that is kept.

    Args:
        names: Names of `PARTS`.
        sets: How many data sets of each kind.
        workers: How many processes.
    """
    KEPT.mkdir(parents=True, exist_ok=True)
    files = {name: _kept(name, sets) for name in names}
    missing = [name for name, file in files.items() if not file.exists()]
    if any(name.startswith("lancet") for name in missing):
        lancet.record_banks()
    start = time.monotonic()
    with ProcessPoolExecutor(workers) as pool:
        running = {pool.submit(measure, name, sets): name for name in missing}
        for completed, future in enumerate(as_completed(running), 1):
            name = running[future]
            files[name].write_text(json.dumps(future.result(), ensure_ascii=False))
            seconds = time.monotonic() - start
            progress = f"{completed}/{len(missing)} {name} ({seconds:.0f} s)"
            sys.stderr.write(progress + "\n")
    write()


def write() -> None:
    """Write the rows of all parts that are kept, of each the one with the most data sets."""
    rows: list[dict[str, object]] = []
    for name in PARTS:
        kept = KEPT.glob(_kept(name, "*").name)
        largest = max(kept, key=lambda file: int(file.stem.rpartition("-")[2]), default=None)
        rows += json.loads(largest.read_text()) if largest else []
    lines = ",\n ".join(json.dumps(row, ensure_ascii=False) for row in rows)
    FIGURES.write_text(f"[{lines}]\n")


def _kept(name: str, sets: int | str) -> Path:
    return KEPT / f"{name.replace(' ', '-')}-{sets}.json"


def main() -> None:
    """Read the options and calibrate."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", help="names of parts; by default all", metavar="PART")
    parser.add_argument("--sets", type=int, default=SETS, help="data sets of each kind")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    calibrate(options.parts or PARTS, options.sets, options.workers)


if __name__ == "__main__":
    main()
