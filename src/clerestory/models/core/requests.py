"""What a run is asked for: samples, edits and sites to read, checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from clerestory.checks import check_choice, check_minimum
from clerestory.errors import EditError, OptionError, PromptError, SeedError
from clerestory.models.core.addresses import SiteSelection
from clerestory.models.core.attention import AttentionCapture
from clerestory.models.core.family import TapCallback
from clerestory.models.core.pooling import POOLS, TOKENS_PREFIX
from clerestory.models.core.seeds import check_seeds
from clerestory.models.core.types import Branch, Edit, Options, PerSample, Pool, Sample
from clerestory.types import Floats, ProgressOption

if TYPE_CHECKING:
    from clerestory.models.model import Model

__all__ = ["Request", "branch_texts", "changed_options", "list_samples"]


@dataclass(frozen=True)
class Request:
    """Everything that determines a sweep, as `Model.sweep` takes it.

    Attributes:
        samples: What is drawn, in order.
        read: Units and steps to read by address.
        edit_sets: Edits of each run; one empty tuple for a single run without edits.
        pool: How positions are pooled.
        branch: The branch of guidance that is read.
        pictures: Whether pictures are drawn.
        stop: `never` runs every stage whatever is read.
        batch: Samples that are drawn together, at most.
        taps: Callables by pattern of sites.
        progress: As in `Model.run`.
        attention: What is read of the attention; None for nothing.
        word_masks: Masks `[sample, y, x]` of the words that are regions of edits.

    Raises:
        OptionError: A pool, branch, stop or batch is out of range.
        EditError: An edit is not callable, has no site, or is for another number of samples.
    """

    samples: tuple[Sample, ...]
    read: Mapping[str, SiteSelection]
    edit_sets: tuple[tuple[Edit, ...], ...]
    pool: Pool
    branch: Branch
    pictures: bool
    stop: Literal["auto", "never"]
    batch: int
    taps: Mapping[str, TapCallback]
    progress: ProgressOption
    attention: AttentionCapture | None = None
    word_masks: Mapping[str, Floats] = field(default_factory=dict)

    def __post_init__(self) -> None:
        prefix, _, word = self.pool.partition(TOKENS_PREFIX)
        if self.pool not in POOLS and (prefix or not word.strip()):
            raise OptionError(
                f"pool is {self.pool!r}; it must be mean, max, last, none, or tokens:WORD."
            )
        check_choice(OptionError, get_args(Branch), branch=self.branch)
        check_choice(OptionError, ("auto", "never"), stop=self.stop)
        check_minimum(OptionError, 1, batch=self.batch)
        for edit in (edit for edits in self.edit_sets for edit in edits):
            if not callable(edit) or not hasattr(edit, "site"):
                raise EditError(f"{edit!r} is not an edit; an edit is callable and has a site.")
            # Too few would end the run at a later batch, and of too many some would do nothing.
            count = edit.samples if isinstance(edit, PerSample) else None
            if count not in (None, len(self.samples)):
                raise EditError(
                    f"The edit at {edit.site} is for {count} samples and the run has "
                    f"{len(self.samples)}: give one value, or one for each sample of the run."
                )


def changed_options(model: Model, changed: Mapping[str, Any]) -> Options:
    """A model's default options with some changed.

    Args:
        model: The model.
        changed: Fields of `Options` by name; None leaves one at its default.

    Returns:
        The options.

    Raises:
        OptionError: An option is unknown or would change nothing, or the model cannot draw
            pictures of that size.
    """
    options = model.defaults.replace(**changed)
    model.family.check_extra(options)
    for name in set(changed) - {"extra"}:
        value, default = getattr(options, name), getattr(model.defaults, name)
        if value != default and name not in model.family.option_names:
            raise OptionError(
                f"{name} is {value!r:.80}, which would change nothing: {model.name} draws by "
                f"{', '.join(model.family.option_names)}."
            )
    if options.negative and not model.family.reads_negative(options):
        option = model.family.negative_option
        hint = f"give {option} above 1, or no negative prompt" if option else "it takes none"
        raise OptionError(
            f"The negative prompt {options.negative!r:.80} would change nothing: {hint}."
        )
    for name in ("height", "width"):
        # Checked here: diffusers rounds or refuses such sizes only once the text side has run.
        if getattr(options, name) % model.family.size_multiple:
            raise OptionError(
                f"{name} is {getattr(options, name)}; {model.name} draws multiples of"
                f" {model.family.size_multiple}."
            )
    return options


def list_samples(
    model: Model,
    prompts: str | Sequence[str],
    seeds: int | Sequence[int],
    options: Options,
    *,
    paired: bool = False,
) -> tuple[Sample, ...]:
    """List prompts × seeds, prompt by prompt.

    Args:
        model: Checks that it can take the prompts.
        prompts: One or more.
        seeds: One or more.
        options: How all are drawn.
        paired: Whether each prompt is drawn with the seed of its index alone.

    Returns:
        The samples.

    Raises:
        PromptError: There is no prompt, or one is empty or too long.
        SeedError: There is no seed, one is out of bounds, or pairs do not match.
    """
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    if not texts:
        raise PromptError("There is no prompt; give at least one.")
    # Each text once: the same prompt often comes thousands of times. Not by a value that is no text
    # and may have no hash.
    unique = dict.fromkeys(text for text in texts if isinstance(text, str))
    others = [text for text in texts if not isinstance(text, str)][:1]
    model.family.check_prompts([*others, *unique, *filter(None, [options.negative])])
    if not paired:
        numbers = check_seeds(seeds)
        return tuple(Sample(text, seed, options) for text in texts for seed in numbers)
    # Several prompts may have the same seed, so each is checked by itself.
    listed = [seed for (seed,) in map(check_seeds, [seeds] if isinstance(seeds, int) else seeds)]
    if len(listed) != len(texts):
        raise SeedError(
            f"Got {len(listed)} seeds for {len(texts)} prompts; with paired=True give one seed per "
            "prompt."
        )
    return tuple(Sample(text, seed, options) for text, seed in zip(texts, listed, strict=True))


def branch_texts(samples: Sequence[Sample], branch: Branch) -> list[str]:
    """What fills the text windows in a branch.

    Args:
        samples: The samples.
        branch: The branch of guidance.

    Returns:
        The prompts, or the negative prompts.
    """
    return [sample.prompt if branch == "cond" else sample.options.negative for sample in samples]
