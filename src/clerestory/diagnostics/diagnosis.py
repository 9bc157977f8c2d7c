"""The result of an examination: a list of checks, and whether any of them fails."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from clerestory.reporting.escaping import visible

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Check", "Diagnosis"]


@dataclass(frozen=True)
class Check:
    """The outcome of one check.

    Attributes:
        name: The check's name, one word.
        ok: Whether it passes; None if it was skipped or is undecided.
        detail: What was measured; for a failure also what to do, for None the reason.
    """

    name: str
    ok: bool | None
    detail: str


@dataclass(frozen=True, repr=False)
class Diagnosis:
    """The outcome of an examination.

    Attributes:
        model: The name by which the model was loaded.
        pipeline: The class of its pipeline; "" for a model that did not open.
        family: The family that serves it; "" for a model that did not open.
        checks: The checks, in the order in which a reader needs them.
    """

    model: str
    pipeline: str
    family: str
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether no check fails; an undecided check is no failure."""
        return all(check.ok is not False for check in self.checks)

    def summary(self) -> str:
        """The number of checks that pass, and the names of those that fail or stay undecided."""
        passed = sum(check.ok is True for check in self.checks)
        texts = [f"{passed} of {len(self.checks)} checks passed"]
        for ok, outcome in ((False, "failed"), (None, "undecided")):
            names = [check.name for check in self.checks if check.ok is ok]
            texts += [f"{outcome}: {', '.join(names)}"] if names else []
        return "; ".join(texts) + "."

    def table(self) -> pd.DataFrame:
        """A row for each check: its name, whether it passes, and the detail."""
        import pandas as pd

        # As objects, so that None is not taken for a missing truth value.
        columns = {"name": str, "ok": object, "detail": str}
        return pd.DataFrame([asdict(check) for check in self.checks], columns=list(columns)).astype(
            {"ok": object}
        )

    def to_dict(self) -> dict[str, Any]:
        """The model, the checks and `ok`, ready for JSON."""
        return {
            "model": self.model,
            "pipeline": self.pipeline,
            "family": self.family,
            "checks": [asdict(check) for check in self.checks],
            "ok": self.ok,
        }

    def __repr__(self) -> str:
        return f"Diagnosis of {visible(self.model)}: {visible(self.summary())}"

    def _repr_html_(self) -> str:
        from markupsafe import escape

        table = self.table().map(lambda value: visible(value) if isinstance(value, str) else value)
        return f"<p>{escape(repr(self))}</p>" + table.to_html(escape=True, index=False)
