"""A dictionary: what encodes the values of a site as latents, and decodes latents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clerestory.arguments import checked
from clerestory.dictionaries.activation import Activation, kind_of
from clerestory.dictionaries.normalization import Normalization
from clerestory.errors import DictionaryError
from clerestory.io.digests import json_digest
from clerestory.io.tensor_files import tensor_digest

__all__ = ["Dictionary"]

WEIGHTS = ("encoder", "encoder_bias", "decoder", "decoder_bias")
BASELINE_K = 32
"""Latents per position of a random dictionary, as many as most published ones keep."""


# Compared by identity (`eq=False`), since tensors compare element by element; `digest` tells two
# dictionaries apart.
@dataclass(frozen=True, eq=False)
class Dictionary:
    """A sparse autoencoder, or a transcoder from one site to another.

    Latents are `activation(normalised values @ encoder + encoder_bias)`, and values
    `latents @ decoder + decoder_bias` with the normalisation undone. Weights are float32.

    Attributes:
        encoder: Weights `[unit, latent]`.
        encoder_bias: `[latent]`.
        decoder: Weights `[latent, unit]`; of a transcoder the units are the output site's.
        decoder_bias: `[unit]`.
        activation: What makes latents sparse; its class is the dictionary's kind.
        normalization: How values are scaled before they are encoded.
        output_normalization: How a transcoder's outputs were scaled in training; None for an
            autoencoder, whose normalisation is undone.
        apply_b_dec_to_input: Whether the decoder's bias is subtracted from what is encoded.
        site: Address of the site whose values it was trained on; "" where unknown.
        output_site: Address of the site whose values a transcoder predicts; None for an
            autoencoder.
        metadata: What is known of it besides, ready for JSON: `explained_variance`, `l0`, `dead`.
    """

    encoder: Tensor = field(repr=False)
    encoder_bias: Tensor = field(repr=False)
    decoder: Tensor = field(repr=False)
    decoder_bias: Tensor = field(repr=False)
    activation: Activation
    normalization: Normalization = field(default_factory=Normalization, repr=False)
    output_normalization: Normalization | None = field(default=None, repr=False)
    apply_b_dec_to_input: bool = False
    site: str = ""
    output_site: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for name in WEIGHTS:
            # Detached: a trainer's parameters would keep its graph.
            object.__setattr__(self, name, getattr(self, name).detach().float())
        self._check()

    def _check(self) -> None:
        if self.encoder.ndim != 2 or self.decoder.ndim != 2:
            raise DictionaryError("The weights of a dictionary must be matrices.")
        latents = self.encoder.shape[1]
        shapes = {"encoder_bias": (latents,), "decoder": (latents, self.output_width)}
        shapes["decoder_bias"] = (self.output_width,)
        for name, shape in shapes.items():
            if tuple(getattr(self, name).shape) != shape:
                raise DictionaryError(
                    f"{name} of the dictionary has the shape {list(getattr(self, name).shape)}; "
                    f"with an encoder [unit, latent] of {list(self.encoder.shape)} it must be "
                    f"{list(shape)}."
                )
        for name in WEIGHTS:
            if not torch.isfinite(getattr(self, name)).all():
                raise DictionaryError(f"{name} of the dictionary has values that are not finite.")
        if self.output_site is None and self.output_width != self.width:
            raise DictionaryError(
                f"The dictionary takes {self.width} units and gives {self.output_width}: name the "
                "output_site of a transcoder."
            )
        if self.apply_b_dec_to_input and self.output_width != self.width:
            raise DictionaryError("The bias of a transcoder cannot be subtracted from its input.")
        self.activation.check(latents)
        self.normalization.check(self.width)
        self._output.check(self.output_width)

    def __str__(self) -> str:
        ends = f"{self.site or 'unknown site'}"
        if self.output_site is not None:
            ends += f" → {self.output_site or 'unknown site'}"
        return f"{self.kind} dictionary of {self.latents} latents, {ends}"

    @property
    def kind(self) -> str:
        """The name of its activation function: such as `relu`, `topk` or `batchtopk`."""
        return kind_of(self.activation)

    @property
    def width(self) -> int:
        """Units of the site that is encoded."""
        return self.encoder.shape[0]

    @property
    def output_width(self) -> int:
        """Units of the values that are decoded."""
        return self.decoder.shape[1]

    @property
    def latents(self) -> int:
        """Number of latents."""
        return self.encoder.shape[1]

    @property
    def _output(self) -> Normalization:
        if self.output_normalization is not None:
            return self.output_normalization
        return Normalization() if self.output_site is not None else self.normalization

    def encode(self, values: Tensor, units: Tensor | None = None) -> Tensor:
        """Encode values.

        Args:
            values: `[..., unit]`, as the model makes them; converted to float32.
            units: Indices of the latents to compute; None for all. Where the kind is elementwise,
                the others are not computed.

        Returns:
            float32 `[..., latent]`, differentiable with respect to `values`.

        Raises:
            DictionaryError: The values have another number of units.
        """
        if values.shape[-1] != self.width:
            raise DictionaryError(
                f"The dictionary is for {self.width} units and the values have {values.shape[-1]}."
            )
        scaled = self.normalization.apply(values.float())
        if self.apply_b_dec_to_input:
            scaled = scaled - self.decoder_bias
        if units is None:
            return self.activation(scaled @ self.encoder + self.encoder_bias)
        if self.activation.elementwise:
            before = scaled @ self.encoder[:, units] + self.encoder_bias[units]
            return self.activation.at(units)(before)
        return self.activation(scaled @ self.encoder + self.encoder_bias)[..., units]

    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents.

        Args:
            latents: `[..., latent]`.

        Returns:
            float32 `[..., unit]`, as the model makes values of the site, or of the output site.
        """
        return self._output.invert(latents.float() @ self.decoder + self.decoder_bias)

    def decode_difference(self, difference: Tensor, units: Tensor | None = None) -> Tensor:
        """What a change of latents adds to decoded values.

        Args:
            difference: Changed minus unchanged latents, `[..., latent]`.
            units: Indices of the latents that it has; None for all.

        Returns:
            float32 `[..., unit]`. It equals the difference of two `decode`, without the rounding
            of their sums.
        """
        decoder = self.decoder if units is None else self.decoder[units]
        decoded = difference.float() @ decoder
        return decoded if self._output.scale is None else decoded * self._output.scale

    @property
    def directions(self) -> Tensor:
        """What one unit of each latent adds to decoded values, float32 `[latent, unit]`."""
        scale = self._output.scale
        return self.decoder if scale is None else self.decoder * scale

    def reconstruct(self, values: Tensor) -> Tensor:
        """Encode and decode.

        Args:
            values: `[..., unit]`.

        Returns:
            The reconstruction, or a transcoder's prediction, float32 `[..., unit]`.
        """
        return self.decode(self.encode(values))

    @cached_property
    def digest(self) -> str:
        """Tells its function from any other: weights, kind and normalisation, not its metadata."""
        content = {
            "kind": self.kind,
            "settings": self.activation.settings(),
            "apply_b_dec_to_input": self.apply_b_dec_to_input,
            "transcoder": self.output_site is not None,
            "tensors": tensor_digest(self.tensors()),
        }
        return json_digest(content)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, as they are saved."""
        prefixed = {"normalization": self.normalization.tensors()}
        if self.output_normalization is not None:
            prefixed["output_normalization"] = self.output_normalization.tensors()
        return (
            {name: getattr(self, name) for name in WEIGHTS}
            | self.activation.tensors()
            | {
                f"{prefix}.{name}": tensor
                for prefix, tensors in prefixed.items()
                for name, tensor in tensors.items()
            }
        )

    def to(self, device: torch.device | str) -> Dictionary:
        """Move the tensors.

        Args:
            device: A device.

        Returns:
            A copy whose tensors are there; the dictionary itself where they are already.
        """
        if self.encoder.device == torch.device(device):
            return self
        output = self.output_normalization
        moved: dict[str, Any] = {name: getattr(self, name).to(device) for name in WEIGHTS}
        return replace(
            self,
            **moved,
            activation=self.activation.to(device),
            normalization=self.normalization.to(device),
            output_normalization=None if output is None else output.to(device),
        )

    def folded(self) -> Dictionary:
        """The same function without normalisation and without a bias that is subtracted first.

        Returns:
            A dictionary whose weights have both in them, as other libraries expect.
        """
        return _fold(self)

    @checked()
    def save(self, folder: str | Path) -> Path:
        """Write `config.json` and `weights.safetensors`, both or neither.

        Args:
            folder: A new or empty folder.

        Returns:
            The folder.

        Raises:
            OutputError: The folder holds something else.
        """
        from clerestory.dictionaries.folder import write_dictionary

        return write_dictionary(self, Path(folder))

    @classmethod
    @checked()
    def load(cls, folder: str | Path, allow_pickles: bool = False) -> Dictionary:
        """Open a dictionary of any format that is known.

        Args:
            folder: What `save` or another library wrote, a folder or a file.
            allow_pickles: Whether weights in a format that can hold code may be read.

        Returns:
            The dictionary, on the CPU.

        Raises:
            DictionaryError: The folder holds no dictionary, or a damaged one.
        """
        from clerestory.dictionaries.format import find_format

        path = Path(folder)
        return find_format(path).read(path, allow_pickles=allow_pickles)

    @checked()
    def export(self, folder: str | Path, form: str = "sae-lens") -> Path:
        """Write the dictionary in the format of another library.

        Args:
            folder: A new or empty folder.
            form: The name of a format that can be written: `sae-lens`.

        Returns:
            The folder.

        Raises:
            DictionaryError: The format cannot hold it, or is only read.
            RegistryError: No format has this name.
            OutputError: The folder holds something else.
        """
        from clerestory.dictionaries.format import formats

        return formats[form]().write(self, Path(folder))

    @classmethod
    @checked()
    def random(
        cls,
        width: int,
        latents: int,
        *,
        seed: int = 0,
        activation: Activation | None = None,
        normalization: Normalization | None = None,
        site: str = "",
    ) -> Dictionary:
        """A dictionary of random directions, the baseline of a trained one of the same size.

        Args:
            width: Units of the site.
            latents: Number of latents.
            seed: Seed of the directions.
            activation: Its activation function; by default the 32 largest latents.
            normalization: How values are scaled; by default not.
            site: Address of the site.

        Returns:
            A dictionary whose decoder has directions of length one, evenly distributed, and whose
            encoder is its transpose, as trained ones are initialised.
        """
        generator = torch.Generator().manual_seed(seed)
        directions = torch.randn(latents, width, generator=generator)
        directions = directions / directions.norm(dim=1, keepdim=True)
        if activation is None:
            from clerestory.dictionaries.kinds.topk import TopK

            activation = TopK(min(BASELINE_K, latents))
        return cls(
            encoder=directions.T.contiguous(),
            encoder_bias=torch.zeros(latents),
            decoder=directions,
            decoder_bias=torch.zeros(width),
            activation=activation,
            normalization=normalization or Normalization(),
            site=site,
            metadata={"random": True, "seed": seed},
        )


def _fold(dictionary: Dictionary) -> Dictionary:
    # In float64, since three maps are multiplied.
    encoder, decoder = dictionary.encoder.double(), dictionary.decoder.double()
    bias, shift = dictionary.encoder_bias.double(), dictionary.decoder_bias.double()
    if dictionary.apply_b_dec_to_input:
        bias = bias - shift @ encoder
    given, output = dictionary.normalization, dictionary._output
    if given.scale is not None:
        encoder = encoder / given.scale.double()[:, None]
    if given.mean is not None:
        bias = bias - given.mean.double() @ encoder
    if output.scale is not None:
        decoder, shift = decoder * output.scale.double(), shift * output.scale.double()
    if output.mean is not None:
        shift = shift + output.mean.double()
    return replace(
        dictionary,
        encoder=encoder,
        encoder_bias=bias,
        decoder=decoder,
        decoder_bias=shift,
        normalization=Normalization(),
        output_normalization=None,
        apply_b_dec_to_input=False,
    )
