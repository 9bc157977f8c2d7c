"""What a model draws of a name in each context: classifiers' rates, and an image embedding.

observer = Observer.of(model)
observation = observer.observe(Evaluator(model), "alexandra elbakyan", CONTEXTS, (0, 1))
observation.rates                       # [context, class], seeds averaged
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from clerestory.classifiers import Classifier, ClassifierHead, load_classifier
from clerestory.errors import EvidenceError
from clerestory.evaluation import Condition, Design, Evaluator
from clerestory.models import Model
from clerestory.models.core.seeds import check_seeds, item_seeds
from clerestory.models.provenance import model_identity
from clerestory.types import Floats, Pictures

__all__ = ["NameSeeds", "Observation", "Observer"]


@dataclass(frozen=True)
class NameSeeds:
    """Seeds of names, which the contexts of a name share.

    Attributes:
        explicit: The same seeds for every name; None gives each name seeds of its own.
        per_item: Number of seeds of each name.
        seed: Gives other seeds.
    """

    explicit: tuple[int, ...] | None
    per_item: int
    seed: int

    @classmethod
    def of(cls, seeds: int | Sequence[int] | None, per_item: int, seed: int) -> NameSeeds:
        """Check seeds.

        Args:
            seeds: Seeds of every name; None for seeds of its own.
            per_item: How many of these.
            seed: Gives others.

        Returns:
            The seeds.

        Raises:
            SeedError: There is none, or one is out of range.
        """
        explicit = None if seeds is None else check_seeds(seeds)
        # `item_seeds` checks the number.
        count = len(item_seeds("", per_item)) if explicit is None else len(explicit)
        return cls(explicit, count, seed)

    def __call__(self, name: str) -> tuple[int, ...]:
        """The seeds of a name."""
        if self.explicit is not None:
            return self.explicit
        return item_seeds(name, self.per_item, self.seed)

    def to_json(self) -> list[int] | dict[str, int]:
        """What identifies them, ready for JSON."""
        if self.explicit is not None:
            return list(self.explicit)
        return {"per_item": self.per_item, "seed": self.seed}


@dataclass(frozen=True, eq=False)
class Observation:
    """What a model draws of a name, seeds averaged.

    Attributes:
        name: The name.
        rates: Probabilities, `[context, class]`; no columns without classifiers.
        hits: How often each class is the likeliest, `[context, class]`.
        embedding: `[context, unit]`; no columns where there is no embedding.
        pictures: Those of the first seed, `[context, height, width, 3]`; None if not requested.
    """

    name: str
    rates: Floats
    hits: Floats
    embedding: Floats
    pictures: Pictures | None = None


@dataclass(frozen=True, eq=False)
class Observer:
    """What is computed of a model's pictures.

    Attributes:
        classifiers: Evaluation classifiers.
        site: Where an image embedding is read; None where `head` or nothing gives one.
        head: The classifier whose network's features are the embedding.
    """

    classifiers: tuple[Classifier, ...]
    site: str | None
    head: ClassifierHead | None

    @classmethod
    def of(cls, model: Model, names: Sequence[str] | None = None) -> Observer:
        """Choose classifiers and an embedding.

        The embedding is the features of the classifiers' network where they are heads of one, else
        that of a model's prior.

        Args:
            model: The model.
            names: Classifiers; by default those of the model's profile.

        Returns:
            An observer with evaluation classifiers, an embedding, or both.

        Raises:
            EvidenceError: There is neither a classifier nor an embedding.
            RegistryError: There is no such classifier.
        """
        if names is None:
            names = tuple(model.profile.classifiers.values())
        classifiers = tuple(load_classifier(name) for name in dict.fromkeys(names))
        heads = [each for each in classifiers if isinstance(each, ClassifierHead)]
        # Only a prior predicts an image embedding; other conditioning sites hold words.
        site = model.conditioning_site if model.conditioning_site.startswith("prior/") else None
        if not classifiers and site is None:
            raise EvidenceError(
                f"{model.name} has no prior to read an image embedding from: name a classifier of "
                "its pictures, as --classifiers 'zero-shot:MODEL[man, woman, cat]'."
            )
        # Features of pictures come first: what the prior predicts need not be drawn.
        return cls(classifiers, None, heads[0]) if heads else cls(classifiers, site, None)

    @property
    def classes(self) -> tuple[tuple[str, str], ...]:
        """The classifier and label of every column."""
        return tuple((each.source, label) for each in self.classifiers for label in each.classes)

    @property
    def embedding(self) -> str | None:
        """Where the image embedding comes from; None without one."""
        return self.site or (self.head.network if self.head else None)

    def accuracies(self) -> dict[str, float | None]:
        """Each classifier's accuracy on held-out pictures; None where it is unknown."""
        return {
            each.source: float(np.divide(*each.accuracy()))
            if isinstance(each, ClassifierHead)
            else None
            for each in self.classifiers
        }

    def plan(self, model: Model, contexts: Sequence[str], seeds: NameSeeds) -> dict[str, Any]:
        """Everything that observations of a name depend on.

        Args:
            model: The model.
            contexts: Templates with `{item}` where the name goes.
            seeds: Seeds of names.

        Returns:
            Ready for JSON; a folder of another plan is not continued.
        """
        return {
            **model_identity(model),
            "options": asdict(model.defaults),
            "contexts": list(contexts),
            "seeds": seeds.to_json(),
            "classifiers": [
                # A function has no weights: its name stands for it.
                [each.source, getattr(each, "digest", each.source), list(each.classes)]
                for each in self.classifiers
            ],
            "embedding": self.embedding,
        }

    def observe(
        self,
        evaluator: Evaluator,
        name: str,
        contexts: Sequence[str],
        seeds: Sequence[int],
        *,
        pictures: bool = False,
    ) -> Observation:
        """Draw a name in every context with every seed.

        Args:
            evaluator: Draws.
            name: The name.
            contexts: Templates with `{item}` where the name goes.
            seeds: Seeds of each context.
            pictures: Whether to keep the pictures of the first seed.

        Returns:
            The means over seeds.
        """
        (drawing,) = evaluator.draw(
            [Condition(name)],
            # All contexts share the seeds, so that they differ by the context alone.
            Design.crossed([name], seeds, contexts),
            read=[] if self.site is None else [self.site],
            pictures=bool(self.classifiers) or pictures,
        )
        rates = hits = embedding = np.empty((len(drawing.design), 0), np.float32)
        if self.classifiers:
            probabilities = [drawing.probabilities(each) for each in self.classifiers]
            # One-hot rows, whose mean over seeds is how often each class is the likeliest.
            likeliest = [np.eye(p.shape[1], dtype=np.float32)[p.argmax(1)] for p in probabilities]
            rates, hits = np.concatenate(probabilities, 1), np.concatenate(likeliest, 1)
        if self.site is not None:
            embedding = drawing.sites[self.site].values
        elif self.head is not None:
            embedding = self.head.features(drawing.pictures)
        rates, hits, embedding = (
            np.asarray(each.reshape(len(contexts), len(seeds), -1).mean(1), np.float32)
            for each in (rates, hits, embedding)
        )
        # Seeds are the faster index of the cells.
        first_seed = drawing.pictures[:: len(seeds)] if pictures else None
        return Observation(name, rates, hits, embedding, first_seed)
