"""Fold affine edits into the weights beside their sites.

An edit that is an affine map, `M x + c`, at every position, step and branch needs no hook: it is
folded into the linear layer that writes the site (`M W`, `M b + c`), or into the one that reads it
(`W M`, `b + W c`). Each edit gives its own map (`as_affine`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from clerestory.edits import Affine, SiteEdit
from clerestory.errors import EditError
from clerestory.models import Edit, Model
from clerestory.models.core.addresses import parse
from clerestory.models.core.types import Site

__all__ = ["Fold", "fold", "in_order", "nearest"]

READERS = {
    "mlp.activation_fn": "mlp.fc2",
    "ff.net.0": "ff.net.2",
    "ff_context.net.0": "ff_context.net.2",
}
"""The layer that reads a tap of neurons, by the end of the tap's path."""


@dataclass(eq=False)
class Fold:
    """New values for the parameters of a layer.

    Attributes:
        path: The dotted path of the layer in the pipeline.
        layer: The layer.
        values: New values by the parameter's name, in float64.
    """

    path: str
    layer: nn.Module
    values: dict[str, Tensor]

    @cached_property
    def before(self) -> dict[str, Tensor]:
        """The values before, by the parameter's name, in float64."""
        return {name: _float64(getattr(self.layer, name)) for name in self.values}

    def put(self, values: Mapping[str, Tensor]) -> None:
        """Set the parameters to these values.

        Args:
            values: By the parameter's name; they are cast to the parameter's dtype and device.
        """
        for name, value in values.items():
            parameter = getattr(self.layer, name).data
            parameter.copy_(value.to(parameter.device, parameter.dtype))


def fold(model: Model, edit: Edit) -> Fold:
    """Compute the weights that do what an edit does.

    Args:
        model: The model; its weights are read, not changed.
        edit: The edit.

    Returns:
        The layer, with its new values in float64.

    Raises:
        EditError: It cannot be folded; the message has the reason.
    """
    address = parse(edit.site)
    site = model.sites[address.site]
    if address.steps is not None:
        raise EditError("it acts at some steps only, and weights are the same at all")
    if getattr(edit, "positions", "all") != "all":
        raise EditError("it acts at some positions only")
    if getattr(edit, "region", None) is not None:
        raise EditError("it acts in a region of the picture only, and weights in all of it")
    if site.base:
        raise EditError("it acts on latents of a dictionary, which is no part of the weights")
    if site.address == model.conditioning_site and site.tap == "embedding":
        return _into_the_prior(model, edit, site.path)
    branch = getattr(edit, "branch", "cond")
    if branch == "uncond" or (branch == "cond" and _is_guided(model, site)):
        raise EditError("it acts on one branch of guidance only, and weights on both")
    units = site.shape[1]
    if site.module is None or units is None:
        raise EditError("no layer of weights makes the value there")
    matrix, shift = _affine(edit, units)
    # The reader first: a layer that writes the site may have other readers too, which
    # are then changed with it.
    for find_layer, reads in ((_reader, True), (_writer, False)):
        named_layer = find_layer(model, site)
        if named_layer is not None:
            path, layer = named_layer
            return Fold(path, layer, _folded_values(layer, matrix, shift, reads=reads))
    raise EditError("no single linear layer writes or reads what is there")


def in_order(model: Model, edits: Sequence[Edit]) -> list[Edit]:
    """Order edits for folding: those at sites that a layer reads first, the last of them first.

    Args:
        model: The model.
        edits: In the order in which they act.

    Returns:
        The same edits, in the order in which to fold them.
    """
    reading = [edit for edit in edits if _reader(model, model.sites[parse(edit.site).site])]
    # The weight becomes W M2 M1: what is multiplied in last acts on the activations first.
    # By identity: edits hold tensors, which `==` does not compare to one truth value.
    return [*reversed(reading), *(edit for edit in edits if not any(edit is r for r in reading))]


def nearest(model: Model, edit: Edit) -> SiteEdit | None:
    """The edit closest to this one that could be folded: affine, at all steps and positions.

    Args:
        model: The model.
        edit: An edit that cannot be folded.

    Returns:
        The edit that could be; None where the kind of edit has no affine map near it.
    """
    if not isinstance(edit, SiteEdit):
        return None
    site = model.sites[parse(edit.site).site]
    affine = edit.nearest_affine(site.shape[1] or edit.units or 0)
    if affine is None:
        return None
    # The conditioning site has no unconditional value of its own that weights could make.
    return affine.everywhere("cond" if site.address == model.conditioning_site else "both")


def _affine(edit: Edit, units: int) -> Affine:
    """The edit as a map; EditError where it is none."""
    affine = edit.as_affine(units) if isinstance(edit, SiteEdit) else None
    if affine is None:
        raise EditError(f"it is not an affine map of the activations: {edit!r}")
    return affine


def _is_guided(model: Model, site: Site) -> bool:
    """Whether guidance sends rows without the prompt through this stage too."""
    options = model.defaults
    two_branches = getattr(model.family, "has_two_branches", None)
    # diffusers leaves out the unconditional branch at a guidance of 1 or less.
    guided = options.guidance > 1 if two_branches is None else bool(two_branches(options))
    prior = options.prior_guidance > 1 and "prior" in model.family.stages
    return site.stage != "vae" and (guided or prior)


def _into_the_prior(model: Model, edit: Edit, path: str) -> Fold:
    """A prior that ends with `latents * clip_std + clip_mean`; both can be changed unit by unit."""
    if getattr(edit, "branch", "cond") != "cond":
        raise EditError("the embedding of the empty picture is made by no weights of the prior")
    prior = getattr(model.pipeline, path)
    if not hasattr(prior, "clip_mean"):
        raise EditError("no layer of weights makes the value there")
    matrix, shift = _affine(edit, prior.clip_mean.shape[-1])
    factors = matrix.diagonal()
    if not torch.equal(matrix, torch.diag(factors)):
        raise EditError("the prior scales and shifts its embedding unit by unit, and mixes none")
    mean = factors * _float64(prior.clip_mean) + shift
    std = factors * _float64(prior.clip_std)
    return Fold(path, prior, {"clip_mean": mean, "clip_std": std})


def _folded_values(
    layer: nn.Module, matrix: Tensor, shift: Tensor, *, reads: bool
) -> dict[str, Tensor]:
    """New weight and bias of a layer that reads or writes the site."""
    weight, bias = _float64(layer.weight), layer.bias
    # Before a reading layer the map acts first, W (M x + s); after a writing
    # one last, M (W x + b) + s.
    values = {"weight": weight @ matrix if reads else matrix @ weight}
    bias_shift = weight @ shift if reads else shift
    if bias is not None:
        before = _float64(bias)
        values["bias"] = (before if reads else matrix @ before) + bias_shift
    elif bias_shift.abs().max() > 0:
        raise EditError("the layer there has no bias to take up the shift")
    return values


def _float64(parameter: Any) -> Tensor:
    """A copy in float64, on the CPU."""
    # Double, so that folding and its inverse add no error that float32 could hold.
    copied: Tensor = parameter.detach().double().cpu().clone()
    return copied


def _reader(model: Model, site: Site) -> tuple[str, nn.Linear] | None:
    """The linear layer that alone reads the site, with its path."""
    if model.hooks_by_address[site.address].is_input:
        return (site.path, site.module) if isinstance(site.module, nn.Linear) else None
    for end, following in READERS.items():
        if site.path.endswith(end):
            path = site.path.removesuffix(end) + following
            layer = _module(model, path)
            return (path, layer) if isinstance(layer, nn.Linear) else None
    return None


def _writer(model: Model, site: Site) -> tuple[str, nn.Linear] | None:
    """The linear layer whose output is the site's value, unchanged, with its path."""
    module = site.module
    if isinstance(module, nn.Linear):
        return site.path, module
    # diffusers' attention adds the residual and rescales after `to_out`: then that is not the
    # output.
    if site.tap.endswith("attn") and not getattr(module, "residual_connection", False):
        part = model.hooks_by_address[site.address].output_index
        for name in ("to_add_out",) if part else ("out_proj", "to_out.0"):
            layer = dict(module.named_modules()).get(name)
            if isinstance(layer, nn.Linear) and getattr(module, "rescale_output_factor", 1) == 1:
                return f"{site.path}.{name}", layer
    return None


def _module(model: Model, path: str) -> Any:
    """A module of the pipeline by its dotted path."""
    component, _, submodule = path.partition(".")
    return getattr(model.pipeline, component).get_submodule(submodule)
