"""Clusters of samples, which stand for the classes of a classifier where there is none.

What samples are clustered by is a kind of `feature_kinds`, such as `embedding`, or any recorded
site: the latents of a dictionary as well. Centers are fitted on the selection half alone; the
samples of the other half belong to the nearest one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clerestory.errors import EvidenceError
from clerestory.io.reading import path_inside
from clerestory.io.tensor_files import read_tensors, write_tensors
from clerestory.registry import Registry
from clerestory.types import Bools, Floats, Pictures

if TYPE_CHECKING:
    from clerestory.models import Model
    from clerestory.recordings import Recording

__all__ = [
    "ClusterFields",
    "Clusters",
    "Features",
    "cluster_names",
    "feature_kinds",
    "fit_clusters",
    "open_features",
]

FILE = "clusters.safetensors"
"""The arrays of clusters in a folder of groups."""
RESTARTS = 10
"""Random starts of k-means, of which the best is taken."""


class Features(Protocol):
    """What samples are clustered by."""

    def of_samples(self) -> Floats:
        """Features of all good samples of the recording, `[sample, feature]`."""

    def of_pictures(self, pictures: Pictures) -> Floats:
        """Features of new pictures.

        Args:
            pictures: `[n, height, width, 3]`.

        Returns:
            `[n, feature]`.

        Raises:
            EvidenceError: They are not of the picture alone.
        """


FeatureKind: TypeAlias = Callable[["Recording | None", "Model"], Features]

feature_kinds: Registry[FeatureKind] = Registry(
    "feature of clusters", package="clerestory.contrasts.features", group="clerestory.features"
)
"""Functions of the recording and its model, by what `group --by` calls them; without a recording,
for clusters that were loaded, features are of new pictures alone."""


@dataclass(frozen=True, eq=False)
class SiteFeatures:
    """The values of a recorded site, means over steps and positions."""

    recording: Recording | None
    site: str

    def of_samples(self) -> Floats:
        """Values `[sample, unit]`."""
        assert self.recording is not None
        # A chunk at a time: latents of all positions of all samples would not fit into memory.
        parts = self.recording.chunks(self.site)
        # Positions that a prompt does not have are NaN.
        means = [np.nanmean(part, axis=tuple(range(1, part.ndim - 1))) for part in parts]
        return np.concatenate(means)

    def of_pictures(self, pictures: Pictures) -> Floats:
        """Values are of a run, not of a picture."""
        raise EvidenceError(
            f"Clusters of {self.site} do not classify pictures; those of by='embedding' do."
        )


def open_features(by: str, recording: Recording, model: Model | None) -> tuple[Features, str]:
    """What samples are clustered by.

    Args:
        by: A kind of `feature_kinds`, or the address of a recorded site.
        recording: The recording.
        model: The recorded model; None opens it where a kind needs it.

    Returns:
        The features, and the site that they are of; "" where they are of no site.

    Raises:
        RegistryError: There is no such kind and no such site.
    """
    if "/" in by:
        site = recording.address(by)
        return SiteFeatures(recording, site), site
    from clerestory.recordings.identity import open_recorded_model

    kind = feature_kinds[by]
    return kind(recording, model or open_recorded_model(recording.store.plan.model)), ""


@dataclass(frozen=True, eq=False)
class Clusters:
    """Clusters as classes: a `Classifier` of pictures, where the features are of pictures.

    Attributes:
        source: What they are clusters of.
        by: A kind of `feature_kinds`, or the address of a site.
        classes: Their names.
        center: What is subtracted from features, `[feature]`.
        centers: Their centers, `[cluster, feature]`.
        variance: Mean squared distance of samples from their center, per feature.
        features: Gives the features of pictures; None in clusters that were loaded, until `open`.
    """

    source: str
    by: str
    classes: tuple[str, ...]
    center: NDArray[np.float64]
    centers: NDArray[np.float64]
    variance: float
    features: Features | None

    @property
    def digest(self) -> str:
        """Digest of the centers."""
        values = np.vstack([self.center, self.centers])
        return hashlib.blake2b(values.tobytes(), digest_size=16).hexdigest()

    def __call__(self, pictures: Pictures) -> Floats:
        """Probabilities of the clusters of pictures, `[n, cluster]`."""
        if self.features is None:
            raise EvidenceError(
                f"{self.source.capitalize()} were loaded: clusters.open(model) gives them the "
                "model that sees pictures."
            )
        return self.probabilities(self.features.of_pictures(pictures))

    def open(self, model: Model) -> Clusters:
        """The same clusters, for pictures as a model sees them.

        Args:
            model: The model that was recorded.

        Returns:
            Clusters with features.

        Raises:
            EvidenceError: The model has no image encoder.
        """
        if self.features is not None:
            return self
        is_site = "/" in self.by
        features = SiteFeatures(None, self.by) if is_site else feature_kinds[self.by](None, model)
        return replace(self, features=features)

    def to_fields(self) -> ClusterFields:
        """What is no array, for JSON."""
        return ClusterFields(self.source, self.by, self.classes, self.variance, self.digest)

    def write(self, folder: Path) -> None:
        """Write the arrays.

        Args:
            folder: The folder of the groups.
        """
        arrays = {"center": self.center, "centers": self.centers}
        write_tensors(folder / FILE, arrays, framework="np")

    def probabilities(self, features: Floats) -> NDArray[np.float64]:
        """Probabilities of clusters, under normal distributions of one variance around centers.

        Args:
            features: `[n, feature]`.

        Returns:
            `[n, cluster]`.
        """
        from scipy.special import softmax

        distances = _squared_distances(_directions(features, self.center), self.centers)
        return np.asarray(softmax(-distances / (2 * self.variance), axis=1))


@dataclass(frozen=True)
class ClusterFields:
    """Clusters as JSON has them; their arrays are in a file beside it.

    Attributes:
        source: As in `Clusters`.
        by: As in `Clusters`.
        classes: As in `Clusters`.
        variance: As in `Clusters`.
        digest: Digest of the arrays.
    """

    source: str
    by: str
    classes: tuple[str, ...]
    variance: float
    digest: str

    def read(self, folder: Path) -> Clusters:
        """Read the arrays.

        Args:
            folder: The folder of the groups.

        Returns:
            The clusters, without features.

        Raises:
            EvidenceError: The file is missing or damaged, or of other clusters.
        """
        path = path_inside(folder, FILE, EvidenceError)
        arrays = read_tensors(path, EvidenceError, "np")
        center, centers = (arrays.get(name, np.empty(0)) for name in ("center", "centers"))
        if centers.shape != (len(self.classes), *center.shape) or center.ndim != 1:
            raise EvidenceError(f"{path} has not the centers of {len(self.classes)} clusters.")
        clusters = Clusters(
            self.source, self.by, self.classes, center, centers, self.variance, None
        )
        if clusters.digest != self.digest:
            raise EvidenceError(f"{path} has the centers of other clusters.")
        return clusters


def cluster_names(count: int) -> tuple[str, ...]:
    """Names of clusters.

    Args:
        count: How many.

    Returns:
        `cluster 1` and so on.
    """
    return tuple(f"cluster {number}" for number in range(1, count + 1))


def fit_clusters(
    by: str, features: Features, values: Floats, selection: Bools, count: int, seed: int
) -> Clusters:
    """Fit clusters to the samples of the selection half by k-means.

    Args:
        by: A kind of `feature_kinds`, or the address of a site.
        features: What they are clustered by.
        values: The features of all samples, `[sample, feature]`.
        selection: Whether a sample is of the selection half, `[sample]`.
        count: How many clusters.
        seed: Random seed of the starts.

    Returns:
        The clusters, the largest first.

    Raises:
        EvidenceError: There are fewer different samples than clusters, or values are not finite.
    """
    from sklearn.cluster import KMeans

    fitted = np.asarray(values[selection], np.float64)
    if not np.isfinite(fitted).all() or len(np.unique(fitted, axis=0)) < count:
        raise EvidenceError(f"The selection half has no {count} different samples to cluster.")
    center = fitted.mean(0)
    directions = _directions(fitted, center)
    found = KMeans(count, n_init=RESTARTS, random_state=seed).fit(directions)
    # The largest first: k-means numbers clusters by chance.
    order = np.argsort(-np.bincount(found.labels_, minlength=count), kind="stable")
    variance = float(found.inertia_) / directions.size
    return Clusters(
        f"clusters of {by}",
        by,
        cluster_names(count),
        center,
        np.asarray(found.cluster_centers_, np.float64)[order],
        # Clusters of equal samples have no variance.
        max(variance, 1e-12),
        features,
    )


def _directions(values: Floats, center: Floats) -> NDArray[np.float64]:
    """Values less the mean, at length 1: embeddings are compared by their angle."""
    centered = np.asarray(values, np.float64) - center
    length = np.linalg.norm(centered, axis=1, keepdims=True)
    return centered / np.where(length > 0, length, 1)


def _squared_distances(values: Floats, centers: Floats) -> NDArray[np.float64]:
    products = values @ centers.T
    return np.asarray((values**2).sum(1)[:, None] - 2 * products + (centers**2).sum(1))
