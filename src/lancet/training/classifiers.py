"""The classifiers: trained on renders, measured on held-out renders."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from lancet.networks import FactorNet, classifier_net
from lancet.training.loop import Stage, mixed_precision
from lancet.training.renders import Renders
from lancet.training.settings import Plan
from lancet.training.vision import channels_last, factor_loss, shifted
from lancet.world.scene import NONE

__all__ = ["FactorStage", "measure", "network"]


def network(which: str, classes: Mapping[str, tuple[str, ...]]) -> FactorNet:
    """The untrained network of set `a` (residual) or `b` (plain).

    Args:
        which: `a` or `b`.
        classes: The classes of each factor.

    Returns:
        The network, with random weights.
    """
    return classifier_net(which, {factor: len(levels) for factor, levels in classes.items()})


class FactorStage(Stage):
    """Trains one set of classifiers, with one head per factor.

    Args:
        which: `a` or `b`.
        renders: The pictures; each set has its own.
        plan: The stage's plan.
    """

    def __init__(self, which: str, renders: Renders, plan: Plan) -> None:
        self.name = f"classifier_{which}"
        self.renders, self.rows, self.plan = renders, len(renders), plan
        self.model = channels_last(network(which, renders.classes))

    def loss(self, rows: Tensor, noise: torch.Generator) -> dict[str, Tensor]:
        """Cross-entropy of every factor on shifted, mirrored, blurred and noisy pictures.

        Returns:
            One term per factor.
        """
        pictures = _degraded(shifted(_mirrored(self.renders.batch(rows), noise), noise), noise)
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        with mixed_precision():
            logits = self.model(pictures)
        return factor_loss(logits, self.renders, rows)


@torch.no_grad()
def measure(net: FactorNet, renders: Renders) -> dict[str, Tensor]:
    """Measure the classifiers on renders.

    - `confusion/FACTOR`: counts `[true, predicted]`. Of two objects either is a correct `subject`:
      the picture counts as one of the predicted object, where that is one of the two.
    - `in_style/FACTOR`: `[style, 2]`, the correct predictions and all, by the picture's style.
    - `pairs`: pictures of two objects whose two likeliest subjects are both correct, and all.
    - `features/mean` and `features/covariance`, for Fréchet distances.

    Args:
        net: The trained network.
        renders: Held-out renders.

    Returns:
        Arrays by name.
    """
    # In batches: features of all renders at once would not fit.
    rows = torch.arange(len(renders)).split(250)
    features = torch.cat([net.body(renders.batch(part)) for part in rows])
    style = renders.codes[:, list(renders.classes).index("style")]
    measured = {
        "features/mean": features.mean(0),
        "features/covariance": torch.cov(features.T),
    }
    for column, (factor, levels) in enumerate(renders.classes.items()):
        truth, predicted = renders.codes[:, column], net.heads[factor](features).argmax(1)
        if factor == "subject":
            paired = renders.second != levels.index(NONE)
            likeliest = net.heads[factor](features).topk(2).indices.sort(1).values
            # Sorted, since the order of a pair does not matter.
            pair = torch.stack([truth, renders.second], 1).sort(1).values
            both = (likeliest == pair).all(1) & paired
            measured["pairs"] = torch.stack([both.sum(), paired.sum()]).int()
            # Otherwise the second object of a pair would count as a wrong prediction.
            truth = torch.where(paired & (predicted == renders.second), predicted, truth)
        cells = torch.bincount(truth * len(levels) + predicted, minlength=len(levels) ** 2)
        measured[f"confusion/{factor}"] = cells.view(len(levels), -1).int()
        styles = len(renders.classes["style"])
        right = torch.bincount(style, weights=(truth == predicted).double(), minlength=styles)
        total = torch.bincount(style, minlength=styles)
        measured[f"in_style/{factor}"] = torch.stack([right.long(), total], 1).int()
    return measured


def _mirrored(pictures: Tensor, noise: torch.Generator) -> Tensor:
    """The pictures, half of them mirrored at random; no factor depends on left and right."""
    flip = torch.rand(len(pictures), 1, 1, 1, generator=noise) < 0.5
    return torch.where(flip, pictures.flip(-1), pictures)


def _degraded(pictures: Tensor, noise: torch.Generator) -> Tensor:
    """A third of the pictures blurred by an average of 3×3, a third with noise."""
    # The decoder's pictures have a slight blur and noise that renders lack.
    third = len(pictures) // 3
    blurred = functional.avg_pool2d(
        functional.pad(pictures[:third], (1, 1, 1, 1), mode="replicate"), 3, stride=1
    )
    mix = torch.rand(third, 1, 1, 1, generator=noise)
    grainy = pictures[third : 2 * third]
    grain = torch.randn(grainy.shape, generator=noise)
    grainy = grainy + 0.12 * torch.rand(len(grainy), 1, 1, 1, generator=noise) * grain
    return torch.cat([pictures[:third].lerp(blurred, mix), grainy, pictures[2 * third :]])
