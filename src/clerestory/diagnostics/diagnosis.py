"""What an examination of a model gives: a list of checks, and whether any of them fails."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from clerestory.reporting.escaping import visible

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Check", "Diagnosis"]


@dataclass(frozen=True)
class Check:
    """One promise, tried.

    Attributes:
        name: Its name, one word.
        ok: Whether the promise holds; None where that cannot be checked.
        detail: What was measured; of a failure also what to do, of None why.
    """

    name: str
    ok: bool | None
    detail: str


@dataclass(frozen=True, repr=False)
class Diagnosis:
    """What was found out about a model.

    Attributes:
        model: What it was loaded by.
        pipeline: The class of its pipeline; "" for a model that did not open.
        family: What serves it; "" for a model that did not open.
        checks: The checks, in the order in which a reader needs them.
    """

    model: str
    pipeline: str
    family: str
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether no check fails; one that cannot be made is no failure."""
        return all(check.ok is not False for check in self.checks)

    def summary(self) -> str:
        """The number of checks that hold, and the names of those that do not."""
        held = sum(check.ok is True for check in self.checks)
        texts = [f"{held} of {len(self.checks)} checks hold"]
        for ok, words in ((False, "failed"), (None, "not made")):
            names = [check.name for check in self.checks if check.ok is ok]
            texts += [f"{words}: {', '.join(names)}"] if names else []
        return "; ".join(texts) + "."

    def table(self) -> pd.DataFrame:
        """A row for each check: its name, whether it holds, and the detail."""
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
