"""What latents, neurons and directions detect and control in Lancet,
`docs/explanation/latents-neurons-directions.md`.

python tools/measure_dictionaries.py [--dictionaries DIR] [PART …]    # all parts by default

DIR has the dictionaries `embedding`, `text2` and `mid`, as `clerestory dictionary train` writes
them; by default it is results/dictionaries. A part is named SITE or SITE-TASK. Figures are written
to results/dictionaries/SITE.json after each class, so that a run can be stopped at any moment and
the same call goes on. Recordings and drawn samples are under build/dictionaries.
`generate_docs.py` writes the page from the figures.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import dictionaries_page
import dictionary_control
import dictionary_detection as detection
from dictionary_classes import FACTORS, classes
from dictionary_detection import SITES, FactorActivations, Site
from measurements import Tell
from paths import BUILD, RESULTS

FIGURES, RECORDINGS = RESULTS / "dictionaries", BUILD / "dictionaries"
FEW = (*(name for name in FACTORS if name != "subject"), "window")
"""All factors but the subjects, which are twice as many classes as all others."""
MAIN = ("style", "mood")
CONTROLLED = (*MAIN, "perspective", "place", "window")
PARTS = {
    f"{site}-{task}": (site, kind, factors)
    for site, task, kind, factors in (
        ("embedding", "first", "detection", MAIN),
        ("embedding", "main", "control", MAIN),
        ("text2", "first", "detection", MAIN),
        ("embedding", "detection", "detection", FEW),
        ("embedding", "equal", "equal_length", MAIN),
        ("text2", "detection", "detection", FEW),
        ("text2", "control", "control", MAIN),
        ("mid", "main", "detection", MAIN),
        ("mid", "control", "control", MAIN),
        ("embedding", "control", "control", CONTROLLED),
        ("text2", "equal", "equal_length", MAIN),
        ("mid", "equal", "equal_length", MAIN),
        ("embedding", "subjects", "detection", ("subject",)),
        ("text2", "subjects", "detection", ("subject",)),
        ("mid", "detection", "detection", FEW),
        ("mid", "subjects", "detection", ("subject",)),
    )
}
"""Site, figure and factors by part, in the order of their value."""


@dataclass(eq=False)
class Study:
    """One site: its dictionaries, its recordings and its figures.

    Attributes:
        model: The model.
        site: The site.
        folder: Of the trained dictionary.
        tell: Receives progress.
    """

    model: Any
    site: Site
    folder: Path
    tell: Tell
    _activations: dict[str, FactorActivations] = field(default_factory=dict)

    @cached_property
    def dictionaries(self) -> dict[str, Any]:
        """The trained dictionary, and a random one of its size."""
        from clerestory.dictionaries import Dictionary

        trained = Dictionary.load(self.folder)
        digest = f"{trained.digest[:12]}-{self.model.revision[:12]}"
        saved = RECORDINGS / f"random-{self.site.name}-{digest}"
        if not saved.exists():
            random = detection.random_dictionary(trained, self.recording("style"), self.site)
            random.save(saved)
        return {"trained": trained, "random": Dictionary.load(saved)}

    @cached_property
    def evaluator(self) -> Any:
        """Draws pictures, once each, with both dictionaries attached."""
        from clerestory.evaluation import Evaluator, SampleCache

        for name, dictionary in self.dictionaries.items():
            if name in self.model.dictionaries:
                self.model.detach(name)
            self.model.attach(dictionary, name, site=self.site.address)
        cache = SampleCache(RECORDINGS / "samples")
        return Evaluator(self.model, cache, progress=self.tell)

    def recording(self, factor: str) -> Any:
        """The recording of a factor's prompts."""
        return detection.record_factor(self.model, self.site, factor, RECORDINGS, self.tell)

    def activations(self, factor: str) -> FactorActivations:
        """Activations of a factor's prompts, those of the last factor in memory."""
        # The window is a place.
        name = "place" if factor == "window" else factor
        if name not in self._activations:
            self._activations.clear()
            self._activations[name] = detection.activations(
                self.recording(name), self.site, self.dictionaries
            )
        return self._activations[name]

    def detection(self, factor: str, level: str) -> dict[str, Any]:
        """Detection of a class by each kind."""
        recorded = self.activations(factor)
        findings = detection.find_class(recorded, factor, level)
        return detection.figures(recorded, findings, self.site, self.dictionaries["trained"])

    def control(self, factor: str, level: str) -> dict[str, Any]:
        """Control of a class by each kind, as far as the class moves it."""
        return self._controlled(dictionary_control.control, factor, level)

    def equal_length(self, factor: str, level: str) -> dict[str, Any]:
        """Addition of each kind at one length."""
        return self._controlled(dictionary_control.equal_length, factor, level)

    def _controlled(
        self, measure: Callable[..., dict[str, Any]], factor: str, level: str
    ) -> dict[str, Any]:
        findings = detection.find_class(self.activations(factor), factor, level)
        evaluator = self.evaluator
        return measure(self.model, evaluator, findings, self.site, factor, level)


def measure(parts: list[str], dictionaries: Path) -> None:
    """Measure what is missing, class by class.

    Args:
        parts: Names of parts, or of sites for all of theirs.
        dictionaries: Folder of the dictionaries.
    """
    import clerestory
    from clerestory.cli import console

    model = clerestory.load("lancet")
    studies: dict[str, Study] = {}
    with console.progress_bars() as tell:
        for part, (name, figure, factors) in PARTS.items():
            if parts and part not in parts and name not in parts:
                continue
            folder = dictionaries / name
            if not (folder / "config.json").exists():
                sys.stderr.write(f"{part}: there is no dictionary {folder}.\n")
                continue
            if name not in studies:
                # One at a time: their latents are attached under the same names.
                studies = {name: Study(model, SITES[name], folder, tell)}
            for factor in factors:
                for level in classes(factor):
                    _measure_class(studies[name], figure, factor, level)
            dictionaries_page.save_plot()


def _measure_class(study: Study, figure: str, factor: str, level: str) -> None:
    """Measure one figure of one class, unless it is measured."""
    figures = saved(study)
    by_level = figures[figure].setdefault(factor, {})
    if level in by_level:
        return
    by_level[level] = getattr(study, figure)(factor, level)
    _write(FIGURES / f"{study.site.name}.json", figures)


def saved(study: Study) -> dict[str, Any]:
    """The figures of a site with this model and dictionary; empty where there are none.

    Args:
        study: The site.

    Returns:
        Figures by task, factor and class.
    """
    trained, random = (study.dictionaries[name] for name in ("trained", "random"))
    about = {
        "revision": study.model.revision,
        "site": study.site.address,
        "step": study.site.step,
        "dictionary": {
            "digest": trained.digest,
            "kind": trained.kind,
            "width": trained.width,
            "latents": trained.latents,
            **{name: trained.metadata.get(name) for name in ("explained_variance", "l0", "dead")},
        },
        "random": {"digest": random.digest, "k": random.activation.k},
    }
    path = FIGURES / f"{study.site.name}.json"
    known: Mapping[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    # Figures of another model or dictionary are measured again.
    same = all(known.get(key) == value for key, value in about.items())
    tasks = ("detection", "control", "equal_length")
    return {**about, **{task: dict(known.get(task, {})) if same else {} for task in tasks}}


def _write(path: Path, figures: Mapping[str, Any]) -> None:
    from clerestory.io.writing import atomic_file

    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as part:
        part.write_text(json.dumps(figures, indent=1) + "\n")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dictionaries", type=Path, default=FIGURES)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    given = parser.parse_args()
    unknown = [part for part in given.parts if part not in PARTS and part not in SITES]
    if unknown:
        parser.error(f"there is no part {unknown[0]}: {', '.join([*SITES, *PARTS])}")
    measure(given.parts, given.dictionaries)


if __name__ == "__main__":
    main()
