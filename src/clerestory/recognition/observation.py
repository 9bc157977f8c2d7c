"""What a model makes of a name in each context: classifiers' rates, and an image embedding.

eyes = Eyes.of(model)
seen = eyes.look(Evaluator(model), "alexandra elbakyan", CONTEXTS, (0, 1))
seen.rates                              # [context, class], seeds averaged
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from clerestory.classifiers import Classifier, ClassifierHead, load_classifier
from clerestory.errors import EvidenceError
from clerestory.evaluation import Condition, Design, Drawing, Evaluator
from clerestory.models import Model
from clerestory.types import Floats, Pictures, Role

__all__ = ["Eyes", "Seen", "plan_of"]


@dataclass(frozen=True, eq=False)
class Seen:
    """What a model makes of a name, context by context, seeds averaged.

    `rates` are probabilities `[context, class]`, `hits` how often each class is the likeliest,
    `embedding` is `[context, unit]`: each without columns where it cannot be had. `pictures`
    `[context, height, width, 3]`, of the first seed, are None where nobody wants to see them.
    """

    name: str
    rates: Floats
    hits: Floats
    embedding: Floats
    pictures: Pictures | None = None


@dataclass(frozen=True, eq=False)
class Eyes:
    """What looks at a model's pictures: classifiers, and the site or network of an embedding."""

    judges: tuple[Classifier, ...]
    site: str | None
    head: ClassifierHead | None

    @classmethod
    def of(
        cls, model: Model, names: Sequence[str] | None = None, *, role: Role = "evaluation"
    ) -> Eyes:
        """Classifiers by name, by default those of the model's profile; and what embeds pictures.

        That is the features of their network where they are heads of one, else the prior's image
        embedding where the model has a prior. EvidenceError where there is nothing at all.
        """
        if names is None:
            names = tuple(model.profile.classifiers.values())
        judges = tuple(load_classifier(name, role=role) for name in dict.fromkeys(names))
        heads = [judge for judge in judges if isinstance(judge, ClassifierHead)]
        # Only a prior makes an embedding of the picture; other models hand over words.
        site = model.conditioning_site if model.conditioning_site.startswith("prior/") else None
        if not judges and site is None:
            raise EvidenceError(
                f"{model.name} has no prior to read an image embedding from: name a classifier "
                "that looks at its pictures, as --classifier 'zero-shot:MODEL[man, woman, cat]'."
            )
        return cls(judges, None, heads[0]) if heads else cls(judges, site, None)

    @property
    def classes(self) -> tuple[tuple[str, str], ...]:
        """Every classifier's classes, as columns: where from, and which."""
        return tuple((judge.source, one) for judge in self.judges for one in judge.classes)

    def told(self) -> dict[str, Any]:
        """What tells these eyes from others."""
        return {
            "classifiers": [
                [judge.source, getattr(judge, "digest", judge.source), list(judge.classes)]
                for judge in self.judges
            ],
            "embedding": self.embeds,
        }

    @property
    def embeds(self) -> str | None:
        """Where the image embedding comes from; None without one."""
        return self.site or (self.head.network if self.head else None)

    def errors(self) -> dict[str, float | None]:
        """How often each classifier is right on held-out pictures; None where nobody has told."""
        return {
            judge.source: float(np.divide(*judge.accuracy()))
            if isinstance(judge, ClassifierHead)
            else None
            for judge in self.judges
        }

    def look(
        self,
        evaluator: Evaluator,
        name: str,
        contexts: Sequence[str],
        seeds: Sequence[int],
        *,
        show: bool = False,
    ) -> Seen:
        """Draw a name in every context and look; with `show` the first seed's pictures are kept."""
        design = Design.crossed([name], seeds, contexts)
        (drawing,) = evaluator.draw(
            [Condition(name)],
            design,
            read=[] if self.site is None else [self.site],
            pictures=bool(self.judges) or show,
        )
        shape = (len(contexts), len(seeds))
        rates = hits = np.empty((*shape, 0), np.float32)
        embedding = rates
        if self.judges:
            rates, hits = (part.reshape(*shape, -1) for part in self._judged(drawing))
        if self.site is not None:
            embedding = drawing.sites[self.site].values.reshape(*shape, -1)
        elif self.head is not None:
            embedding = self.head.features(drawing.pictures).reshape(*shape, -1)
        pictures = drawing.pictures[:: len(seeds)] if show else None
        return Seen(name, _mean(rates), _mean(hits), _mean(embedding), pictures)

    def _judged(self, drawing: Drawing) -> tuple[Floats, Floats]:
        """Probabilities `[cell, class]` and which is the likeliest, classifiers side by side."""
        odds = [drawing.probabilities(judge) for judge in self.judges]
        hits = [np.eye(one.shape[1], dtype=np.float32)[one.argmax(1)] for one in odds]
        return np.concatenate(odds, 1), np.concatenate(hits, 1)


def plan_of(
    model: Model, eyes: Eyes, contexts: Sequence[str], seeds: Sequence[int]
) -> dict[str, Any]:
    """What kept names are of: with another of these they are not taken for the same."""
    return {
        "model": model.name,
        "revision": model.revision,
        "how": model.load_options,
        "options": asdict(model.defaults),
        "contexts": list(contexts),
        "seeds": list(seeds),
        **eyes.told(),
    }


def _mean(values: Floats) -> Floats:
    """Over seeds."""
    return np.asarray(values.mean(1), np.float32)
