"""Any other pipeline that takes a prompt, with what can be learned from its components.

Its stages are its components, its sites their module trees, its steps the calls of a stage. Which
rows of a batch belong to which branch of guidance is not known: samples are drawn one at a time,
and all rows are one sample's, their positions one after another. Which sites affect the picture is
not known either: `affects_output` is None.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from diffusers.models.normalization import RMSNorm
from torch import nn
from typing_extensions import override

from clerestory.errors import ModelError, OptionError
from clerestory.models.core.family import (
    Encoding,
    Family,
    Handoff,
    SiteHook,
    StageCall,
    restore_generators,
    seed_generators,
)
from clerestory.models.core.hooks import halt_before
from clerestory.models.core.pipeline_state import pipeline_parts
from clerestory.models.core.schedulers import seeded_draws, seeded_scheduler
from clerestory.models.core.types import Branch, Options, Sample, Site
from clerestory.types import Floats, Pictures

__all__ = ["GenericFamily"]

STAGES = {
    "prior_text_encoder": "text",
    "prior_prior": "prior",
    "unet": "denoiser",
    "transformer": "denoiser",
    "decoder": "denoiser",
    "movq": "vae",
    "vqvae": "vae",
}
"""Stages by component name; any other component is a stage by its own name."""
ARGUMENTS = {
    "steps": ("num_inference_steps", "decoder_num_inference_steps"),
    "guidance": ("guidance_scale", "decoder_guidance_scale"),
    "prior_steps": ("prior_num_inference_steps",),
    "prior_guidance": ("prior_guidance_scale",),
    "height": ("height",),
    "width": ("width",),
    "negative": ("negative_prompt",),
}
"""Names of arguments by which pipelines take an option."""
CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.Sequential)
WIDTHS = ("out_features", "out_channels", "embedding_dim", "out_dim")
CHANNELS_LAST = (nn.Linear, nn.Embedding, nn.LayerNorm, nn.RMSNorm, RMSNorm)
"""Modules whose values have the units on the last axis, whatever the number of axes."""
CHANNELS_FIRST = (nn.modules.conv._ConvNd, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)
"""Modules whose values have the units on the second axis, also with three axes."""


class GenericFamily(Family):
    """A pipeline of no known family: stages from its components, sites from their modules.

    Args:
        pipeline: The diffusers pipeline.
        reason: Which part does not fit its own family; "" for a pipeline without one.

    Raises:
        ModelError: The pipeline takes no prompt.
    """

    description = (
        "This pipeline is of no known family: branches of guidance are not told apart (a sample's"
        " positions hold all of them), steps are calls, and whether a site affects the picture is"
        " unknown."
    )
    max_batch = 1
    encoder_stages = ()
    conditioning_site = ""

    def __init__(self, pipeline: Any, reason: str = "") -> None:
        if reason:
            self.description = f"Its {reason}. {type(self).description}"
        self.pipeline, self.progress_bar_pipelines = pipeline, (pipeline,)
        self.parameters = inspect.signature(pipeline.__call__).parameters
        if "prompt" not in self.parameters:
            raise ModelError(f"{type(pipeline).__name__} takes no prompt, so it cannot be opened.")
        components: dict[str, tuple[str, nn.Module]] = {}
        for name, part in pipeline.components.items():
            if isinstance(part, nn.Module):
                stage = _stage(name)
                # The first component of a kind takes the stage's name, a second one keeps its own.
                components[name if stage in components else stage] = (name, part)
        # Components come in the order of a constructor, not in that of running.
        self.stages = tuple(sorted(components, key=_rank))
        self.stage_modules = {stage: components[stage][1] for stage in self.stages}
        self.site_hooks = [
            hook for stage in self.stages for hook in _module_hooks(stage, *components[stage])
        ]
        self.defaults = Options().replace(**self._pipeline_defaults())
        self.negative_option = "guidance" if "negative_prompt" in self.parameters else ""

    @override
    def encode(self, batch: Sequence[Sample], until: str, branch: Branch) -> Encoding | None:
        # Such a pipeline runs as a whole, in `draw`.
        return Encoding({}, [generator.get_state() for generator in seed_generators(batch)])

    @override
    def draw(
        self, batch: Sequence[Sample], encoding: Encoding, handoff: Handoff, until: str
    ) -> Pictures | Floats | None:
        later = self.stages[self.stages.index(until) + 1 :]
        sample, output = batch[0], None
        arguments = {"prompt": sample.prompt, **self._pipeline_options(sample.options)}
        arguments |= {"generator": restore_generators(encoding.generators)[0], "output_type": "np"}
        roots = [self.stage_modules[stage] for stage in later]
        # Pipelines call an autoencoder's `decode`, which is not a module; its decoder is one.
        decoders: list[Any] = [getattr(root, "decoder", None) for root in roots]
        roots += [decoder for decoder in decoders if isinstance(decoder, nn.Module)]
        generator, name = arguments["generator"], type(self.pipeline).__name__
        with ExitStack() as contexts:
            for part in pipeline_parts(self.pipeline).values():
                if hasattr(part, "set_timesteps") and hasattr(part, "step"):
                    contexts.enter_context(seeded_scheduler(part, generator, [sample.seed]))
            # Such a pipeline may take no generator, or draw without it.
            contexts.enter_context(seeded_draws(name, [sample.seed], alone=True))
            contexts.enter_context(halt_before(roots))
            # Only what this pipeline takes: others have no `output_type` or `generator`.
            output = self.pipeline(**{k: v for k, v in arguments.items() if k in self.parameters})
        if output is None or later:
            return None
        images = output[0] if isinstance(output, tuple) else _images(output)
        if images is None:
            kind = type(self.pipeline).__name__
            raise ModelError(f"{kind} gave {', '.join(output)} and no pictures.")
        pictures = np.stack([np.asarray(image) for image in images])
        self._check_size(sample.options, pictures)
        return pictures

    @override
    def stage_call(self, stage: str, call: int, batch: Sequence[Sample]) -> StageCall:
        # All rows are of the one sample, whatever their branch.
        return StageCall({"cond": slice(0, len(batch))}, call, merged=True)

    def _check_size(self, options: Options, pictures: Pictures | Floats) -> None:
        """OptionError where the pipeline was asked for a size and drew another one."""
        asked, drawn = (options.height, options.width), pictures.shape[1:3]
        if asked not in (drawn, (self.defaults.height, self.defaults.width)):
            raise OptionError(
                f"{type(self.pipeline).__name__} was asked for {asked[1]}×{asked[0]} pixels and "
                f"drew {drawn[1]}×{drawn[0]}: ask for a size that it draws."
            )

    def _pipeline_options(self, options: Options) -> dict[str, Any]:
        """Options as arguments; sides are left to the pipeline where they are its own."""
        arguments = {
            name: getattr(options, option) for option, names in ARGUMENTS.items() for name in names
        }
        # At the default size the pipeline chooses: many compute theirs from their networks.
        if (options.height, options.width) == (self.defaults.height, self.defaults.width):
            del arguments["height"], arguments["width"]
        return {name: value for name, value in arguments.items() if value != ""}

    def _pipeline_defaults(self) -> dict[str, Any]:
        """Defaults of the pipeline's call, as options."""
        defaults: dict[str, Any] = {}
        for option, names in ARGUMENTS.items():
            values = [self.parameters[name].default for name in names if name in self.parameters]
            # None and lists mean that the pipeline decides at the call.
            plain = [value for value in values if isinstance(value, int | float | str)]
            if plain:
                defaults[option] = plain[0]
        return defaults


def _images(output: Any) -> Any:
    """The pictures of a pipeline's output; None where it has none."""
    # Kandinsky 5 calls them `image`.
    return getattr(output, "images", getattr(output, "image", None))


def _stage(component: str) -> str:
    if component.startswith("text_encoder"):
        return "text" + component.removeprefix("text_encoder")
    return STAGES.get(component, component)


def _rank(stage: str) -> tuple[int, str]:
    """A sort key for the order in which stages run, as far as their names tell."""
    # The order only decides before which stages a run may stop.
    first = ("text", "image_encoder", "prior", "text_proj")
    last = ("denoiser", "super_res_first", "super_res_last", "vae")
    if stage in first:
        return first.index(stage), stage
    if stage in last:
        # Any number above those of other stages, which run between the first and the last.
        return 9 + last.index(stage), stage
    return 0 if stage.startswith("text") else 5, stage


def _module_hooks(stage: str, name: str, root: nn.Module) -> Iterator[SiteHook]:
    """Every module with weights, and what the denoiser is fed.

    Modules without weights are left out: one non-linearity often serves several hooks.
    """
    if stage == "denoiser":
        arguments = list(inspect.signature(root.forward).parameters)
        for tap, known in (
            ("latent", ("sample", "hidden_states", "x")),
            ("condition", ("encoder_hidden_states", "cap_feats", "context", "class_labels")),
        ):
            argument = next((name for name in known if name in arguments), None)
            if argument is not None:
                site = Site(f"denoiser/{tap}", (None, None), name, None, module=root)
                yield SiteHook(
                    site,
                    is_input=True,
                    argument_name=argument,
                    argument_index=arguments.index(argument),
                )
        yield SiteHook(Site("denoiser/prediction", (None, None), name, None, module=root))
    for path, module in root.named_modules():
        weights = next(module.parameters(), None) is not None
        if path and weights and not isinstance(module, CONTAINERS):
            units = _width(module)
            site = Site(f"{stage}.{path}/out", (None, units), f"{name}.{path}", None, module=module)
            yield SiteHook(site, channels_last=_has_channels_last(module, units))


def _width(module: nn.Module) -> int | None:
    """A module's number of units, by the first attribute that tells it; None where the run does."""
    if isinstance(module, nn.GroupNorm):
        return module.num_channels
    widths = (getattr(module, width, None) for width in WIDTHS)
    return next((width for width in widths if isinstance(width, int)), None)


def _has_channels_last(module: nn.Module, units: int | None) -> bool | None:
    """Whether the last axis of a module's value is the units'; None where its shape tells."""
    if isinstance(module, CHANNELS_FIRST):
        return False
    if isinstance(module, CHANNELS_LAST):
        return True
    # A block of such layers alone, whose width is not known.
    layers = [
        each for each in module.modules() if next(each.parameters(recurse=False), None) is not None
    ]
    is_last = units is None and all(isinstance(layer, CHANNELS_LAST) for layer in layers)
    return True if is_last else None
