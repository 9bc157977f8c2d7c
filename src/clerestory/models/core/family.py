"""The interface of a pipeline family: its sites, its text side (`encode`), its denoising (`draw`).

A family is one file: a table of sites and the few lines that differ. Everything else (hooks,
batches, pooling, sweeps) is written once, over the class `Family`. `families/conditioned.py` has
what families of diffusers pipelines share.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Generator, Tensor, nn
from typing_extensions import override

from clerestory.errors import ModelError, PromptError
from clerestory.models.core.extras import check_extra
from clerestory.models.core.text_windows import PromptReader, TextWindow
from clerestory.models.core.types import OPTION_NAMES, Branch, Options, Sample, Site, Step
from clerestory.registry import Registry
from clerestory.types import Floats, Pictures, Progress

if TYPE_CHECKING:
    from clerestory.models.core.latents import AttachedDictionary

__all__ = [
    "Encoding",
    "Family",
    "Handoff",
    "SeparatePrior",
    "SiteHook",
    "StageCall",
    "TapCallback",
    "families",
    "family_class",
    "restore_generators",
    "seed_generators",
]

TapCallback = Callable[[Tensor, Step], None]
"""Called with activations `[sample, position, unit]` and the step."""

Branches = Mapping[Branch, Tensor]
"""A value of each branch of guidance."""
Handoff = Callable[[str, Branches], Branches]
"""Passes a value from `Family.encode` to `Family.draw` by its site; returns it as edited."""


@dataclass(frozen=True)
class SiteHook:
    """Where a site is among the torch modules.

    Attributes:
        site: The site; its module is None for a value that goes from `encode` to `draw`.
        is_input: Whether the site is an input of the module rather than its output.
        argument_name: Of an input: the argument's name.
        argument_index: Of an input: the argument's index if it is passed by position.
        output_index: Of an output with several values: the index of the value.
        channels: Number of leading channels that are used; None for all.
        first_unit: Where the site's units begin, in a value whose last axis has those of several
            sites; None where all of the value is the site's.
        channels_last: Whether the last axis is the units', whatever the number of axes; None
            where the module does not tell.
        positions_first: Whether the value's first axis is the positions', the batch's the second.
        text_window: Name of the text window whose tokens the positions are, or start with; ""
            if positions are not tokens.
        stream: The part of a row of positions, of those that `StageCall.streams` names; "" for all.
        call: Which of the module's calls, within a call of its stage, gives the value; None for
            all.
        mixes_branches: Whether the module's rows are not those of its stage's network, so that the
            branches of guidance in them cannot be told apart.
        latents: The dictionary whose latents the site is; None for a value of the model.
    """

    site: Site
    is_input: bool = False
    argument_name: str = ""
    argument_index: int = 0
    output_index: int = 0
    channels: int | None = None
    first_unit: int | None = None
    channels_last: bool | None = None
    positions_first: bool = False
    text_window: str = ""
    stream: str = ""
    call: int | None = None
    mixes_branches: bool = False
    latents: AttachedDictionary | None = None

    @property
    def base(self) -> str:
        """The address of the site that is hooked: of latents, that of the values they encode."""
        return self.site.address if self.latents is None else self.latents.base

    @property
    def module(self) -> nn.Module | None:
        """The torch module of the site."""
        module: nn.Module | None = self.site.module
        return module

    def has_channels_last(self, shape: Sequence[int]) -> bool:
        """Whether the last axis of a value is the units'.

        Args:
            shape: The value's shape, the batch first.

        Returns:
            As the hook says; else False for maps, of four axes or more, unless only the last axis
            has the site's number of units.
        """
        if self.channels_last is not None:
            return self.channels_last
        units = self.site.shape[1]
        return len(shape) < 4 or (shape[-1] == units and shape[1] != units)


@dataclass(frozen=True)
class StageCall:
    """One call of a stage's module.

    Attributes:
        rows: Batch rows of each guidance branch.
        index: The index of the step.
        timestep: The scheduler's timestep; None in stages without steps.
        sigma: Noise level, see `core.schedulers`; None if unknown.
        merged: Whether the rows of the branches cannot be told apart; then `[branch × sample,
            position]` is presented as `[sample, branch × position]`.
        other_rows: Number of rows after those of the branches; a module may take them in a call of
            its own after that of the branches.
        streams: Where text and picture are, in networks that put them in one row of positions.
    """

    rows: Mapping[Branch, slice]
    index: int = 0
    timestep: float | None = None
    sigma: float | None = None
    merged: bool = False
    other_rows: int = 0
    streams: Mapping[str, slice] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of rows of the batch."""
        stops: list[int] = [rows.stop for rows in self.rows.values()]
        return max(stops) + self.other_rows

    def merge_rows(self) -> StageCall:
        """The same call for a module whose rows are not those of its stage's network.

        Returns:
            A call of one branch whose rows cannot be told apart.
        """
        rows = next(iter(self.rows.values()))
        return replace(self, rows={"cond": slice(0, rows.stop - rows.start)}, merged=True)


@dataclass(frozen=True)
class Encoding:
    """What `Family.encode` gives to `Family.draw`.

    Attributes:
        conditioning: The values of the conditioning sites by address.
        generators: The state of each sample's random generator, from which `draw` goes on.
        arguments: Whatever else `draw` needs.
    """

    conditioning: Mapping[str, Branches]
    generators: Sequence[Tensor] = field(repr=False)
    arguments: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class SeparatePrior:
    """Two pipelines that are published apart, a decoder and its prior, and opened as one.

    Attributes:
        decoder: The class name of the pipeline that draws from the prior's embedding.
        prior: The class name of the prior's pipeline.
        combined: The class name of the pipeline that has the parts of both, those of the prior
            under names that begin with `prior_`.
        example: The hub id of a prior, for error messages.
    """

    decoder: str
    prior: str
    combined: str
    example: str


class UnfamiliarPartError(ModelError):
    """A pipeline of a known class with a part of another kind, which its family cannot serve."""


class Family(PromptReader, ABC):
    """A family of models, around one pipeline. A subclass is built from the pipeline alone.

    Attributes:
        pipeline: The pipeline.
        site_hooks: The sites, stage by stage, and where they are.
        stages: The names of the stages, in the order in which they run.
        encoder_stages: The stages of `encode`; the others are those of `draw`.
        stage_modules: The modules whose calls are a stage's calls.
        conditioning_site: The address of the value, made by `encode`, that has the prompt's
            meaning; "" where a family has none.
        conditioning_sites: Every value that `encode` hands to `draw`, that one included.
        conditional_sites: Conditioning sites without a value of the branch uncond.
        text_windows: Windows of tokens by name.
        prompt_reader: What checks and tokenizes prompts; None where any text is a prompt.
        progress_bar_pipelines: The diffusers pipelines whose progress bars are hidden during a run.
        defaults: Default options.
        description: A note for users, such as a limitation; "" for none.
        size_multiple: Height and width must be multiples of this.
        negative_option: Option with the guidance scale of the negative prompt; "" if negative
            prompts are not supported.
        option_names: The options that its pictures depend on.
        half_precision: The dtype on an accelerator with `dtype="auto"`.
        single_file_types: Names that diffusers gives to single-file checkpoints of this family.
        load_arguments: Further arguments of `from_pretrained` and `from_single_file`.
        optional_parts: Parts that a folder may lack, although diffusers asks for them.
        text_comes_first: Whether attention of two streams has the text's positions before those of
            the picture.
        trailing_windows: By stage, the text window whose tokens follow the picture's positions
            among the keys of its self-attentions.
        probes: Whether `prepare` may run the pipeline.
        separate_prior: The pipelines of a family whose prior may be published apart; None where
            there is no such prior.
    """

    pipeline: Any
    site_hooks: Sequence[SiteHook]
    stage_modules: Mapping[str, nn.Module]
    stages: tuple[str, ...]
    encoder_stages: tuple[str, ...]
    conditioning_site: str
    conditioning_sites: tuple[str, ...] = ()
    conditional_sites: tuple[str, ...] = ()
    text_windows: Mapping[str, TextWindow] = {}
    prompt_reader: PromptReader | None = None
    progress_bar_pipelines: Sequence[Any] = ()
    defaults: Options = Options()
    description: str = ""
    size_multiple: int = 1
    text_comes_first: ClassVar[bool] = True
    trailing_windows: ClassVar[Mapping[str, str]] = {}
    negative_option: str = "guidance"
    probes: bool = True
    option_names: tuple[str, ...] = OPTION_NAMES
    half_precision: ClassVar[str] = "float16"
    single_file_types: ClassVar[tuple[str, ...]] = ()
    load_arguments: ClassVar[Mapping[str, Any]] = {}
    optional_parts: ClassVar[tuple[str, ...]] = ()
    separate_prior: ClassVar[SeparatePrior | None] = None

    @staticmethod
    def prepare_pipeline(pipeline: Any) -> None:
        """Change a pipeline that was opened from a folder before it is wrapped; by default nothing.

        Args:
            pipeline: The pipeline.
        """

    def prepare(self, options: Options, progress: Progress) -> None:
        """Learn what has to be known before sites are read or edited; by default nothing.

        Args:
            options: Those of the run.
            progress: Called with a label, what is done and how much there is.
        """

    def check_extra(self, options: Options) -> None:
        """Check that the pipeline takes the further arguments that options have.

        Args:
            options: Those of the samples.

        Raises:
            OptionError: It does not.
        """
        check_extra(options.extra, type(self.pipeline).__name__, ())

    def bypassed(self, site: Site, options: Options) -> str:
        """Why options keep a site from what is drawn.

        Args:
            site: A site that is read or edited.
            options: Those of the samples.

        Returns:
            The reason; "" where they do not, as by default.
        """
        return ""

    def batch_limit(self, addresses: Sequence[str], options: Options) -> int | None:
        """The largest number of samples that can be drawn together.

        Args:
            addresses: The sites that are read and edited on the way.
            options: Those of the samples.

        Returns:
            None without a limit, as by default.
        """
        return None

    @cached_property
    def hooks_by_address(self) -> dict[str, SiteHook]:
        """The site hooks by the addresses of their sites."""
        return {hook.site.address: hook for hook in self.site_hooks}

    def reads_negative(self, options: Options) -> bool:
        """Whether a negative prompt changes the picture; by default with its guidance above 1.

        Args:
            options: Those of the sample.

        Returns:
            False where it would be ignored.
        """
        return bool(self.negative_option) and getattr(options, self.negative_option) > 1

    @abstractmethod
    def encode(self, batch: Sequence[Sample], until: str, branch: Branch) -> Encoding | None:
        """Run the encode stages.

        Args:
            batch: Samples with the same options.
            until: The stage after which the run may stop.
            branch: The branch of guidance that is read.

        Returns:
            What `draw` needs; None if `until` is an encode stage other than the last.
        """

    @abstractmethod
    def draw(
        self, batch: Sequence[Sample], encoding: Encoding, handoff: Handoff, until: str
    ) -> Pictures | Floats | None:
        """Run the draw stages.

        Args:
            batch: The samples that were encoded.
            encoding: What `encode` gave.
            handoff: To be called with each conditioning site and its value; the model must use what
                it returns.
            until: The stage after which the run may stop.

        Returns:
            `[sample, height, width, 3]` if `until` is the last stage, else None: uint8, or floats
            from 0 to 1, among which values that are not finite are found.
        """

    def text_window(self, name: str, branch: Branch) -> TextWindow:
        """A window as the texts of a branch of guidance fill it.

        Args:
            name: The window's name.
            branch: The branch.

        Returns:
            By default the same window for both branches.
        """
        return self.text_windows[name]

    def stage_call(self, stage: str, call: int, batch: Sequence[Sample]) -> StageCall:
        """Describe one call of a stage; by default all rows are conditional, each call a step.

        Args:
            stage: The stage's name.
            call: How many calls of the stage came before in this batch.
            batch: The samples of the batch.

        Returns:
            The step of the call and the rows of each branch.
        """
        return StageCall({"cond": slice(0, len(batch))}, call)

    @override
    def check_prompts(self, prompts: Sequence[str]) -> None:
        for prompt in prompts:
            if not isinstance(prompt, str):
                raise PromptError(f"The prompt {prompt!r:.80} is not a text; write it in quotes.")
            if not prompt.strip():
                raise PromptError(f"The prompt is empty ({prompt!r}); write what is to be drawn.")
            if "\0" in prompt or "\ufeff" in prompt:
                raise PromptError(
                    f"The prompt {prompt!r:.80} has a NUL or a byte order mark, which no text has: "
                    "take it out, or read the file with encoding='utf-8-sig'."
                )
            # Bytes that Python could not decode, as in arguments under the locale C.
            if any("\udc80" <= letter <= "\udcff" for letter in prompt):
                raise PromptError(
                    f"The prompt {prompt!r:.80} was not read as UTF-8: set the environment variable"
                    " PYTHONUTF8=1, or a locale such as C.UTF-8, and write it in UTF-8."
                )
            # Half of a surrogate pair, as broken exports have it.
            if any("\ud800" <= letter <= "\udfff" for letter in prompt):
                raise PromptError(
                    f"The prompt {prompt!r:.80} has half a character; write it again."
                )
        if self.prompt_reader is not None:
            self.prompt_reader.check_prompts(prompts)

    @override
    def tokenize(self, prompt: str) -> list[str]:
        return prompt.split() if self.prompt_reader is None else self.prompt_reader.tokenize(prompt)

    @override
    def vocabulary(self) -> list[str]:
        return [] if self.prompt_reader is None else self.prompt_reader.vocabulary()


# Values are callables rather than `type[Family]`: a subclass takes the pipeline alone, the abstract
# class takes nothing.
families: Registry[Callable[[Any], Family]] = Registry(
    "pipeline class", package="clerestory.models.families", group="clerestory.families"
)
"""Families by the class name of the pipelines that they serve."""


def family_class(pipeline_class: str) -> type[Family]:
    """The family of a pipeline class, for what it declares before any pipeline is opened.

    Args:
        pipeline_class: The pipeline's class name.

    Returns:
        The family's class; `Family` where no family is registered, or a function is.
    """
    family = families.get(pipeline_class)
    return family if isinstance(family, type) and issubclass(family, Family) else Family


def seed_generators(batch: Sequence[Sample]) -> list[Generator]:
    """Make a generator for each sample, from its seed.

    Args:
        batch: The samples.

    Returns:
        CPU generators in the order of the samples, one each, so that a sample's noise depends
        neither on its batch nor on the device.
    """
    return [Generator().manual_seed(sample.seed) for sample in batch]


def restore_generators(states: Sequence[Tensor]) -> list[Generator]:
    """Make generators that go on from these states.

    Args:
        states: What `Generator.get_state` returned, uint8, one for each sample.

    Returns:
        CPU generators in the same order.
    """
    generators = [Generator() for _ in states]
    for generator, state in zip(generators, states, strict=True):
        generator.set_state(state)
    return generators
