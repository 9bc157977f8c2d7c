"""Any other pipeline that takes a prompt, as far as it can be known without knowing it.

Its stages are its components, its sites their module trees, its steps the calls of a stage. Which
rows of a batch belong to which branch of guidance is not known: samples are drawn one at a time,
and all rows are one sample's, their positions one after another. What feeds the picture is not
known either: `affects_output` is None.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from clerestory.errors import ModelError
from clerestory.models.core.family import (
    Encoded,
    Family,
    Handoff,
    SiteHook,
    StageCall,
    hide_progress_bars,
    restore_generators,
    seed_generators,
)
from clerestory.models.core.hooks import halt_before
from clerestory.models.core.types import Branch, Options, Sample, Site

__all__ = ["Generic"]

STAGES = {
    "prior_text_encoder": "text",
    "prior_prior": "prior",
    "unet": "denoiser",
    "transformer": "denoiser",
    "decoder": "denoiser",
    "movq": "vae",
    "vqvae": "vae",
}
"""What a component's name means; any other component is a stage of its own name."""
ARGUMENTS = {
    "steps": ("num_inference_steps", "decoder_num_inference_steps"),
    "guidance": ("guidance_scale", "decoder_guidance_scale"),
    "prior_steps": ("prior_num_inference_steps",),
    "prior_guidance": ("prior_guidance_scale",),
    "height": ("height",),
    "width": ("width",),
    "negative": ("negative_prompt",),
}
"""What pipelines call the options of a sample."""
CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.Sequential)
WIDTHS = ("out_features", "out_channels", "embedding_dim", "num_channels", "out_dim")


class Generic(Family):
    """A pipeline of no known family: stages from its components, sites from their modules."""

    description = (
        "This pipeline is of no family that is known: branches of guidance are not told apart (a"
        " sample's positions hold all of them), steps are calls, and `affects_output` is unknown."
    )
    max_batch = 1
    encoder_stages = ()
    conditioning_site = ""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline
        self.takes = inspect.signature(pipeline.__call__).parameters
        if "prompt" not in self.takes:
            raise ModelError(f"{type(pipeline).__name__} takes no prompt, so it cannot be opened.")
        found: dict[str, tuple[str, nn.Module]] = {}
        for name, part in pipeline.components.items():
            if isinstance(part, nn.Module):
                stage = _stage(name)
                found[name if stage in found else stage] = (name, part)
        self.stages = tuple(sorted(found, key=_rank))
        self.stage_modules = {stage: found[stage][1] for stage in self.stages}
        self.site_hooks = [hook for stage in self.stages for hook in _places(stage, *found[stage])]
        self.defaults = Options().replace(**self._own_defaults())
        self.negative_option = "guidance" if "negative_prompt" in self.takes else ""

    def encode(self, batch: Sequence[Sample], until: str, branch: Branch) -> Encoded | None:
        """Nothing: all that such a pipeline does it does at once."""
        return Encoded({}, [each.get_state() for each in seed_generators(batch)])

    def draw(
        self, batch: Sequence[Sample], encoded: Encoded, handoff: Handoff, until: str
    ) -> NDArray[np.uint8] | None:
        """The whole pipeline, until a later stage begins."""
        later = self.stages[self.stages.index(until) + 1 :]
        sample, drawn = batch[0], None
        given = {"prompt": sample.prompt, **self._asked(sample.options)}
        given |= {"generator": restore_generators(encoded.generators)[0], "output_type": "np"}
        roots = [self.stage_modules[stage] for stage in later]
        # Pipelines call an autoencoder's `decode`, which is no module; its decoder is one.
        inner: list[Any] = [getattr(root, "decoder", None) for root in roots]
        roots += [each for each in inner if isinstance(each, nn.Module)]
        with halt_before(roots):
            drawn = self.pipeline(**{k: v for k, v in given.items() if k in self.takes})
        if drawn is None or later:
            return None
        return _bytes(drawn[0] if isinstance(drawn, tuple) else drawn.images)

    def stage_call(self, stage: str, call: int, batch: Sequence[Sample]) -> StageCall:
        """One sample, whatever rows there are."""
        return StageCall({"cond": slice(0, len(batch))}, call, merged=True)

    def hide_progress_bars(self) -> AbstractContextManager[None]:
        """No progress bars while this is open."""
        return hide_progress_bars(self.pipeline)

    def _asked(self, options: Options) -> dict[str, Any]:
        """What the pipeline takes of the options; its own size where none was asked for."""
        told = {name: getattr(options, ours) for ours, names in ARGUMENTS.items() for name in names}
        if (options.height, options.width) == (self.defaults.height, self.defaults.width):
            told = {name: value for name, value in told.items() if name not in ("height", "width")}
        return {name: value for name, value in told.items() if value != ""}

    def _own_defaults(self) -> dict[str, Any]:
        """The defaults of the pipeline's own call, where it has any."""
        told: dict[str, Any] = {}
        for ours, names in ARGUMENTS.items():
            values = [self.takes[name].default for name in names if name in self.takes]
            plain = [value for value in values if isinstance(value, int | float | str)]
            if plain:
                told[ours] = plain[0]
        return told


def _stage(component: str) -> str:
    if component.startswith("text_encoder"):
        return "text" + component.removeprefix("text_encoder")
    return STAGES.get(component, component)


def _rank(stage: str) -> tuple[int, str]:
    """In which order stages run, as far as their names tell."""
    known = ("text", "image_encoder", "prior", "text_proj")
    late = ("denoiser", "super_res_first", "super_res_last", "vae")
    order = {
        **{one: i for i, one in enumerate(known)},
        **{one: 9 + i for i, one in enumerate(late)},
    }
    return order.get(stage, 0 if stage.startswith("text") else 5), stage


def _places(stage: str, name: str, root: nn.Module) -> Iterator[SiteHook]:
    """Every module with weights, and what the denoiser is fed.

    Modules without weights are left out: one non-linearity often serves several hooks.
    """
    if stage == "denoiser":
        arguments = list(inspect.signature(root.forward).parameters)
        for tap, known in (
            ("latent", ("sample", "hidden_states", "x")),
            ("condition", ("encoder_hidden_states", "class_labels")),
        ):
            argument = next((one for one in known if one in arguments), None)
            if argument is not None:
                site = Site(f"denoiser/{tap}", (None, None), name, None, module=root)
                yield SiteHook(site, "input", argument, argument_index=arguments.index(argument))
        yield SiteHook(Site("denoiser/prediction", (None, None), name, None, module=root))
    for path, module in root.named_modules():
        weights = next(module.parameters(), None) is not None
        if path and weights and not isinstance(module, CONTAINERS):
            units = next((getattr(module, width, None) for width in WIDTHS), None)
            units = units if isinstance(units, int) else None
            site = Site(f"{stage}.{path}/out", (None, units), f"{name}.{path}", None, module=module)
            yield SiteHook(site)


def _bytes(pictures: Any) -> NDArray[np.uint8]:
    array = np.stack([np.asarray(picture) for picture in pictures])
    if array.dtype == np.uint8:
        return array
    bytes_: NDArray[np.uint8] = (np.clip(np.nan_to_num(array), 0, 1) * 255).round().astype(np.uint8)
    return bytes_
