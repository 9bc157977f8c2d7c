"""What classifiers predict from a recording's pictures, as columns `predicted.NAME` of queries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clerestory.classifiers import (
    Classifier,
    HumanCheck,
    label_samples,
    load_check,
    load_classifier,
    matches_target,
    parse_target,
)
from clerestory.contrasts.arms import HALVES
from clerestory.contrasts.queries import PREDICTED
from clerestory.errors import EvidenceError
from clerestory.models.loading.plugins import find_checkpoint, model_names
from clerestory.types import Role

if TYPE_CHECKING:
    import pandas as pd

    from clerestory.recordings import Recording

__all__ = ["PASSED", "PictureClassifiers"]

PASSED = "picture_filter.passed"
"""The column that says which pictures pass the filter."""


@dataclass(frozen=True)
class PictureClassifiers:
    """The classifiers of a recording's pictures.

    Attributes:
        recording: The recording.
        columns: Names of classifiers by column: `mood` for `predicted.mood`.
        picture_filter: `CLASSIFIER=CLASS` that a picture has to show, None for all pictures.
    """

    recording: Recording
    columns: Mapping[str, str]
    picture_filter: str | None = None

    @classmethod
    def from_queries(
        cls,
        recording: Recording,
        queries: Iterable[str],
        classifiers: Mapping[str, str],
        picture_filter: str | None,
    ) -> PictureClassifiers:
        """The classifiers of the columns `predicted.NAME` that queries name.

        Args:
            recording: The recording.
            queries: Boolean expressions.
            classifiers: Classifiers by NAME; for others the recorded model's default is taken.
            picture_filter: `CLASSIFIER=CLASS`, or None.

        Returns:
            The classifiers.

        Raises:
            EvidenceError: A classifier is given for a column that no query names, or a column has
                none.
        """
        named = [name.split(".")[1] for query in queries for name in PREDICTED.findall(query)]
        names = list(dict.fromkeys(named))
        unused = sorted(set(classifiers) - set(names))
        if unused:
            raise EvidenceError(
                f"A classifier is given for predicted.{unused[0]}, which no query names. Queries "
                f"name: {', '.join(f'predicted.{name}' for name in names) or 'none'}."
            )
        missing = [name for name in names if name not in classifiers]
        known = {**(_default_classifiers(recording) if missing else {}), **classifiers}
        for name in missing:
            if name not in known:
                raise EvidenceError(
                    f"No classifier is known for predicted.{name}: name one, as {name}=FAMILY:NAME."
                )
        return cls(recording, {name: known[name] for name in names}, picture_filter)

    def predictions(
        self, extra: Mapping[str, pd.DataFrame] | None = None
    ) -> dict[str, pd.DataFrame]:
        """Predictions by half, with a row for each good sample of the recording.

        Args:
            extra: Extra columns as DataFrames indexed by sample, by half.

        Returns:
            Tables with the columns `predicted.NAME` and `predicted.NAME.confidence`.

        Raises:
            EvidenceError: The extra columns lack a sample.
            RegistryError: The filter's classifier has no such class.
        """
        import pandas as pd

        if self.picture_filter is not None:
            for half in HALVES:  # before any prediction is stored in the recording
                parse_target(self.picture_filter, role=half)
        tables: dict[str, pd.DataFrame] = {}
        for half in HALVES:
            columns = [
                label_samples(self.recording, source, column=name, role=half)
                for name, source in self.columns.items()
            ]
            columns += [] if extra is None else [self._complete(extra[half])]
            table = pd.concat([pd.DataFrame(index=self.recording.rows), *columns], axis=1)
            if self.picture_filter is not None:
                table[PASSED] = matches_target(self.recording, self.picture_filter, role=half)
            tables[half] = table
        return tables

    def _complete(self, table: pd.DataFrame) -> pd.DataFrame:
        missing = sorted(set(self.recording.rows.tolist()) - set(table.index))
        if missing:
            raise EvidenceError(f"The labels have no row for sample {missing[0]}.")
        return table.loc[self.recording.rows]

    def checks(self) -> dict[str, HumanCheck | None]:
        """A person's check of each evaluation classifier, by source; None without one."""
        return {
            classifier.source: load_check(self.recording, classifier)
            for classifier in self._classifiers("evaluation")
        }

    def warnings(self) -> list[str]:
        """Reasons not to trust predictions: weights of the recorded model, one set for both."""
        recorded = set(self.recording.manifest.get("encoders", ()))
        warnings = []
        sets = zip(self._classifiers("selection"), self._classifiers("evaluation"), strict=True)
        for selection, evaluation in sets:
            weights = set(getattr(evaluation, "weight_digests", ()))
            # A shared encoder may see in the picture what the model meant, and not what is there.
            if weights & recorded:
                share = len(weights & recorded) / len(weights)
                warnings.append(
                    f"{evaluation.source} shares {share:.0%} of its weight matrices with the "
                    "recorded model, so its predictions are not independent of it."
                )
            # A measurement, such as a colour, has no training that two sets could differ in.
            measured = getattr(evaluation, "is_measurement", False)
            if selection.source == evaluation.source and not measured:
                warnings.append(f"One classifier ({evaluation.source}) both selects and evaluates.")
        return warnings

    def _classifiers(self, role: Role) -> list[Classifier]:
        # At the last `=`: a classifier's name may contain one.
        filters = [self.picture_filter.rpartition("=")[0]] if self.picture_filter else []
        names = dict.fromkeys([*self.columns.values(), *filters])
        return [load_classifier(name, role=role) for name in names]


def _default_classifiers(recording: Recording) -> Mapping[str, str]:
    """Those of the recorded model's profile, by factor."""
    name = recording.manifest["plan"]["model"]["name"]
    # By a plug-in's name only: a recording from somebody else must not choose a folder to open.
    model = find_checkpoint(name) if name in model_names() else None
    return {} if model is None else model.profile.classifiers
