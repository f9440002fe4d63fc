"""Standing attention: the image once per frame, each text once for as long as its query stands.

Shapes: B images, N texts (S slots per image), K object tokens per text, P image tokens, T text tokens, D width,
h heads, d = D / h. Who may attend to whom, with the same weights as joint attention:

    attends to →      image    text of the query    object tokens of the query
    image tokens      yes      no                   no
    text tokens       no       yes                  no
    object tokens     yes      yes                  yes

So image and text streams never depend on each other, and only the few object tokens run per (image, text) pair.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from simvg_core.attention import Part, attend, attend_beside, attend_part, mix
from simvg_core.encoder import Encoded, MultiwayEncoder, MultiwayLayer, Spans
from simvg_core.errors import QueryIndexError
from simvg_core.grouping import Grouping


class KeysValues(NamedTuple):
    """Keys and values of one layer, each (rows, h, tokens, d)."""

    keys: Tensor
    values: Tensor


class Stream(NamedTuple):
    """What object tokens attend to of images or of texts, rows of them.

    They all enter the first layer alike, so what they find there is known with the stream: `first`, of K tokens, found
    (rows, h, K, d) and mass (rows, h, K). The text's holds what the tokens find in each other besides.
    """

    first: Part
    layers: list[KeysValues]  # of the second layer on

    def map(self, change: Callable[[Tensor], Tensor]) -> Stream:
        """The same change of all tensors."""
        return Stream(Part(*map(change, self.first)), [KeysValues(*map(change, layer)) for layer in self.layers])


class EncodedImage(NamedTuple):
    """Result of the frame pass."""

    tokens: Tensor  # (B, P, D)
    stream: Stream
    fine: Tensor | None  # (B, C, F, F), models with a glimpse


def standing_mask(num_objects: int, num_patches: int, attention_mask: Tensor) -> Tensor:
    """The table above as one (N, 1, L, L) mask over [object tokens, patches, text], True = may attend.

    Running the joint encoder with it computes the same numbers as the functions below, at the cost of joint
    attention: it is the definition the fast path is tested against.
    """
    text_length = attention_mask.shape[1]
    kind = torch.tensor([0] * num_objects + [1] * num_patches + [2] * text_length, device=attention_mask.device)
    allowed = (kind[:, None] == 0) | (kind[:, None] == kind[None])
    real = F.pad(attention_mask.bool(), (num_objects + num_patches, 0), value=True)
    # A padded token may see itself, so that no row of the softmax is empty.
    alone = torch.eye(len(kind), dtype=torch.bool, device=kind.device)
    return ((allowed & real[:, None, :]) | alone)[:, None]


def encode_image(encoder: MultiwayEncoder, pixels: Tensor) -> EncodedImage:
    """Frame pass: (B, 3, H, W) → image tokens (B, P, D) and their keys and values in every layer."""
    x, fine = encoder.embed_image(pixels)
    spans: Spans = (("image", x.shape[1]),)

    def run(layer: MultiwayLayer, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = layer.heads(x, spans)
        return layer.update(x, attend(query, key, value), spans), key, value

    seen = []
    for layer in encoder.stack:
        x, key, value = layer.spare(run, layer, x)
        seen.append(KeysValues(key, value))
    query, *_ = _entering(encoder)
    return EncodedImage(encoder.norm(x, spans), Stream(attend_part(query, *seen[0]), seen[1:]), fine)


def encode_text(encoder: MultiwayEncoder, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Stream]:
    """Text pass: (N, T) ids → text tokens (N, T, D) and what object tokens attend to of them.

    All layers but attention run on the real tokens of all texts packed into one row: line queries are short, and more
    than half of a padded batch would be padding. Padded places of the results are zero.
    """
    count, length = input_ids.shape
    rows, columns = attention_mask.bool().nonzero(as_tuple=True)
    place = rows * length + columns
    x = encoder.embed_text(input_ids, attention_mask).flatten(0, 1)[place].unsqueeze(0)
    spans: Spans = (("text", len(place)),)
    mask = attention_mask.bool()[:, None, None, :]

    def pad(packed: Tensor) -> Tensor:
        """(1, h, real, d) → (N, h, T, d)."""
        tokens = packed[0].transpose(0, 1)
        padded = tokens.new_zeros(count * length, *tokens.shape[1:]).index_copy(0, place, tokens)
        return padded.reshape(count, length, *tokens.shape[1:]).transpose(1, 2)

    def pack(padded: Tensor) -> Tensor:
        """(N, h, T, d) → (1, h, real, d)."""
        return padded.transpose(1, 2).flatten(0, 1)[place].transpose(0, 1).unsqueeze(0)

    def run(layer: MultiwayLayer, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = (pad(part) for part in layer.heads(x, spans))
        return layer.update(x, pack(attend(query, key, value, mask)), spans), key, value

    seen = []
    for layer in encoder.stack:
        x, key, value = layer.spare(run, layer, x)
        seen.append(KeysValues(key, value))
    x = encoder.norm(x, spans)[0]
    text = x.new_zeros(count * length, x.shape[-1]).index_copy(0, place, x).unflatten(0, (count, length))
    query, key, value = (part.expand(count, -1, -1, -1) for part in _entering(encoder))
    scores = _beside_scores(query, seen[0], key, ~mask).float()
    mass = scores.logsumexp(dim=-1)
    first = Part(_found_beside((scores - mass.unsqueeze(-1)).exp(), seen[0], value), mass)
    return text, Stream(first, seen[1:])


def _entering(encoder: MultiwayEncoder) -> tuple[Tensor, Tensor, Tensor]:
    """Scaled queries, keys and values of the object tokens as they enter the first layer, (1, h, K, d) each."""
    x = encoder.embed_objects(1)
    query, key, value = encoder.stack[0].heads(x, ((encoder.object_expert, x.shape[1]),))
    return query * query.shape[-1] ** -0.5, key, value


def encode_objects(
    encoder: MultiwayEncoder,
    num_images: int,
    num_slots: int,
    image: Stream,
    text: Stream,
    text_mask: Tensor,
) -> Tensor:
    """Query pass: the object tokens of every (image, text) pair, (B, S, K, D).

    Args:
        num_images, num_slots: B, S.
        image: rows = B.
        text: rows = (B or 1, S): one set of texts per image, or one set shared by all images.
        text_mask: (B or 1, S, T), 1 = real token.
    """
    hidden = ~text_mask.bool()[:, :, None, None]
    x = encoder.stack[0].spare(_first_layer, encoder, image.first, text.first, num_images)
    for parts in zip(encoder.stack[1:], image.layers, text.layers, strict=True):
        x = parts[0].spare(_object_layer, encoder.object_expert, x, parts, hidden)
    spans: Spans = ((encoder.object_expert, x.shape[2]),)
    return encoder.norm(x.flatten(0, 1), spans).unflatten(0, (num_images, num_slots))  # type: ignore[no-any-return]


_Layer = tuple[MultiwayLayer, KeysValues, KeysValues]


def _first_layer(encoder: MultiwayEncoder, image: Part, text: Part, num_images: int) -> Tensor:
    """The first layer, from what was found in image and texts: (B, S, K, D)."""
    x = encoder.embed_objects(1)
    slots = text.mass.shape[1]
    attended = Part(*(part.unsqueeze(1) for part in image)).merged(text)  # (B, S, h, K, d)
    x = x.expand(num_images * slots, -1, -1)
    out: Tensor = encoder.stack[0].update(x, attended.flatten(0, 1), ((encoder.object_expert, x.shape[1]),))
    return out.unflatten(0, (num_images, slots))  # type: ignore[no-any-return]


def _object_layer(expert: str, x: Tensor, parts: _Layer, hidden: Tensor) -> Tensor:
    """One layer for the object tokens (B, S, K, D): one softmax over image, own text and own object tokens."""
    layer, image, text = parts
    images, slots, num_objects = x.shape[:3]
    spans: Spans = ((expert, num_objects),)
    pairs = x.flatten(0, 1)
    query, key, value = (part.unflatten(0, (images, slots)) for part in layer.heads(pairs, spans))  # (B, S, h, K, d)
    query = query * query.shape[-1] ** -0.5
    beside = _beside_scores(query, text, key, hidden)
    # Image keys serve all slots of their image in one product: (B, S, h, K, …) ↔ (B, h, S·K, …).
    query, beside = (part.transpose(1, 2).flatten(2, 3) for part in (query, beside))
    parts_found = attend_beside(query, *image, beside)
    found, weights = (part.unflatten(2, (slots, num_objects)).transpose(1, 2) for part in parts_found)
    attended = (found + _found_beside(weights, text, value)).flatten(0, 1)
    out: Tensor = layer.update(pairs, attended, spans)
    return out.unflatten(0, (images, slots))  # type: ignore[no-any-return]


def _beside_scores(query: Tensor, text: KeysValues, key: Tensor, hidden: Tensor) -> Tensor:
    """Scores of object tokens (..., h, K, d) for their text and for each other, (..., h, K, T + K).

    Only scores are joined: to join the keys, many times larger, would copy every text for every frame.
    """
    of_text = (query @ text.keys.transpose(-1, -2)).masked_fill(hidden, float("-inf"))
    if key.shape[-2] == 1:  # a product of one column
        return torch.cat([of_text, (query * key).sum(dim=-1, keepdim=True)], dim=-1)
    return torch.cat([of_text, query @ key.transpose(-1, -2)], dim=-1)


def _found_beside(weights: Tensor, text: KeysValues, value: Tensor) -> Tensor:
    """What these scores' weights (..., h, K, T + K) find in text and object tokens, (..., h, K, d)."""
    own = value.shape[-2]
    weights = weights.to(value.dtype)
    return mix(weights[..., :-own], text.values) + mix(weights[..., -own:], value)


def encode(
    encoder: MultiwayEncoder, pixels: Tensor, input_ids: Tensor, attention_mask: Tensor, grouping: Grouping
) -> Encoded:
    """Training forward: B images once, N texts once, then all pairs. Image stays (B, P, D)."""
    image, image_stream, fine = encode_image(encoder, pixels)
    text, text_stream = encode_text(encoder, input_ids, attention_mask)
    rows, mask = text_stream.map(grouping.rows), grouping.rows(attention_mask)
    objects = encode_objects(encoder, grouping.num_images, grouping.num_slots, image_stream, rows, mask)
    return Encoded(grouping.flat(objects), image, text, fine)


class Kept(NamedTuple):
    """What is kept of N texts as a whole; every part has a row for each."""

    queries: Tensor  # (N, Q, E)
    pooled: Tensor  # (N, E)
    asked: Tensor  # (N, W), for the fitted gate; W = 0 without one
    said: Tensor  # (N, V, Q, E), for the token branch (`TokenBranch.ask`)
    found: Tensor  # (N, h, K, d) and …
    mass: Tensor  # (N, h, K), `Stream.first`


@dataclass(frozen=True)
class CompiledTexts:
    """What is kept of N texts: everything about them that does not depend on a frame."""

    input_ids: Tensor  # (N, T)
    attention_mask: Tensor  # (N, T)
    keys: Tensor  # (layers from the second on, N, h, T, d)
    values: Tensor  # (layers from the second on, N, h, T, d)
    kept: Kept

    @classmethod
    def of(cls, input_ids: Tensor, attention_mask: Tensor, stream: Stream, kept: Kept) -> CompiledTexts:
        """From the text pass, and what else is kept."""
        rows, heads, _, width = stream.first.found.shape
        none = stream.first.found.new_zeros(0, rows, heads, input_ids.shape[1], width)
        keys, values = (
            torch.stack(parts) if parts else none
            for parts in ([layer.keys for layer in stream.layers], [layer.values for layer in stream.layers])
        )
        return cls(input_ids, attention_mask, keys, values, kept)

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def stream(self) -> Stream:
        """What object tokens attend to, rows = (1, N)."""
        layers = [KeysValues(*layer) for layer in zip(self.keys, self.values, strict=True)]
        return Stream(Part(self.kept.found, self.kept.mass), layers).map(lambda part: part.unsqueeze(0))

    @property
    def num_bytes(self) -> int:
        """Memory of all of it, bytes."""
        parts = (self.input_ids, self.attention_mask, self.keys, self.values, *self.kept)
        return sum(part.numel() * part.element_size() for part in parts)

    def select(self, kept: Tensor) -> CompiledTexts:
        """The texts at `kept`, (M,) long, padded to the longest of them."""
        mask = self.attention_mask[kept]
        length = longest(mask)
        return CompiledTexts(
            self.input_ids[kept][:, :length],
            mask[:, :length],
            self.keys[:, kept, :, :length],
            self.values[:, kept, :, :length],
            Kept(*(part[kept] for part in self.kept)),
        )

    def parts(self, size: int) -> list[CompiledTexts]:
        """The texts in groups of `size`, the last one smaller; nothing is copied."""
        columns = [
            *(part.split(size) for part in (self.input_ids, self.attention_mask)),
            *(part.split(size, dim=1) for part in (self.keys, self.values)),
            [Kept(*parts) for parts in zip(*(part.split(size) for part in self.kept), strict=True)],
        ]
        return [CompiledTexts(*part) for part in zip(*columns, strict=True)]

    def joined(self, other: CompiledTexts) -> CompiledTexts:
        """These texts, then the others; the shorter set is padded to the length of the longer one."""
        length = max(self.input_ids.shape[1], other.input_ids.shape[1])
        first, second = self._padded(length), other._padded(length)
        return CompiledTexts(
            torch.cat([first.input_ids, second.input_ids]),
            torch.cat([first.attention_mask, second.attention_mask]),
            torch.cat([first.keys, second.keys], dim=1),
            torch.cat([first.values, second.values], dim=1),
            Kept(*(torch.cat(both) for both in zip(first.kept, second.kept, strict=True))),
        )

    def _padded(self, length: int) -> CompiledTexts:
        more = length - self.input_ids.shape[1]
        if more == 0:
            return self
        return CompiledTexts(
            F.pad(self.input_ids, (0, more), value=1),
            F.pad(self.attention_mask, (0, more)),
            F.pad(self.keys, (0, 0, 0, more)),
            F.pad(self.values, (0, 0, 0, more)),
            self.kept,
        )


def longest(attention_mask: Tensor) -> int:
    """Places up to the last real token of any of the texts, (N, T); 1 without texts. Padding may stand anywhere."""
    if not attention_mask.numel():
        return 1
    numbers = torch.arange(1, attention_mask.shape[1] + 1, device=attention_mask.device)
    return int((attention_mask.bool() * numbers).amax())


class StandingQueries:
    """The compiled queries of one model, in order; `add` compiles only what is new.

    Changes build a new `CompiledTexts` and swap it in at once, so a frame pass in another thread sees the old set or
    the new one, never a mixture.
    """

    def __init__(self, texts: CompiledTexts, compile_texts: Callable[[Tensor, Tensor], CompiledTexts]) -> None:
        self._texts = texts
        self._compile = compile_texts
        self._lock = threading.Lock()
        self.revision = 0

    def __len__(self) -> int:
        return len(self._texts)

    @property
    def texts(self) -> CompiledTexts:
        """The present set; safe to keep while others add and remove."""
        return self._texts

    @property
    def num_bytes(self) -> int:
        """Memory of the compiled set, bytes."""
        return self._texts.num_bytes

    def add(self, input_ids: Tensor | StandingQueries, attention_mask: Tensor | None = None) -> StandingQueries:
        """Appends texts, as ids and mask (n, T) or as queries already compiled by the same model; returns self.

        Raises:
            TextError: a text without any token, or ids that are no words of the model; nothing changes then.
        """
        if isinstance(input_ids, StandingQueries):
            new = input_ids.texts
        else:
            mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
            new = self._compile(input_ids, mask)
        with self._lock:
            self._texts = self._texts.joined(new)
            self.revision += 1
        return self

    def remove(self, indices: int | Iterable[int]) -> StandingQueries:
        """Removes the queries at these places; later ones move up. Returns self.

        Raises:
            QueryIndexError: no query at one of the places.
        """
        gone = {indices} if isinstance(indices, int) else set(indices)
        with self._lock:
            count = len(self._texts)
            if wrong := sorted(index for index in gone if not 0 <= index < count):
                raise QueryIndexError(f"no standing query at {wrong}; there are {count} (from 0).")
            self._keep([index for index in range(count) if index not in gone])
        return self

    def keep(self, places: Sequence[int]) -> StandingQueries:
        """Keeps the queries at these places, in this order, one of them perhaps twice. Returns self."""
        with self._lock:
            self._keep(places)
        return self

    def _keep(self, places: Sequence[int]) -> None:
        kept = torch.tensor(places, dtype=torch.long, device=self._texts.input_ids.device)
        self._texts = self._texts.select(kept)
        self.revision += 1

    def copy(self) -> StandingQueries:
        """An independent set that starts with the same queries; tensors are shared, not copied."""
        return StandingQueries(self._texts, self._compile)
