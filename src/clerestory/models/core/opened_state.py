"""What a model was opened as, to tell whether its weights are still those of its revision."""

from __future__ import annotations

from typing import Any

from torch import nn

from clerestory.models.core.bindings import Bindings
from clerestory.models.core.pipeline_digests import pipeline_state
from clerestory.models.core.pipeline_state import pipeline_parts
from clerestory.models.core.weight_digests import is_readable, weight_versions

__all__ = ["OpenedState"]


class OpenedState:
    """The parts, weights and settings of a pipeline when it was opened.

    Args:
        pipeline: The pipeline.
        bindings: What its family was built on.
        revision: A digest that tells its weights from any others; "" where it is unknown.
    """

    def __init__(self, pipeline: Any, bindings: Bindings, revision: str) -> None:
        self._pipeline, self._bindings = pipeline, bindings
        # Empty where nothing says what was opened.
        self._state = pipeline_state(pipeline) if revision else ""
        self.set_revision(revision)

    def set_revision(self, revision: str) -> None:
        """Take the weights that the pipeline has now for those of a revision.

        Args:
            revision: The revision; "" for unknown.
        """
        self._revision, self._has_revision = revision, True
        self._versions = weight_versions(self._networks()) if revision else ()
        self._dtype = getattr(self._pipeline, "dtype", None)

    def remember(self) -> None:
        """Take weights, schedulers and settings as they are now for those that were opened."""
        self._state = pipeline_state(self._pipeline)

    @property
    def revision(self) -> str:
        """The revision; "" where parts or weights were changed since."""
        if not self._revision:
            return ""
        versions = weight_versions(self._networks())
        # Compared only where torch has counted a change: comparing weights takes a moment.
        if versions != self._versions:
            self._versions = versions
            self._has_revision = self._keeps_revision()
        return self._revision if self._has_revision else ""

    @property
    def replaced_parts(self) -> list[str]:
        """Parts of the pipeline that are not as they were opened."""
        return self._bindings.changed_parts(self._pipeline)

    def is_current(self) -> bool:
        """Whether weights, schedulers and settings are those that were opened."""
        return self._state in ("", pipeline_state(self._pipeline))

    def _networks(self) -> list[nn.Module]:
        parts = pipeline_parts(self._pipeline).values()
        return [part for part in parts if isinstance(part, nn.Module)]

    def _keeps_revision(self) -> bool:
        """Whether parts and weights are those that the revision is of."""
        # A LoRA that is unloaded leaves the layers that were there before, and one that was fused
        # first its weights in them.
        if self.replaced_parts:
            return False
        # Rounded or offloaded weights are still those of the revision, and cannot be compared.
        is_rounded = getattr(self._pipeline, "dtype", None) != self._dtype
        if is_rounded or not all(map(is_readable, self._networks())):
            return self._has_revision
        return self.is_current()
