"""The small convolutional networks of Lancet: two kinds of classifier and CLIP's image side.

Each maps pictures `[n, 3, 64, 64]` in −1 … 1 to features `[n, width]`; `Heads` maps features to the
logits of every factor. `ResidualNet` and `PlainNet` differ in skip connections, normalisation,
non-linearity and pooling, so that they make different errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

__all__ = ["FactorNet", "Heads", "PlainNet", "ResidualNet", "classifier_net"]


class ResidualNet(nn.Module):
    """A small ResNet: batch norm, ReLU, mean and max pooling. Source: He et al. 2016.

    Args:
        widths: Channels of the stages, of which each halves the picture.
        depth: Residual blocks of a stage; the first stage, and the last of four or more, have one.
    """

    def __init__(self, widths: tuple[int, ...] = (32, 64, 128, 144), depth: int = 2) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv(3, widths[0], stride=2), _Residual(widths[0])]
        for narrow, wide in pairwise(widths):
            # The last and widest stage has one block: at 4×4 positions more do not help.
            last = wide is widths[-1] and len(widths) > 3
            layers += [_conv(narrow, wide, stride=2)]
            layers += [_Residual(wide) for _ in range(1 if last else depth)]
        self.body = nn.Sequential(*layers)
        self.width = 2 * widths[-1]

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures `[n, 3, 64, 64]` to `[n, width]`: the mean and the maximum of each channel."""
        maps = self.body(pictures)
        # The maximum finds a small object that the mean over a whole scene drowns.
        return torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], dim=1)


class PlainNet(nn.Module):
    """A small VGG: no skips, group norm, SiLU, learned attention pooling. Source: Simonyan 2015.

    Args:
        widths: Channels, from the first layer to the last.
    """

    def __init__(self, widths: tuple[int, ...] = (32, 64, 96, 128, 128)) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 5, stride=2, padding=2), nn.SiLU()]
        for index, (narrow, wide) in enumerate(pairwise(widths)):
            layers += [_plain(narrow, wide), _plain(wide, wide)]
            # Three halvings after the first convolution's: the last maps have 4×4 positions.
            layers += [nn.MaxPool2d(2)] if index < 3 else []
        self.body = nn.Sequential(*layers)
        self.attend = nn.Conv2d(widths[-1], 2, 1)
        self.width = 2 * widths[-1]

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures `[n, 3, 64, 64]` to `[n, width]`: two averages, weighted by attention."""
        maps = self.body(pictures).flatten(2)
        attention = self.attend(maps.unflatten(2, (1, -1))).flatten(2).softmax(-1)
        return torch.einsum("nkp,ncp->nkc", attention, maps).flatten(1)


class Heads(nn.ModuleDict):
    """One linear layer per factor: features `[n, width]` to logits `[n, class]` by factor name.

    Args:
        width: Length of the features.
        classes: Number of classes of each factor.
    """

    def __init__(self, width: int, classes: Mapping[str, int]) -> None:
        super().__init__({factor: nn.Linear(width, count) for factor, count in classes.items()})

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Logits by factor.

        Args:
            features: `[n, width]`.

        Returns:
            By factor `[n, class]`.
        """
        return {factor: head(features) for factor, head in self.items()}


class FactorNet(nn.Module):
    """A body and its heads: pictures to the logits of every factor.

    Args:
        body: The network that gives features.
        classes: Number of classes of each factor.
    """

    def __init__(self, body: ResidualNet | PlainNet, classes: Mapping[str, int]) -> None:
        super().__init__()
        self.body = body
        # Few parameters and many renders: a little dropout is enough.
        self.drop = nn.Dropout(0.1)
        self.heads = Heads(body.width, classes)

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """Logits `[n, class]` by factor.

        Args:
            pictures: `[n, 3, 64, 64]`, from -1 to 1.

        Returns:
            By factor `[n, class]`; with dropout while training.
        """
        logits: dict[str, Tensor] = self.heads(self.drop(self.body(pictures)))
        return logits


def classifier_net(which: str, classes: Mapping[str, int]) -> FactorNet:
    """The untrained network of classifier set `a` (residual) or `b` (plain).

    Args:
        which: `a` or `b`.
        classes: Number of classes of each factor.

    Returns:
        The network, with random weights.
    """
    return FactorNet(ResidualNet() if which == "a" else PlainNet(), classes)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.one = _conv(width, width)
        self.two = nn.Sequential(
            # Without bias: batch norm subtracts the mean and adds a bias of its own.
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, maps: Tensor) -> Tensor:
        # After the sum, as in the original: an identity is reached where the weights are zero.
        return torch.relu(maps + self.two(self.one(maps)))


def _conv(narrow: int, wide: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(narrow, wide, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(wide), nn.ReLU())


def _plain(narrow: int, wide: int) -> nn.Sequential:
    convolution = nn.Conv2d(narrow, wide, 3, padding=1)
    return nn.Sequential(convolution, nn.GroupNorm(8, wide), nn.SiLU())
