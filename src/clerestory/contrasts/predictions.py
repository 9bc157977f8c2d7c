"""Predictions of classifiers from a recording's pictures, as columns `predicted.NAME`."""

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
from clerestory.evaluation.warnings import EvidenceWarning
from clerestory.models.loading.plugins import find_checkpoint, model_names
from clerestory.types import Role

if TYPE_CHECKING:
    import pandas as pd

    from clerestory.recordings import Recording

__all__ = ["PASSED", "PictureClassifiers"]

PASSED = "picture_filter.passed"
"""Boolean column: whether the picture passes the filter."""


@dataclass(frozen=True)
class PictureClassifiers:
    """The classifiers of a recording's pictures.

    Attributes:
        recording: The recording.
        columns: Names of classifiers by NAME of the column `predicted.NAME`.
        picture_filter: `CLASSIFIER=CLASS` that must be predicted for a picture; None for no filter.
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
        """Find the classifiers of the columns `predicted.NAME` in queries.

        Args:
            recording: The recording.
            queries: Boolean expressions.
            classifiers: Names of classifiers by NAME; by default those of the recorded model.
            picture_filter: `CLASSIFIER=CLASS`, or None.

        Returns:
            The classifiers.

        Raises:
            EvidenceError: A classifier is given for a column that no query names, or a column has
                none.
        """
        columns = [column for query in queries for column in PREDICTED.findall(query)]
        # `predicted.mood` and `predicted.mood.confidence` are one classifier.
        names = list(dict.fromkeys(column.split(".")[1] for column in columns))
        unused = sorted(set(classifiers) - set(names))
        if unused:
            raise EvidenceError(
                f"A classifier is given for predicted.{unused[0]}, which no query names. Queries "
                f"name: {', '.join(f'predicted.{name}' for name in names) or 'none'}."
            )
        missing = [name for name in names if name not in classifiers]
        defaults = _default_classifiers(recording) if missing else {}
        for name in missing:
            if name not in defaults:
                raise EvidenceError(
                    f"No classifier is known for predicted.{name}: name one, as {name}=FAMILY:NAME."
                )
        by_name = {**defaults, **classifiers}
        return cls(recording, {name: by_name[name] for name in names}, picture_filter)

    def predictions(
        self, extra: Mapping[str, pd.DataFrame] | None = None
    ) -> dict[str, pd.DataFrame]:
        """Predict every column by the classifier of each half.

        Args:
            extra: Extra columns by half, as DataFrames indexed by sample.

        Returns:
            For each half a table with a row for each sample in `Recording.rows`, and the columns
            `predicted.NAME` and `predicted.NAME.confidence`.

        Raises:
            EvidenceError: The extra columns lack a sample.
            RegistryError: The filter's classifier has no such class.
        """
        import pandas as pd

        if self.picture_filter is not None:
            # Checked before any prediction is stored in the recording.
            for half in HALVES:
                parse_target(self.picture_filter, role=half)
        tables: dict[str, pd.DataFrame] = {}
        for half in HALVES:
            columns = [
                label_samples(self.recording, classifier, column=name, role=half)
                for name, classifier in self.columns.items()
            ]
            columns += [] if extra is None else [self._recorded_rows(extra[half])]
            table = pd.concat([pd.DataFrame(index=self.recording.rows), *columns], axis=1)
            if self.picture_filter is not None:
                table[PASSED] = matches_target(self.recording, self.picture_filter, role=half)
            tables[half] = table
        return tables

    def _recorded_rows(self, table: pd.DataFrame) -> pd.DataFrame:
        missing = sorted(set(self.recording.rows.tolist()) - set(table.index))
        if missing:
            raise EvidenceError(f"The labels have no row for sample {missing[0]}.")
        # In the order of the recording's good samples.
        return table.loc[self.recording.rows]

    def checks(self) -> dict[str, HumanCheck | None]:
        """A person's check of each evaluation classifier, by source; None if there is none."""
        return {
            classifier.source: load_check(self.recording, classifier)
            for classifier in self._classifiers("evaluation")
        }

    def warnings(self) -> list[EvidenceWarning]:
        """Warn of classifiers that share weights with the recorded model, or serve both halves."""
        model_weights = set(self.recording.manifest.get("encoders", ()))
        warnings = []
        pairs = zip(self._classifiers("selection"), self._classifiers("evaluation"), strict=True)
        for selection, evaluation in pairs:
            weights = set(getattr(evaluation, "weight_digests", ()))
            # Encoders of the same weights share their errors, so the classifier may recognise what
            # the model was prompted for instead of what the picture shows.
            if weights & model_weights:
                share = len(weights & model_weights) / len(weights)
                text = (
                    f"{evaluation.source} shares {share:.0%} of its weight matrices with the "
                    "recorded model, so its predictions are not independent of it."
                )
                warnings.append(EvidenceWarning("classifier", text))
            # A measurement, such as of colour, is not trained: there is only one.
            is_measurement = getattr(evaluation, "is_measurement", False)
            if selection.source == evaluation.source and not is_measurement:
                text = f"One classifier ({evaluation.source}) both selects and evaluates."
                warnings.append(EvidenceWarning("classifier", text))
        return warnings

    def _classifiers(self, role: Role) -> list[Classifier]:
        # Split at the last `=`: the name of a classifier may contain one.
        filters = [self.picture_filter.rpartition("=")[0]] if self.picture_filter else []
        names = dict.fromkeys([*self.columns.values(), *filters])
        return [load_classifier(name, role=role) for name in names]


def _default_classifiers(recording: Recording) -> Mapping[str, str]:
    """The classifiers in the profile of the recorded model, by factor."""
    name = recording.manifest["plan"]["model"]["name"]
    # Only names of plug-ins: a recording from somebody else must not choose a folder to open.
    model = find_checkpoint(name) if name in model_names() else None
    return {} if model is None else model.profile.classifiers
