"""The model: what is opened by `clerestory.load`, run on prompts and seeds, read and edited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from clerestory.arguments import checked
from clerestory.models.core.attention_layers import Direction, Space
from clerestory.models.core.family import TapCallback
from clerestory.models.core.pipeline_state import hold_pipeline
from clerestory.models.core.requests import Request, changed_options, list_samples
from clerestory.models.core.runs import Run
from clerestory.models.core.sweeps import run_sweep
from clerestory.models.core.types import OPTION_NAMES, Branch, Edit, Options, Pool
from clerestory.models.opened import OpenedModel
from clerestory.models.word_masks import with_word_masks
from clerestory.types import ProgressOption

if TYPE_CHECKING:
    from clerestory.models.attention_maps import AttentionMaps
    from clerestory.models.gradients import Gradients
    from clerestory.models.lens import LensResult

__all__ = ["Model"]


class Model(OpenedModel):
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
            edits: Changes of sites; each is made at every call of its site. Where the region of one
                is a word, each sample is drawn once more before, to measure the word's map.
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
            return run_sweep(self, with_word_masks(self, request))

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
        space: Space | None = None,
        concepts: Sequence[str] | None = None,
        edits: Sequence[Edit] = (),
        denoising_steps: int | None = None,
        pictures: bool | None = None,
        batch: int = 16,
        progress: ProgressOption = True,
        **options: Any,
    ) -> AttentionMaps:
        """Draw every prompt with every seed, and read where the attention of words goes.

        Weights are those that the network uses: the sum over a word's tokens where it is attended
        to, the mean where it attends.

        Args:
            prompts: One or more.
            seeds: One or more.
            words: Words or phrases that stand in every prompt; by default all of them. A word that
                stands several times is `cat#1`, `cat#2`.
            layers: Patterns such as `"denoiser.up.*/cross_attn"`; by default all in which the
                picture attends to words; see `reference/attention.md`.
            steps: Indices of denoising steps; by default all.
            heads: Indices of attention heads; by default all.
            keep: Which of `layer`, `step` and `head` are kept apart rather than averaged over.
            direction: `to-words` is how much each position of the picture attends to a word,
                `from-words` how much a word attends to each position (joint attention only),
                `between-words` how much words attend to each other; by default that of the layers.
            branch: The branch of guidance; in `uncond` words are those of the negative prompt.
            space: `output` gives shares among words by what joint attention gives; else `weights`.
            concepts: Two or more that prompts need not have, in place of words (output space).
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
            SiteError: There is no such layer, step, head or branch, or it cannot be seen.
            OptionError: The layers have no common kind of map.
            ClerestoryError: As in `run`.
        """
        from clerestory.models.attention import AttentionQuestion, read_attention

        asked = [words] if isinstance(words, str) else words
        kept = [keep] if isinstance(keep, str) else keep
        asked_for = (asked, layers, steps, heads, kept, direction, branch, space, concepts)
        question = AttentionQuestion(*asked_for)
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

    @checked(options=OPTION_NAMES)
    def lens(
        self,
        prompts: str | Sequence[str],
        seeds: int | Sequence[int] = 0,
        *,
        layers: Sequence[int] | None = None,
        encoders: str | Sequence[str] | None = None,
        batch: int = 16,
        progress: ProgressOption = True,
        **options: Any,
    ) -> LensResult:
        """Draw every prompt from each layer of the text encoder, as if it were the last one.

        The blocks after a layer pass its output on unchanged to all that follows: the final norm,
        the prior, the denoiser. The negative prompt is encoded as usual.

        Args:
            prompts: As in `run`.
            seeds: As in `run`.
            layers: Indices of blocks, from 0; of several text encoders those of the one with most
                blocks, and the others are cut at the same relative depth. By default all.
            encoders: Stages of the text encoders that are cut, such as `text_2`; by default all.
            batch: As in `run`.
            progress: As in `run`.
            **options: As in `run`.

        Returns:
            The pictures by layer; those of the last layer are the prompt's own.

        Raises:
            SiteError: There is no such text encoder, or none whose blocks are known.
            OptionError: There is no such layer.
            ClerestoryError: As in `run`.

        Source: Toker et al. 2024, Diffusion Lens.
        """
        from clerestory.models.lens import LensQuestion, read_lens

        stages = [encoders] if isinstance(encoders, str) else encoders
        with hold_pipeline(self.pipeline):
            self.rebind()
            samples = list_samples(self, prompts, seeds, self.options(**options))
            question = LensQuestion(layers, stages)
            return read_lens(self, samples, question, batch=batch, progress=progress)

    @checked(options=OPTION_NAMES)
    def gradients(
        self,
        objective: Any,
        sites: str | Sequence[str],
        prompts: str | Sequence[str],
        seeds: int | Sequence[int] = 0,
        *,
        read: str | Sequence[str] = (),
        pool: Pool = "none",
        branch: Branch = "cond",
        edits: Sequence[Edit] = (),
        independent: Literal["error", "zero"] = "error",
        last_steps: int | None = None,
        checkpoint: bool = True,
        batch: int = 4,
        paired: bool = False,
        progress: ProgressOption = True,
        **options: Any,
    ) -> Gradients:
        """Differentiate an objective with respect to what sites have on the way to it.

        The gradient at a site is that of an edit there: what `Add` of a small vector changes. It
        goes through text encoders, prior, all denoising steps and the autoencoder.

        Args:
            objective: `unit`, `direction` or `label` of `clerestory.evaluation.objectives`, or a
                sum of these; the address of a unit, pooled at its last token; or a function from
                the values of `read` to a tensor `[sample]`.
            sites: Sites as in `run`, before the objective.
            prompts: As in `run`.
            seeds: As in `run`.
            read: What a function is called with: by address tensors `[sample, step, position,
                unit]`, and by `pictures` a tensor `[sample, height, width, 3]` from 0 to 1.
            pool: What becomes of the positions of values and gradients, as in `run`; `max` is
                refused. A pooled gradient times the number of positions that count is that of a
                change of all of them.
            branch: The branch of guidance whose sites are differentiated by.
            edits: As in `run`; a site is differentiated by as edited.
            independent: Whether a site that the objective does not depend on is an error, or has
                zeros. A site that comes after the objective is one.
            last_steps: How many of the last denoising steps have gradients; by default all. The
                others are computed without, which saves time and cuts what goes through them.
            checkpoint: Whether steps are computed again in the backward pass, beyond those whose
                activations fit in 1 GiB, so that memory does not grow with them.
            batch: How many samples are differentiated together.
            paired: Whether each prompt is drawn with the seed of its index alone.
            progress: As in `run`.
            options: As in `run`.

        Returns:
            Values and gradients, labelled as in a run.

        Raises:
            SiteError: A site is unknown or not reached, or the objective does not depend on it.
            ModelError: A part passes no gradients, as quantized and offloaded ones may, a
                classifier has none, or a value or gradient is not finite.
            OptionError: The objective is not one, or an option is out of range.
            ClerestoryError: As in `run`.
        """
        from clerestory.models.core.gradient_questions import GradientQuestion
        from clerestory.models.gradients import as_differentiable, read_gradients

        names = [read] if isinstance(read, str) else read
        differentiable = as_differentiable(objective, names)
        with hold_pipeline(self.pipeline):
            self.rebind()
            request = Request(
                samples=list_samples(self, prompts, seeds, self.options(**options), paired=paired),
                read={},
                edit_sets=(tuple(edits),),
                pool=pool,
                branch=branch,
                pictures=False,
                stop="auto",
                batch=batch,
                taps={},
                progress=progress,
            )
            question = GradientQuestion(
                differentiable,
                self.sites.select(sites),
                last_steps,
                recompute=checkpoint,
                may_be_independent=independent == "zero",
            )
            return read_gradients(self, with_word_masks(self, request), question)

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
