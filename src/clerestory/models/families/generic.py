"""Any other pipeline that takes a prompt, with what can be learned from its parts and by watching.

Its stages are its components, its sites their module trees. In which order they run, which rows are
of which branch of guidance, which calls are a step, which axis is the units' and whether samples
can be drawn together is learned from a few runs of two steps (`models.core.probe`), made when
somebody first reads, edits or lists sites. What they do not show stays as it is without them: then
a sample is drawn alone, all rows are its own, their positions one after another, and each call is
a step. Which sites affect the picture is not known: `affects_output` is None, and False of a module
that is never called.
"""

from __future__ import annotations

import inspect
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
import torch
from diffusers.models.normalization import RMSNorm
from torch import Generator, nn
from typing_extensions import override

from clerestory.errors import ModelError, OptionError, SiteError
from clerestory.models.core.extras import Extra, check_extra
from clerestory.models.core.family import (
    Encoding,
    Family,
    Handoff,
    SiteHook,
    StageCall,
    restore_generators,
    seed_generators,
)
from clerestory.models.core.hooks import halt_before, watch_inputs
from clerestory.models.core.pipeline_state import (
    hide_progress_bars,
    pipeline_parts,
    prepare_pipeline,
)
from clerestory.models.core.probe import StagePattern, count_rows, count_steps
from clerestory.models.core.schedulers import scheduler_sigma, seeded_draws, seeded_scheduler
from clerestory.models.core.types import Branch, Options, Sample, Site
from clerestory.models.families.observation_cache import find_observations, keep_observations
from clerestory.models.families.observations import (
    Mode,
    Observations,
    Observer,
    observed_hook,
)
from clerestory.types import Floats, Pictures, Progress

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
    "true_guidance": ("true_cfg_scale",),
    "perturbed_guidance": ("pag_scale",),
    "negative": ("negative_prompt",),
}
"""Names of arguments by which pipelines take an option."""
CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.Sequential)
WIDTHS = ("out_features", "out_channels", "embedding_dim", "out_dim")
CHANNELS_LAST = (nn.Linear, nn.Embedding, nn.LayerNorm, nn.RMSNorm, RMSNorm)
"""Modules whose values have the units on the last axis, whatever the number of axes."""
CHANNELS_FIRST = (nn.modules.conv._ConvNd, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)
"""Modules whose values have the units on the second axis, also with three axes."""
PROBE_WIDTHS = (32, 64, 128, 256)
"""Pixels; the first at which a pipeline draws is taken, else its default size."""


class GenericFamily(Family):
    """A pipeline of no known family: stages from its components, sites from their modules.

    Args:
        pipeline: The diffusers pipeline.
        reason: Which part does not fit its own family; "" for a pipeline without one.

    Raises:
        ModelError: The pipeline takes no prompt.
    """

    encoder_stages = ()
    conditioning_site = ""

    def __init__(self, pipeline: Any, reason: str = "") -> None:
        self.reason = reason
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
        self.components = components
        self.stage_modules = {stage: _network(part) for stage, (_, part) in components.items()}
        # In the order of their names, until it is known in which they run.
        self.stages = tuple(sorted(components, key=_rank))
        self.site_hooks = [
            hook for stage in self.stages for hook in _module_hooks(stage, *components[stage])
        ]
        self.defaults = Options().replace(**self._pipeline_defaults())
        self.option_names = tuple(
            option
            for option, names in ARGUMENTS.items()
            # The size of a pipeline that takes none is checked against what it draws.
            if {*names} & {*self.parameters} or option in ("height", "width")
        )
        self.negative_option = "guidance" if "negative" in self.option_names else ""
        self.schedulers = {
            name: part
            for name, part in pipeline_parts(pipeline).items()
            if hasattr(part, "set_timesteps") and hasattr(part, "step")
        }
        self._observed = Observations()
        self._spans: Mapping[str, tuple[float, float]] = {}
        self._patterns: Mapping[str, StagePattern] = {}
        self._rows: dict[str, int] = {}
        # Steps of this run by stage, and by scheduler, which several stages may share.
        self._steps: Counter[str] = Counter()
        self._scheduler_steps: Counter[str] = Counter()
        self._latest = ""

    @property
    def description(self) -> str:  # type: ignore[override]
        """What is known of the pipeline, for users."""
        start = f"Its {self.reason}. " if self.reason else ""
        start += "This pipeline is of no known family: "
        affects = "Whether a site affects the picture is unknown."
        known = self._observed.patterns
        if self.probes and not known and not self._observed.failure:
            return (
                f"{start}its branches of guidance and its steps are inferred from short runs when "
                "its sites are first read, edited or listed."
            )
        if not known:
            failure = self._observed.failure
            return (
                f"{start}{f'a short run of it failed ({failure}), so that ' if failure else ''}"
                "branches of guidance are not told apart (a sample's positions hold all of them), "
                f"and steps are calls. {affects}"
            )
        unknown = [stage for stage in self.stages if stage not in next(iter(known.values()))]
        parts = [
            "its sites, branches and steps were inferred from short runs.",
            *([f"Branches cannot be told apart in {', '.join(unknown)}."] if unknown else []),
            *([] if self._observed.batch_modes else ["Samples are drawn one at a time."]),
            affects,
        ]
        return start + " ".join(parts)

    @override
    def batch_limit(self, addresses: Sequence[str], options: Options) -> int | None:
        mode = self._mode(options)
        if mode not in self._observed.batch_modes:
            return 1
        # Rows that cannot be assigned to branches are all taken for one sample's.
        hooks = [self.hooks_by_address[address] for address in addresses]
        patterns = self._observed.patterns[mode]
        mixed = any(hook.mixes_branches or hook.site.stage not in patterns for hook in hooks)
        return 1 if mixed else None

    @override
    def prepare(self, options: Options, progress: Progress) -> None:
        if not self.probes:
            return
        mode = self._mode(options)
        if not self._observed.patterns:
            self._observed = find_observations(self.pipeline) or self._observed
        if mode not in self._observed.patterns and not self._observed.failure:
            observer = Observer(
                self.components,
                self.stage_modules,
                self.schedulers,
                draw=lambda batch: self._call(batch, seed_generators(batch), []),
                sizes=self._sizes(),
            )
            with (
                torch.no_grad(),
                hide_progress_bars(self.pipeline),
                prepare_pipeline(self.pipeline, whole_vae=True),
            ):
                observer.observe(self._observed, mode, options, progress)
            keep_observations(self.pipeline, self._observed)
        if self._observed.modules and not self._spans:
            self._arrange()

    def _sizes(self) -> list[dict[str, int]]:
        """Sizes to try for short runs, the smallest first; an empty one where none can be asked."""
        if not {"height", "width"} <= set(self.parameters):
            return [{}]
        # Twice as high as wide, so that the axes of a map differ.
        sizes = [{"height": 2 * width, "width": width} for width in PROBE_WIDTHS]
        return [*sizes, {"height": self.defaults.height, "width": self.defaults.width}]

    def _mode(self, options: Options) -> Mode:
        scales = (options.guidance, options.prior_guidance, options.true_guidance)
        perturbed = options.perturbed_guidance > 0
        return (*(scale > 1 for scale in scales), perturbed, bool(options.negative))

    def _arrange(self) -> None:
        """Put stages and sites in the order in which they ran, with what was seen of them."""
        modules = self._observed.modules
        self._spans = {stage: self._span(stage) for stage in self.components}
        self.stages = tuple(sorted(self.components, key=lambda stage: self._spans[stage][0]))
        hooks = [
            observed_hook(
                hook,
                modules.get(hook.site.path),
                self._observed.inputs.get(stage, {}),
                tall=self._has_tall_maps,
            )
            for stage in self.stages
            for hook in _module_hooks(stage, *self.components[stage])
        ]
        # A network's inputs come before what its modules give, idle modules after everything.
        self.site_hooks = sorted(
            hooks,
            key=lambda hook: (
                self.stages.index(hook.site.stage),
                -1.0
                if hook.is_input
                else modules[hook.site.path].first_call
                if hook.site.path in modules
                else math.inf,
            ),
        )
        self.__dict__.pop("hooks_by_address", None)

    @property
    def _has_tall_maps(self) -> bool:
        options = self._observed.options
        return options.get("height", 0) == 2 * options.get("width", 0) > 0

    def _span(self, stage: str) -> tuple[float, float]:
        """The first and the last call of a stage's modules; infinite where there is none."""
        name = self.components[stage][0]
        calls = [
            trace
            for path, trace in self._observed.modules.items()
            if path == name or path.startswith(f"{name}.")
        ]
        return (
            min((trace.first_call for trace in calls), default=math.inf),
            max((trace.last_call for trace in calls), default=math.inf),
        )

    @override
    def encode(self, batch: Sequence[Sample], until: str, branch: Branch) -> Encoding | None:
        # Such a pipeline runs as a whole, in `draw`.
        return Encoding({}, [generator.get_state() for generator in seed_generators(batch)])

    @override
    def draw(
        self, batch: Sequence[Sample], encoding: Encoding, handoff: Handoff, until: str
    ) -> Pictures | Floats | None:
        later = self._later_stages(until)
        generators = restore_generators(encoding.generators)
        self._patterns = self._observed.patterns.get(self._mode(batch[0].options), {})
        self._steps, self._scheduler_steps, self._rows = Counter(), Counter(), {}
        with watch_inputs(self.stage_modules, self._count_rows):
            pictures = self._call(batch, generators, later)
        if pictures is None or until != self.stages[-1]:
            return None
        self._check_size(batch[0].options, pictures)
        return pictures

    def _later_stages(self, until: str) -> list[str]:
        """Stages that run when nothing of a stage and of those before it runs any more."""
        index = self.stages.index(until)
        if not self._spans:
            return [*self.stages[index + 1 :]]
        # Text encoders may take turns: a negative prompt comes after all have read the prompt.
        end = max(self._spans[stage][1] for stage in self.stages[: index + 1])
        return [stage for stage in self.stages if self._spans[stage][0] > end]

    def _call(
        self, batch: Sequence[Sample], generators: list[Generator], later: Sequence[str]
    ) -> Pictures | Floats | None:
        """Call the pipeline; None where it was left before the first of some stages."""
        first, alone, output = batch[0], len(batch) == 1, None
        arguments: dict[str, Any] = self._pipeline_options(first.options)
        arguments |= {"prompt": first.prompt, "generator": generators[0], "output_type": "np"}
        if not alone:
            arguments |= {"prompt": [sample.prompt for sample in batch], "generator": generators}
            if "negative_prompt" in arguments:
                arguments["negative_prompt"] = [first.options.negative] * len(batch)
        arguments |= Extra(first.options.extra).arguments([sample.prompt for sample in batch])
        seeds, name = [sample.seed for sample in batch], type(self.pipeline).__name__
        with ExitStack() as contexts:
            for scheduler_name, scheduler in self.schedulers.items():
                contexts.enter_context(
                    seeded_scheduler(scheduler, generators[0] if alone else generators, seeds)
                )
                contexts.enter_context(
                    count_steps(scheduler, partial(self._count_step, scheduler_name))
                )
            # Such a pipeline may take no generator, or draw without it.
            contexts.enter_context(seeded_draws(name, seeds, alone=alone))
            contexts.enter_context(halt_before([self.stage_modules[stage] for stage in later]))
            # Only what this pipeline takes: others have no `output_type` or `generator`.
            output = self.pipeline(**{k: v for k, v in arguments.items() if k in self.parameters})
        if output is None:
            return None
        images = output[0] if isinstance(output, tuple) else _images(output)
        if images is None:
            raise ModelError(f"{name} gave {', '.join(output)} and no pictures.")
        return np.stack([np.asarray(image) for image in images])

    def _count_rows(self, stage: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self._rows[stage], self._latest = count_rows([*args, *kwargs.values()]), stage

    def _count_step(self, name: str) -> None:
        self._steps[self._latest] += 1
        self._scheduler_steps[name] += 1

    @override
    def stage_call(self, stage: str, call: int, batch: Sequence[Sample]) -> StageCall:
        count, pattern = len(batch), self._patterns.get(stage)
        if pattern is None:
            # All rows are of the one sample, whatever their branch.
            return StageCall({"cond": slice(0, count)}, call, merged=True)
        index, number = divmod(call, len(pattern.calls)) if pattern.scheduler else (0, call)
        if number >= len(pattern.calls) or (pattern.scheduler and index != self._steps[stage]):
            raise SiteError(
                f"{stage} is called more or less often than in a short run of this pipeline, so "
                "that its steps and branches cannot be told: open the model with probe=False."
            )
        expected = pattern.calls[number]
        rows: dict[Branch, slice] = {expected.branches[0]: slice(0, count)}
        if expected.by_row:
            if self._rows.get(stage) != count * len(expected.branches):
                raise SiteError(
                    f"{stage} has {self._rows.get(stage)} rows where a short run of this pipeline "
                    f"had {len(expected.branches)} for each sample, so that its branches cannot be "
                    "told: open the model with probe=False."
                )
            rows = {
                branch: slice(place * count, (place + 1) * count)
                for place, branch in enumerate(expected.branches)
            }
        timestep = sigma = None
        if pattern.scheduler:
            scheduler = self.schedulers[pattern.scheduler]
            taken = self._scheduler_steps[pattern.scheduler]
            # A scheduler that is set anew for each of several stages counts on.
            if taken < len(scheduler.timesteps):
                timestep = float(scheduler.timesteps[taken])
                sigma = scheduler_sigma(scheduler, taken)
        return StageCall(rows, index, timestep, sigma, merged=not expected.by_row)

    @override
    def check_extra(self, options: Options) -> None:
        check_extra(options.extra, type(self.pipeline).__name__, list(self.parameters))

    @override
    def reads_negative(self, options: Options) -> bool:
        # With which guidance such a pipeline reads it is not known.
        return bool(self.negative_option)

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


def _network(part: nn.Module) -> nn.Module:
    """The module of a component whose calls are the component's."""
    # Pipelines call an autoencoder's `decode`, which is not a module; its decoder is one.
    decoder = getattr(part, "decoder", None) if hasattr(part, "decode") else None
    return decoder if isinstance(decoder, nn.Module) else part


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
