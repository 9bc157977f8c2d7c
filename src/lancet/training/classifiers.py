"""The classifiers: trained on renders alone, measured on renders that nothing was trained on."""

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
    """Learns one set of classifiers, one head a factor.

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
        """Cross-entropy of every factor on pictures moved, mirrored, blurred, made grainy.

        Args:
            rows: Numbers of renders, `[n]`.
            noise: The step's generator.

        Returns:
            One term a factor.
        """
        pictures = _worn(shifted(_mirrored(self.renders.batch(rows), noise), noise), noise)
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        with mixed_precision():
            logits = self.model(pictures)
        return factor_loss(logits, self.renders, rows)


@torch.no_grad()
def measure(net: FactorNet, renders: Renders) -> dict[str, Tensor]:
    """What the classifiers make of renders whose truth is known, as named arrays.

    `confusion/FACTOR`: counts `[true, said]`; `in_style/FACTOR`: `[style, 2]`, right ones and
    all, by the picture's style; `features/mean` and `features/covariance`, for Fréchet distances.

    `pairs`: how many pictures of two objects have both among the two likeliest subjects, of all.

    Of two objects either is a right answer for `subject`: the picture is counted as one of the
    object that was named, where it is one of the two.

    Args:
        net: The trained network.
        renders: Held-out renders.

    Returns:
        Arrays by name.
    """
    rows = torch.arange(len(renders)).split(250)
    features = torch.cat([net.body(renders.batch(part)) for part in rows])
    style = renders.codes[:, list(renders.classes).index("style")]
    found = {
        "features/mean": features.mean(0),
        "features/covariance": torch.cov(features.T),
    }
    for place, (factor, levels) in enumerate(renders.classes.items()):
        truth, said = renders.codes[:, place], net.heads[factor](features).argmax(1)
        if factor == "subject":
            paired = renders.second != levels.index(NONE)
            likeliest = net.heads[factor](features).topk(2).indices.sort(1).values
            wanted = torch.stack([truth, renders.second], 1).sort(1).values
            both = (likeliest == wanted).all(1) & paired
            found["pairs"] = torch.stack([both.sum(), paired.sum()]).int()
            # Otherwise a classifier that names the second object of a pair would count as wrong.
            truth = torch.where(paired & (said == renders.second), said, truth)
        cells = torch.bincount(truth * len(levels) + said, minlength=len(levels) ** 2)
        found[f"confusion/{factor}"] = cells.view(len(levels), -1).int()
        styles = len(renders.classes["style"])
        right = torch.bincount(style, weights=(truth == said).double(), minlength=styles)
        every = torch.bincount(style, minlength=styles)
        found[f"in_style/{factor}"] = torch.stack([right.long(), every], 1).int()
    return found


def _mirrored(pictures: Tensor, noise: torch.Generator) -> Tensor:
    """Half of the pictures, left and right changed: what they show does not depend on it."""
    turned = torch.rand(len(pictures), 1, 1, 1, generator=noise) < 0.5
    return torch.where(turned, pictures.flip(-1), pictures)


def _worn(pictures: Tensor, noise: torch.Generator) -> Tensor:
    """A third of the pictures blurred by an average of 3×3, a third made grainy."""
    # Drawn pictures have a slight blur and grain that renders lack: neither may mislead.
    third = len(pictures) // 3
    blurred = functional.avg_pool2d(
        functional.pad(pictures[:third], (1, 1, 1, 1), mode="replicate"), 3, stride=1
    )
    mix = torch.rand(third, 1, 1, 1, generator=noise)
    grainy = pictures[third : 2 * third]
    grain = torch.randn(grainy.shape, generator=noise)
    grainy = grainy + 0.12 * torch.rand(len(grainy), 1, 1, 1, generator=noise) * grain
    return torch.cat([pictures[:third].lerp(blurred, mix), grainy, pictures[2 * third :]])
