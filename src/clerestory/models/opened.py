"""An opened model: its pipeline, its sites by address, its text, what is attached to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from clerestory.arguments import checked
from clerestory.errors import DictionaryError, ModelError, PromptError
from clerestory.models.core.bindings import Bindings
from clerestory.models.core.family import Family, SiteHook
from clerestory.models.core.latents import (
    AttachedDictionary,
    attached_to,
    base_of,
    hooks_with_latents,
)
from clerestory.models.core.opened_state import OpenedState
from clerestory.models.core.parts import PartPool
from clerestory.models.core.pipeline_state import hold_pipeline
from clerestory.models.core.types import Options, Sites
from clerestory.models.profile import ModelProfile
from clerestory.registry import suggest
from clerestory.reporting.progress import progress_bars

if TYPE_CHECKING:
    from clerestory.models.model import Model

__all__ = ["OpenedModel"]


class OpenedModel:
    """What `Model` is besides its runs."""

    pool: PartPool | None = None
    """The workers that draw for it; None where this process does."""

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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def workers(self) -> int:
        """How many processes draw for this model; 1 without a pool."""
        return 1 if self.pool is None else self.pool.workers

    def close(self) -> None:
        """End the workers of its pool, if it has one; what follows runs in this process."""
        pool, self.pool = self.pool, None
        if pool is not None:
            pool.close()

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
                another number of units or other values; the message lists sites that fit.
            SiteError: The model has no such site.
        """
        units = self.sites.units
        base = self.sites[base_of(dictionary, name, site, units)].address
        attached = attached_to(dictionary, name, base, units, self._dictionaries)
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
