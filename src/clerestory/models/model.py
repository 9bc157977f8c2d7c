"""The model: what is opened by `clerestory.load`, run on prompts and seeds, read and edited."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from clerestory.arguments import checked
from clerestory.errors import DictionaryError, ModelError, PromptError
from clerestory.models.core.attention_layers import Direction
from clerestory.models.core.bindings import Bindings
from clerestory.models.core.family import Family, SiteHook, TapCallback
from clerestory.models.core.latents import (
    AttachedDictionary,
    attached_to,
    base_of,
    hooks_with_latents,
)
from clerestory.models.core.opened_state import OpenedState
from clerestory.models.core.pipeline_state import hold_pipeline
from clerestory.models.core.requests import Request, changed_options, list_samples
from clerestory.models.core.runner import run_sweep
from clerestory.models.core.runs import Run
from clerestory.models.core.types import OPTION_NAMES, Branch, Edit, Options, Pool, Sites
from clerestory.models.profile import ModelProfile
from clerestory.registry import suggest
from clerestory.reporting.progress import progress_bars
from clerestory.types import ProgressOption

if TYPE_CHECKING:
    from clerestory.models.attention_maps import AttentionMaps

__all__ = ["Model"]


class Model:
    """A text-to-image model with named sites.

    Attributes:
        name: What it was loaded by.
        family: How its pipeline is run and where its sites are.
        defaults: Its default options.
        profile: What it brings besides its weights: classifiers, items, prompt words.
        load_options: Options besides the name that it was opened with: its prior, its LoRA.

    A model can be pickled: one that was opened by name or folder is opened again where it is
    unpickled, any other takes its pipeline along.
    """

    @checked()
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
        self.profile = ModelProfile() if profile is None else profile
        self.load_options = dict(load_options or {})
        self.defaults = family.defaults if defaults is None else defaults
        self._sites: tuple[Sequence[SiteHook], Sites] | None = None
        self._hooks: tuple[Sequence[SiteHook], dict[str, SiteHook]] | None = None
        self._dictionaries: dict[str, AttachedDictionary] = {}
        self._reopen: Callable[[], Model] | None = None
        self._bindings = Bindings.of(family)
        self._opened = OpenedState(family.pipeline, self._bindings, revision)

    def __repr__(self) -> str:
        return f"Model({self.name!r}, {len(self.family.site_hooks)} sites)"

    def __reduce__(self) -> tuple[Any, ...]:
        # Imported here, since loading stands above this module.
        from clerestory.models.loading.pickling import pack_pipeline, rebuild_model, reopen_model

        self.rebind()
        reopen = self.reopen
        if reopen is not None:
            # A name is smaller than weights, and opening it again checks the files again.
            return reopen_model, (reopen, self.defaults, self._dictionaries)
        state = {
            "defaults": self.defaults,
            "revision": self.revision,
            "profile": self.profile,
            "load_options": self.load_options,
        }
        pipeline = pack_pipeline(self.pipeline)
        return rebuild_model, (self.name, type(self.family), pipeline, state, self._dictionaries)

    @property
    def reopen(self) -> Callable[[], Model] | None:
        """Opens the model again as it is.

        None where it was made from a pipeline object, or where weights, scheduler or settings were
        changed since it was opened.
        """
        return self._reopen if self._reopen is not None and self._opened.is_current() else None

    @reopen.setter
    def reopen(self, reopen: Callable[[], Model] | None) -> None:
        self._reopen = reopen
        if reopen is not None:
            self._opened.remember()

    @property
    def revision(self) -> str:
        """A digest that tells these weights from any others.

        "" where it is unknown, and where parts or weights were changed since the model was opened.
        """
        return self._opened.revision

    @revision.setter
    def revision(self, revision: str) -> None:
        self._opened.set_revision(revision)

    @property
    def description(self) -> str:
        """What to know about how this family is served; "" for nothing."""
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
    def sites(self) -> Sites:
        """Its sites by address.

        The first look at the sites of a pipeline of no known family runs it a few times for two
        steps, unless it was opened with `probe=False`.
        """
        if self._sites is None or self._sites[0] is not self.family.site_hooks:
            with hold_pipeline(self.pipeline), progress_bars() as progress:
                self.family.prepare(self.defaults, progress)
            sites = [hook.site for hook in self.hooks_by_address.values()]
            self._sites = self.family.site_hooks, Sites(sites, self.family.conditioning_site)
        return self._sites[1]

    @property
    def hooks_by_address(self) -> Mapping[str, SiteHook]:
        """Where its sites are among the torch modules, by address; latents have no module."""
        # Not by way of `sites`, which would probe a pipeline that is only to draw.
        if self._hooks is None or self._hooks[0] is not self.family.site_hooks:
            hooks = hooks_with_latents(self.family.site_hooks, self._dictionaries)
            self._hooks = self.family.site_hooks, {hook.site.address: hook for hook in hooks}
        return self._hooks[1]

    @property
    def dictionaries(self) -> Mapping[str, AttachedDictionary]:
        """Dictionaries that are attached, by name."""
        return dict(self._dictionaries)

    @checked(DictionaryError)
    def attach(self, dictionary: Any, name: str, *, site: str | None = None) -> str:
        """Make the latents of a dictionary the units of a site `SITE:NAME`.

        They are read, recorded, edited and searched as any other units. A read encodes what the
        site has, as edited; it changes no picture. An edit of latents adds to the site's value what
        its change of the latents decodes to, and leaves the rest of the value as it is.

        Args:
            dictionary: A `clerestory.dictionaries.Dictionary`.
            name: What follows the site's address and a colon: letters, digits, `_`, `-` and `.`.
            site: The address of the site; by default the one that the dictionary was trained on.

        Returns:
            The address of the new site, such as `prior/embedding:glass16k`.

        Raises:
            DictionaryError: The name is taken, the dictionary names no site, or the site has
                another number of units.
            SiteError: The model has no such site.
        """
        base = self.sites[base_of(dictionary, name, site)]
        attached = attached_to(dictionary, name, base.address, base.shape[1], self._dictionaries)
        self._dictionaries[name] = attached
        self._sites = self._hooks = None
        return attached.address

    @checked(DictionaryError)
    def detach(self, name: str) -> None:
        """Remove the site of a dictionary's latents.

        Args:
            name: The name that `attach` was given.

        Raises:
            DictionaryError: No dictionary has this name.
        """
        if name not in self._dictionaries:
            raise DictionaryError(
                f"No dictionary is called {name!r}.{suggest(name, self._dictionaries)}"
            )
        del self._dictionaries[name]
        self._sites = self._hooks = None

    @property
    def pipeline(self) -> Any:
        """The diffusers pipeline inside, untouched."""
        return self.family.pipeline

    @property
    def replaced_parts(self) -> list[str]:
        """Parts of the pipeline that are not as they were opened: others, or with other modules."""
        return self._opened.replaced_parts

    @checked(options=OPTION_NAMES)
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
        progress: ProgressOption = True,
        **options: Any,
    ) -> Run:
        """Draw every prompt with every seed, reading and editing sites on the way.

        Args:
            prompts: One or more.
            seeds: One or more; a seed draws the same noise in every call.
            read: Sites to read, such as `"text.*/mlp"`, `"prior/embedding[3]"` or
                `"denoiser.mid.res.0/out@5"`, in any order. An edited site is read as edited.
            edits: Changes of sites; each is made at every call of its site.
            pool: What becomes of positions. `mean` and `max` count real tokens only, without the
                start token and what follows end-of-text, also among the prior's tokens. `last` is
                end-of-text, among the prior's tokens the last one, from which its prediction is
                read; a picture has no last position, there it is `mean`. `tokens:WORD` is the mean
                over the tokens of a word, also those that it shares with a neighbour. `none` keeps
                positions.
            branch: The branch of guidance to read: with the prompt (`cond`) or without.
            pictures: False stops the model after the last stage that is read: with text sites
                only, neither prior nor denoiser is called.
            stop: `never` runs every stage all the same.
            batch: How many samples are drawn together; a sample is the same within 1e-3 in any
                batch.
            taps: Callables by site, called with activations `[sample, position, unit]` and the
                `Step`.
            progress: True for a bar in a terminal or notebook, False for silence, or a callable of
                (label, completed, total).
            options: Those of `Options`: height, width, steps, guidance, prior_steps,
                prior_guidance, true_guidance, perturbed_guidance, negative, and `extra`, further
                arguments of the pipeline's call such as `{"control_image": picture}`.

        Returns:
            Samples prompt by prompt, with pictures and activations.

        Raises:
            SiteError: A site, unit, step or branch does not exist in this run.
            PromptError: A prompt is empty, too long, or lacks the word that is pooled.
            OptionError: An argument or option is out of range, unknown or without effect.
            EditError: An edit changes the shape of an activation, names positions that its site
                does not have, or makes values that are not finite.
            ModelError: Values are not finite without an edit.
        """
        runs = self.sweep(
            prompts,
            seeds,
            [edits],
            read=read,
            pool=pool,
            branch=branch,
            pictures=pictures,
            stop=stop,
            batch=batch,
            taps=taps,
            progress=progress,
            **options,
        )
        return runs[0]

    @checked(options=OPTION_NAMES)
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
        progress: ProgressOption = True,
        **options: Any,
    ) -> list[Run]:
        """Run once for each set of edits, with the part that they share done once.

        Sets that have the same edits before the conditioning site (none, say) share text encoder
        and prior; each result equals that of `run` bit for bit.

        Args:
            prompts: As in `run`.
            seeds: As in `run`.
            edit_sets: Edits of each run.
            read: As in `run`.
            pool: As in `run`.
            branch: As in `run`.
            pictures: As in `run`.
            stop: As in `run`.
            batch: As in `run`.
            paired: Whether each prompt is drawn with the seed of its index alone.
            taps: As in `run`.
            progress: As in `run`; every sample counts once for each set.
            options: As in `run`.

        Returns:
            A run for each set of edits.

        Raises:
            ClerestoryError: As in `run`.
        """
        with hold_pipeline(self.pipeline):
            self.rebind()
            sample_options = self.options(**options)
            request = Request(
                samples=list_samples(self, prompts, seeds, sample_options, paired=paired),
                read=self.sites.select(read) if read else {},
                edit_sets=tuple(tuple(edits) for edits in edit_sets),
                pool=pool,
                branch=branch,
                pictures=pictures,
                stop=stop,
                batch=batch,
                taps=dict(taps or {}),
                progress=progress,
            )
            return run_sweep(self, request)

    @checked(options=OPTION_NAMES)
    def attention(
        self,
        prompts: str | Sequence[str],
        seeds: int | Sequence[int] = 0,
        *,
        words: str | Sequence[str] | None = None,
        layers: str | Sequence[str] | None = None,
        steps: Sequence[int] | None = None,
        heads: Sequence[int] | None = None,
        keep: str | Sequence[str] = (),
        direction: Direction | None = None,
        branch: Branch = "cond",
        edits: Sequence[Edit] = (),
        denoising_steps: int | None = None,
        pictures: bool | None = None,
        batch: int = 16,
        progress: ProgressOption = True,
        **options: Any,
    ) -> AttentionMaps:
        """Draw every prompt with every seed, and read where the attention of words goes.

        Weights are those that the network uses, after normalisation, rotation and masks. What a
        word has is the sum over its tokens where it is attended to, and the mean over them where it
        attends.

        Args:
            prompts: One or more.
            seeds: One or more.
            words: Words or phrases that stand in every prompt; by default all of them. A word that
                stands several times is `cat#1`, `cat#2`.
            layers: Patterns such as `"denoiser.up.*/cross_attn"`; by default all layers in which
                the picture attends to words. `"text.*"` tells which word reads which, `"prior.*"`
                how much an image embedding is made of each word. `reference/attention.md` lists
                the layers of each family.
            steps: Indices of denoising steps; by default all.
            heads: Indices of attention heads; by default all.
            keep: Which of `layer`, `step` and `head` are kept apart. Maps are averaged over the
                others; all layers are resized to the finest of their grids.
            direction: `to-words` is how much each position of the picture attends to a word,
                `from-words` how much a word attends to each position (joint attention only),
                `between-words` how much words attend to each other; by default that of the layers.
            branch: The branch of guidance; in `uncond` words are those of the negative prompt.
            edits: As in `run`.
            denoising_steps: How many there are, which is `steps` of `run`.
            pictures: Whether pictures are drawn; by default where words have maps.
            batch: As in `run`.
            progress: As in `run`.
            **options: As in `run`.

        Returns:
            The maps, with labels, and the pictures.

        Raises:
            PromptError: A word is absent from a prompt.
            SiteError: There is no such layer, step, head or branch, its attention has no words,
                or it is computed where it cannot be seen.
            OptionError: The layers have no common kind of map.
            ClerestoryError: As in `run`.
        """
        from clerestory.models.attention import AttentionQuestion, read_attention

        asked = [words] if isinstance(words, str) else words
        kept = [keep] if isinstance(keep, str) else keep
        question = AttentionQuestion(asked, layers, steps, heads, kept, direction, branch)
        with hold_pipeline(self.pipeline):
            self.rebind()
            sample_options = self.options(steps=denoising_steps, **options)
            samples = list_samples(self, prompts, seeds, sample_options)
            return read_attention(
                self,
                samples,
                question,
                edits=edits,
                pictures=pictures,
                batch=batch,
                progress=progress,
            )

    def rebind(self) -> None:
        """Find the sites again where the pipeline has other modules than when it was opened.

        A LoRA, textual inversion, or another part in the place of one changes them.

        Raises:
            ModelError: The pipeline's parts cannot be read any more.
        """
        if self._bindings.hold(self.pipeline):
            return
        # Any family is built from its pipeline alone.
        build: Callable[[Any], Family] = type(self.family)
        try:
            family = build(self.pipeline)
        except (AttributeError, LookupError, TypeError) as error:
            raise ModelError(
                f"A part of {self.name} was replaced after it was opened, and its sites are not "
                f"found any more: {error}."
            ) from error
        # Whether it may be probed was decided when it was opened.
        family.probes = self.family.probes
        self.family = family
        self._bindings = Bindings.of(family)

    @checked(options=OPTION_NAMES)
    def options(self, **changed: Any) -> Options:
        """The model's defaults with some options changed.

        Args:
            **changed: Fields of `Options` by name; None leaves one at its default.

        Returns:
            The options.

        Raises:
            OptionError: An option is unknown or would change nothing, or the model cannot draw
                pictures of that size.
        """
        return changed_options(self, changed)

    @checked()
    def check_prompt(self, prompt: str) -> None:
        """Check that the model can take a prompt.

        Args:
            prompt: A prompt.

        Raises:
            PromptError: It is empty or longer than the text window.
        """
        self.family.check_prompts([prompt])

    @checked(PromptError)
    def tokenize(self, prompt: str) -> list[str]:
        """Split a prompt into tokens as the model reads it, without start and end tokens.

        Args:
            prompt: A prompt.

        Returns:
            Its tokens as texts, without the tokenizer's marks of words.
        """
        return self.family.tokenize(prompt)

    def vocabulary(self) -> list[str]:
        """Words that the model has tokens of; empty where that is not known."""
        return self.family.vocabulary()
