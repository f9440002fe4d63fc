"""The multiway encoder (BEiT-3; paper section 3.1): shared attention, one expert per kind of token.

Shapes: B sequences, L tokens, D width, h heads, d = D / h, K object tokens, P patches, T text tokens.
A sequence is described by its spans: (expert, number of tokens) from left to right. The paper's is
[object tokens, patches row-major, text], the object tokens going through the image expert.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, ParamSpec, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from simvg_core.attention import attend
from simvg_core.checks import check_pixels
from simvg_core.configuration import SimVGConfig
from simvg_core.errors import TextError
from simvg_core.folding import products
from simvg_core.patches import Embedded, build_patches

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Spans = tuple[tuple[str, int], ...]
Look = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
"""Queries, keys, values and mask → what was attended to: `attend`, or the same with the weights seen."""

# Rows 0 and 1 of both position tables are never read; the published tables have them.
FIRST_POSITION = 2


class Encoded(NamedTuple):
    """Encoder output after the final norm."""

    objects: Tensor  # (N, K, D)
    image: Tensor  # (B, P, D); N = B in joint attention
    text: Tensor  # (N, T, D)
    fine: Tensor | None = None  # (N, C, F, F) fine map of the stem, models with a glimpse


class Experts(nn.ModuleDict):
    """One copy of a layer per expert; every span of the sequence goes through its own."""

    def __init__(self, names: tuple[str, ...], make: Callable[[], nn.Module]) -> None:
        super().__init__({name: make() for name in names})

    def forward(self, x: Tensor, spans: Spans) -> Tensor:
        """(B, L, D) → (B, L, D')."""
        if len(spans) == 1:
            return self[spans[0][0]](x)  # type: ignore[no-any-return]
        parts = x.split([length for _, length in spans], dim=1)
        return torch.cat([self[name](part) for (name, _), part in zip(spans, parts, strict=True)], dim=1)


class FeedForward(nn.Module):
    """Two linear layers around exact GELU and an inner norm (sub-LN)."""

    def __init__(self, config: SimVGConfig) -> None:
        super().__init__()
        self.expand = nn.Linear(config.hidden_size, config.intermediate_size)
        self.inner_norm = nn.LayerNorm(config.intermediate_size)
        self.contract = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) → (..., D)."""
        return self.contract(self.inner_norm(F.gelu(self.expand(x))))  # type: ignore[no-any-return]


def _thirds(layer: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    return layer(x).chunk(3, dim=-1)  # type: ignore[no-any-return]


class MultiwayLayer(GradientCheckpointingLayer):
    """Norm, joint attention, add; norm, feed-forward, add. The two halves of attention are separate methods so that
    standing attention can put its own pattern between them."""

    def __init__(self, config: SimVGConfig, names: tuple[str, ...], drop_path: float) -> None:
        super().__init__()
        width = config.hidden_size
        self.num_heads, self.head_width = config.num_attention_heads, width // config.num_attention_heads
        self.drop_path = drop_path
        self.attention_norm = Experts(names, lambda: nn.LayerNorm(width))
        self.query_key_value = Experts(names, lambda: nn.Linear(width, 3 * width))
        self.inner_norm = Experts(names, lambda: nn.LayerNorm(width))
        self.output = Experts(names, lambda: nn.Linear(width, width))
        self.feed_forward_norm = Experts(names, lambda: nn.LayerNorm(width))
        self.feed_forward = Experts(names, lambda: FeedForward(config))
        self.folded: nn.ModuleList | None = None  # `fold`

    def fold(self) -> None:
        """Takes apart what gives queries, keys and values: a graph copies each of them out of the product of all."""
        names, width = tuple(self.query_key_value), self.num_heads * self.head_width
        self.folded = nn.ModuleList(Experts(names, nn.Identity) for _ in range(3))
        for name, layer in self.query_key_value.items():
            for part, third in zip(self.folded, products(partial(_thirds, layer), width), strict=True):
                cast(Experts, part)[name] = third

    def heads(self, x: Tensor, spans: Spans) -> tuple[Tensor, Tensor, Tensor]:
        """(B, L, D) → queries, keys, values, each (B, h, L, d)."""
        normed = self.attention_norm(x, spans)
        if self.folded is not None:
            # of two dimensions product and bias are one step
            rows = normed.flatten(0, 1) if len(spans) == 1 else normed
            found = (part(rows, spans).view(-1, x.shape[1], self.num_heads, self.head_width) for part in self.folded)
            query, key, value = (part.transpose(1, 2) for part in found)
            return query, key, value
        joined = self.query_key_value(normed, spans)
        query, key, value = joined.unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        return query, key, value

    def update(self, x: Tensor, attended: Tensor, spans: Spans) -> Tensor:
        """(B, L, D) and what its heads attended to, (B, h, L, d) → the layer's output (B, L, D)."""
        mixed = self.inner_norm(attended.transpose(1, 2).flatten(2), spans)
        x = x + self._drop(self.output(mixed, spans))
        return x + self._drop(self.feed_forward(self.feed_forward_norm(x, spans), spans))

    def forward(self, x: Tensor, spans: Spans, mask: Tensor | None, look: Look = attend) -> Tensor:
        """(B, L, D) → (B, L, D); `mask` broadcasts to (B, h, L, L), True = may attend. `look` does the attending."""
        query, key, value = self.heads(x, spans)
        return self.update(x, look(query, key, value, mask), spans)

    def spare(self, part: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        """What a part of the layer's work gives; with gradient checkpointing, its memory is spared as `forward`'s is:
        only its arguments and result are kept, the rest is computed again in the backward pass."""
        if self.gradient_checkpointing and self.training and torch.is_grad_enabled():
            again: Any = self._gradient_checkpointing_func
            return again(part, *args, **kwargs)  # type: ignore[no-any-return]
        return part(*args, **kwargs)

    def _drop(self, branch: Tensor) -> Tensor:
        """Stochastic depth: leaves the branch out for some sequences of a training batch."""
        if not self.training or self.drop_path == 0:
            return branch
        keep = branch.new_empty(branch.shape[0], 1, 1).bernoulli_(1 - self.drop_path)
        return branch * keep / (1 - self.drop_path)


class MultiwayEncoder(nn.Module):
    """Embeddings, layers and final norm."""

    def __init__(self, config: SimVGConfig) -> None:
        super().__init__()
        self.image_size, self.num_patches = config.image_size, config.num_patches
        self.max_text = config.max_text_positions
        self.vocab_size = config.vocab_size
        width, depth = config.hidden_size, config.num_hidden_layers
        self.object_expert = "object" if config.own_object_expert else "image"
        names = ("image", "text", "object") if config.own_object_expert else ("image", "text")
        self.patches = build_patches(config)
        self.words = nn.Embedding(config.vocab_size, width)
        self.object_tokens = nn.Parameter(torch.zeros(config.num_object_tokens, width))
        self.image_positions = nn.Embedding(FIRST_POSITION + 1 + config.num_patches, width)
        self.text_positions = nn.Embedding(FIRST_POSITION + config.max_text_positions, width)
        rates = [config.drop_path_rate * i / max(depth - 1, 1) for i in range(depth)]
        self.layers = nn.ModuleList(MultiwayLayer(config, names, rate) for rate in rates)
        self.norm = Experts(names, lambda: nn.LayerNorm(width))

    @property
    def stack(self) -> list[MultiwayLayer]:
        """The layers, typed."""
        return cast(list[MultiwayLayer], list(self.layers))

    def embed_image(self, pixels: Tensor) -> Embedded:
        """Normalised RGB (B, 3, H, W) → tokens (B, P, D) with positions. Raises ImageError as `check_pixels` does."""
        check_pixels(pixels, self.image_size)
        embedded: Embedded = self.patches(pixels.to(self.object_tokens.dtype))
        return embedded._replace(tokens=embedded.tokens + self.image_positions.weight[FIRST_POSITION + 1 :])

    def embed_text(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(N, T) ids and mask (1 = real) → (N, T, D) with positions; padded vectors are zero.

        Raises:
            TextError: shapes that do not fit each other, or more tokens than there are positions.
        """
        if input_ids.dim() != 2 or input_ids.shape != attention_mask.shape:
            raise TextError(
                f"input_ids {tuple(input_ids.shape)} and attention_mask {tuple(attention_mask.shape)} must both be "
                "(texts, tokens)."
            )
        length = input_ids.shape[1]
        if length > self.max_text:
            raise TextError(f"texts of {length} tokens; this model has positions for {self.max_text}. Shorten them.")
        positions = self.text_positions.weight[FIRST_POSITION : FIRST_POSITION + length]
        words: Tensor = self.words(input_ids)
        return (words + positions) * attention_mask.unsqueeze(-1).to(positions.dtype)

    def embed_objects(self, count: int) -> Tensor:
        """The object tokens of `count` texts, (count, K, D). All of one text share one position, as in the paper."""
        tokens = self.object_tokens + self.image_positions.weight[FIRST_POSITION]
        return tokens.expand(count, -1, -1)

    def embed(
        self, pixels: Tensor, input_ids: Tensor, attention_mask: Tensor, image_index: Tensor | None
    ) -> tuple[Tensor, Spans, Tensor | None]:
        """One sequence per text, (N, K + P + T, D), its spans, and the image's fine map; arguments as of `forward`.

        Raises:
            ImageError, TextError: as `embed_image` and `embed_text`, or numbers of images and texts that do not fit.
        """
        text = self.embed_text(input_ids, attention_mask)
        image, fine = self.embed_image(pixels)
        if image_index is not None:
            image = image[image_index]
            fine = None if fine is None else fine[image_index]
        if len(image) != len(text):
            raise TextError(
                f"{len(image)} images but {len(text)} texts; pass image_index to say which image each text belongs to."
            )
        objects = self.embed_objects(len(text))
        spans: Spans = ((self.object_expert, objects.shape[1]), ("image", image.shape[1]), ("text", text.shape[1]))
        if self.object_expert == "image":
            spans = (("image", objects.shape[1] + image.shape[1]), ("text", text.shape[1]))
        return torch.cat([objects.to(image.dtype), image, text.to(image.dtype)], dim=1), spans, fine

    def run(self, x: Tensor, spans: Spans, mask: Tensor | None, look: Look = attend) -> list[Tensor]:
        """(N, L, D) → the output of every layer, before the final norm; arguments as of `MultiwayLayer.forward`."""
        outputs = []
        for layer in self.stack:
            x = layer(x, spans, mask, look)
            outputs.append(x)
        return outputs

    def forward(
        self,
        pixels: Tensor,
        input_ids: Tensor,
        attention_mask: Tensor,
        image_index: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Encoded:
        """Joint attention over [object tokens, patches, text]; only padded text is hidden from the others.

        Args:
            pixels: (B, 3, H, W) normalised RGB.
            input_ids, attention_mask: (N, T), 1 = real token.
            image_index: (N,) long, the image of each text; None = text i belongs to image i.
            mask: replaces that rule by another one, (N, 1, L, L), True = may attend.

        Raises:
            ImageError, TextError: as `embed`.
        """
        x, spans, fine = self.embed(pixels, input_ids, attention_mask, image_index)
        if mask is None:
            mask = key_mask(attention_mask, x.shape[1])
        x = self.norm(self.run(x, spans, mask)[-1], spans)
        text_length, num_objects = input_ids.shape[1], self.object_tokens.shape[0]
        sizes = [num_objects, self.num_patches, text_length]
        objects, image, text = x.split(sizes, dim=1)
        return Encoded(objects, image, text, fine)


def key_mask(attention_mask: Tensor, length: int) -> Tensor:
    """(N, T) text mask → (N, 1, 1, L) key mask of the whole sequence, True = may be attended to."""
    return F.pad(attention_mask.bool(), (length - attention_mask.shape[1], 0), value=True)[:, None, None, :]
