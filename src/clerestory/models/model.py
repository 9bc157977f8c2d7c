"""The model: what is opened by `clerestory.load`, run on prompts and seeds, read and edited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from clerestory.errors import ModelError
from clerestory.models.core import runner as running
from clerestory.models.core.types import Branch, Edit, Options, Pool, Run, Sites
from clerestory.models.profile import ModelProfile

if TYPE_CHECKING:
    from clerestory.models.core.family import Family, Progress, TapCallback

__all__ = ["Model"]


class Model:
    """A text-to-image model with named sites.

    Attributes:
        name: What it was loaded by.
        family: How its pipeline is run and where its sites are.
        sites: Its sites by address.
        defaults: How it draws unless told otherwise.
        revision: A digest that tells these weights from any others; "" where unknown.
        profile: What it brings besides its weights: classifiers, items, prompt words.
        load_options: Options besides the name that it was opened with: its prior, its LoRA.
    """

    def __init__(
        self,
        name: str,
        family: Family,
        *,
        defaults: Options | None = None,
        revision: str = "",
        profile: ModelProfile | None = None,
        load_options: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.family = family
        self.revision = revision
        self.profile = ModelProfile() if profile is None else profile
        self.load_options = dict(load_options or {})
        self.defaults = family.defaults if defaults is None else defaults
        self.sites = Sites([hook.site for hook in family.site_hooks])

    def __repr__(self) -> str:
        return f"Model({self.name!r}, {len(self.sites)} sites)"

    @property
    def description(self) -> str:
        """What to know of how this family is served; "" where there is nothing to say."""
        return self.family.description

    @property
    def conditioning_site(self) -> str:
        """The address of the value that goes from the text side to the denoiser.

        `prior/embedding` with a prior, `denoiser/condition` in most other families; "" where the
        family has none.
        """
        return self.family.conditioning_site

    @property
    def conditioning_sites(self) -> tuple[str, ...]:
        """Every site whose value goes from the text side to the denoiser, pooled states too."""
        return self.family.conditioning_sites

    @property
    def pipeline(self) -> Any:
        """The diffusers pipeline inside, untouched."""
        return self.family.pipeline

    def run(
        self,
        prompts: str | Sequence[str],
        seeds: int | Sequence[int] = 0,
        *,
        read: str | Sequence[str] = (),
        edits: Sequence[Edit] = (),
        pool: Pool = "mean",
        branch: Branch = "cond",
        pictures: bool = True,
        stop: Literal["auto", "never"] = "auto",
        batch: int = 16,
        taps: Mapping[str, TapCallback] | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> Run:
        """Draw every prompt with every seed, reading and editing sites on the way.

        `read` names sites (`"text.*/mlp"`, `"prior/embedding[3]"`, `"denoiser.mid.res.0/out@5"`);
        an edited site is read as edited. `pool` says what becomes of positions. `mean` and `max`
        count real tokens only: the start token and what follows end-of-text are left out, also
        among the prior's tokens. `last` is end-of-text, among the prior's tokens the last one, from
        which its prediction is read; a picture has no last place, there it is `mean`. `tokens:WORD`
        is the mean over the tokens of a word, which every prompt must have. `none` keeps the
        positions.

        With `pictures=False` the model stops after the last stage that is read: with text sites
        only, neither prior nor denoiser is called (`stop="never"` calls them all the same). `batch`
        samples go together; a sample is the same within 1e-3 in any batch. `taps` are called at
        their sites with `[sample, position, unit]` and the Step. `progress` is told (done, of).
        `options` are those of `Options`: height, width, steps, guidance, prior_steps,
        prior_guidance, true_guidance, negative.
        """
        how: dict[str, Any] = {
            "read": read,
            "pool": pool,
            "branch": branch,
            "pictures": pictures,
            "stop": stop,
        }
        how |= {"batch": batch, "taps": taps, "progress": progress, **options}
        return self.sweep(prompts, seeds, [edits], **how)[0]

    def sweep(
        self,
        prompts: str | Sequence[str],
        seeds: int | Sequence[int],
        edit_sets: Sequence[Sequence[Edit]],
        *,
        read: str | Sequence[str] = (),
        pool: Pool = "mean",
        branch: Branch = "cond",
        pictures: bool = True,
        stop: Literal["auto", "never"] = "auto",
        batch: int = 16,
        paired: bool = False,
        taps: Mapping[str, TapCallback] | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> list[Run]:
        """`run` once for each set of edits, and equal to it, but with the common part done once.

        Sets that have the same edits before `prior/embedding` (none, say) share text encoder and
        prior. `progress` counts every sample once for each set. With `paired` the first prompt is
        drawn with the first seed alone, the second with the second, and so on.
        """
        return running.sweep(
            self,
            running.Request(
                samples=running.samples(
                    self, prompts, seeds, self.options(**options), paired=paired
                ),
                read=self.sites.select(read) if read else {},
                edit_sets=tuple(tuple(edits) for edits in edit_sets),
                pool=pool,
                branch=branch,
                pictures=pictures,
                stop=stop,
                batch=batch,
                taps=dict(taps or {}),
                progress=progress,
            ),
        )

    def options(self, **changed: Any) -> Options:
        """The defaults with some options changed; ModelError for what this family cannot draw."""
        options = self.defaults.replace(**changed)
        for name in ("height", "width"):
            if getattr(options, name) % self.family.size_multiple:
                raise ModelError(
                    f"{name} is {getattr(options, name)}; {self.name} draws multiples of"
                    f" {self.family.size_multiple}."
                )
        return options

    def check_prompt(self, prompt: str) -> None:
        """PromptError where a prompt is empty or longer than the text window."""
        self.family.check_prompts([prompt])

    def tokenize(self, prompt: str) -> list[str]:
        """The tokens of a prompt, as the model reads it, without its start and end."""
        return self.family.tokenize(prompt)

    def vocabulary(self) -> list[str]:
        """Words that the model has tokens of; empty where that is not known."""
        return self.family.vocabulary()
