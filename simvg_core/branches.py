"""What turns features into answers: query generation, token branch, decoder branch, box heads (sections 3.2, 3.3).

Shapes: B images, N texts, S slots per image, Q answers per text, P image tokens, T text tokens, E head width.
Boxes are cxcywh, normalised to the image. Class logits are (object, no object).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from simvg_core.configuration import SimVGConfig
from simvg_core.decoder import QueryDecoder
from simvg_core.folding import products
from simvg_core.glimpse import Glimpse
from simvg_core.join import Join
from simvg_core.positions import mean_place, text_positions

Tensors = tuple[Tensor, ...]

# The pointer head may move the box centre this far (share of the image side) from where its attention points.
POINTER_REACH = 0.12
# Start of the learned weight of the heat map in the class logits.
HEAT_GAIN = 0.25


class Answers(NamedTuple):
    """The answers of one branch."""

    logits: Tensor  # (B, S, Q, 2)
    boxes_cxcywh: Tensor  # (B, S, Q, 4)
    pointer: Tensor | None = None  # (B, S, Q, P) logits of where the pointer head looks
    first: Answers | None = None  # before the glimpse, models with one


class MLP(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, width: int, output: int, num_layers: int) -> None:
        super().__init__()
        sizes = [width] * num_layers + [output]
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) → (..., output)."""
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        return self.layers[-1](x)  # type: ignore[no-any-return]


def pool_text(text: Tensor, attention_mask: Tensor, rule: str) -> Tensor:
    """One vector per text, (N, T, E) → (N, E); `rule` is `SimVGConfig.text_pooling`.

    "masked": elementwise maximum over the real tokens. "official": over the last position and, in texts with padding,
    the second-last one (the published code uses its mask as indices, and its weights live with that).
    """
    if rule == "official":
        last, before = text[:, -1], text[:, -2]
        padded = ~attention_mask.bool().all(dim=1, keepdim=True)
        return torch.where(padded, torch.maximum(last, before), last)
    return text.masked_fill(~attention_mask.bool().unsqueeze(-1), float("-inf")).amax(dim=1)


class QueryGenerator(nn.Module):
    """Text-guided query generation: learned queries look at the text once per text, never at the image."""

    def __init__(self, config: SimVGConfig) -> None:
        super().__init__()
        self.rule = config.text_pooling
        self.project = nn.Linear(config.hidden_size, config.head_size)
        self.queries = nn.Embedding(config.num_queries, config.head_size)
        self.decoder = QueryDecoder(config, config.num_query_generator_layers, config.query_generator_ffn_size)

    def forward(self, text: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Encoded text (N, T, D) → queries (N, Q, E) and the pooled text (N, E)."""
        memory = self.project(text)
        position = text_positions(memory.shape[1], memory.shape[2], memory.device).to(memory.dtype)
        learned = self.queries.weight.expand(len(memory), 1, -1, -1)
        generated = self.decoder(learned, memory, position, attention_mask.bool())[-1]
        pooled = pool_text(memory, attention_mask, self.rule)
        return (generated + pooled[:, None, None] + learned).squeeze(1), pooled


class BoxHead(nn.Module):
    """The paper's prediction layers: a class layer and a box MLP with a sigmoid."""

    def __init__(self, config: SimVGConfig) -> None:
        super().__init__()
        self.classify = nn.Linear(config.head_size, 2)
        self.locate = MLP(config.head_size, 4, 3)

    def see(self, image: Tensor) -> Tensors:
        """The image itself."""
        return (image,)

    def prepare(self, x: Tensor) -> Tensors:
        """The answer features themselves."""
        return (x,)

    def forward(
        self,
        prepared: Tensors,
        seen: Tensors,
        valid: Tensor | None,
        heat: Tensor | None = None,
        fine: Tensor | None = None,
    ) -> Answers:
        """Answer features (B, S, Q, E) → answers; the image is not looked at."""
        (x,) = prepared
        return Answers(self.classify(x).float(), self.locate(x).float().sigmoid())


class PointerHead(nn.Module):
    """Points at image tokens: the soft-argmax is the centre, the features found there give class, offset and size.

    Learns much faster from scratch than regressing absolute coordinates from the answer feature alone.
    """

    # (B, L, M) by (B, M, N), both large; `execution.pack` sets another way
    multiply: Callable[[Tensor, Tensor], Tensor] = staticmethod(torch.bmm)

    def __init__(self, config: SimVGConfig) -> None:
        super().__init__()
        width = config.head_size
        self.grid = config.grid_size
        self.look = nn.Linear(width, width)
        self.keys_values = nn.Linear(width, 2 * width)
        self.join = Join(width)
        self.norm = nn.LayerNorm(width)
        self.refine = nn.Linear(width, width)
        self.classify = nn.Linear(width, 2)
        self.locate = nn.Linear(width, 4)
        self.guided = config.heat_guidance
        if self.guided:
            self.gate = nn.Linear(width, width)
            self.heat_gain = nn.Parameter(torch.tensor(HEAT_GAIN))
        self.glimpse = Glimpse(config) if config.glimpse_side else None
        self.folded: nn.ModuleList | None = None  # `fold`

    def fold(self) -> None:
        """Takes apart what gives keys and values: a graph copies both out of the product."""
        self.folded = nn.ModuleList(products(self.see, self.keys_values.in_features))

    def see(self, image: Tensor) -> Tensors:
        """Image tokens (B, P, E) → their keys and values, (B, P, E) each."""
        if self.folded is not None:
            return tuple(layer(image) for layer in self.folded)
        return self.keys_values(image).chunk(2, dim=-1)  # type: ignore[no-any-return]

    def prepare(self, x: Tensor) -> Tensors:
        """Answer features (..., E) → all that is made of them before the image is looked at, (..., E) each.

        Linear but for a constant, so that the parts of a sum can be prepared apart: a text's once, an object token's
        in each frame.
        """
        parts = self.look(x) * x.shape[-1] ** -0.5, self.join.first(x)
        return (*parts, self.gate(x)) if self.guided else parts

    def forward(
        self,
        prepared: Tensors,
        seen: Tensors,
        valid: Tensor | None,
        heat: Tensor | None = None,
        fine: Tensor | None = None,
    ) -> Answers:
        """Prepared answer features (B, S, Q, E) over what was seen of the image, `valid` (B, P) → answers.

        `heat` (B, S, P), logits of the text's heat map, is where a guided head looks first, and what it finds there
        counts for the class: matching words to cells is what the heat map is trained for directly. `fine` (B, C, F, F)
        is where a head with a glimpse looks again.
        """
        keys, values = seen
        look, joined, *gate = prepared
        slots = look.shape[1:3]
        pointer = self.multiply(look.flatten(1, 2), keys.transpose(1, 2)).unflatten(1, slots).float()
        if self.guided and heat is not None:
            pointer = pointer + heat.unsqueeze(2)
        if valid is not None:
            pointer = pointer.masked_fill(~valid[:, None, None], float("-inf"))
        weights = pointer.softmax(dim=-1)
        centre = mean_place(weights, self.grid)
        found = self.multiply(weights.to(values.dtype).flatten(1, 2), values).unflatten(1, slots).to(joined.dtype)
        if self.guided:
            found = found * gate[0]
        hidden = torch.relu(self.norm(joined + self.join.second(found)))
        hidden = hidden + torch.relu(self.refine(hidden))
        logits, place = self.classify(hidden).float(), self.locate(hidden).float()
        if self.guided and heat is not None:
            warmth = self.heat_gain * (weights * heat.unsqueeze(2)).sum(dim=-1)
            logits = logits + torch.stack([warmth, -warmth], dim=-1)
        boxes = torch.cat([centre + POINTER_REACH * place[..., :2].tanh(), place[..., 2:].sigmoid()], dim=-1)
        if self.glimpse is None or fine is None:
            return Answers(logits, boxes, pointer)
        second_logits, second_boxes = self.glimpse(hidden, logits, boxes, fine)
        return Answers(second_logits, second_boxes, pointer, Answers(logits, boxes))


class TokenBranch(nn.Module):
    """The student, and the branch that is deployed: object token plus query through a small MLP to an answer.

    With `SimVGConfig.text_bias`, what a text says adds to the score of its answers whatever the picture shows.
    """

    def __init__(self, config: SimVGConfig) -> None:
        super().__init__()
        self.project = nn.Linear(config.hidden_size, config.head_size)
        self.mlp = MLP(config.head_size, config.head_size, config.num_token_mlp_layers)
        self.head: PointerHead | BoxHead = PointerHead(config) if config.box_head == "pointer" else BoxHead(config)
        self.text_bias = nn.Linear(config.head_size, 1) if config.text_bias else None
        self.folded: nn.ModuleList | None = None  # `fold`

    @property
    def affine(self) -> bool:
        """Whether all before the look at the image is a sum of what object token and query become, each by itself."""
        return isinstance(self.head, PointerHead) and len(self.mlp.layers) == 1

    def see(self, image: Tensor) -> Tensors:
        """Image tokens (B, P, E) → what the head looks at, whatever the text."""
        return self.head.see(image)

    def ask(self, queries: Tensor) -> Tensor:
        """Queries (N, Q, E) → what the branch makes of texts before there is a frame, (N, V, Q, E): the features' part,
        then the head's. V is 0 where a frame has a part in all of it."""
        if not self.affine:
            return queries[:, None][:, :0]
        # f(query + object) = f(query) - f(0) + f(object)
        of_queries, of_nothing = (self._made_of(part) for part in (queries, torch.zeros_like(queries[:1])))
        return torch.stack([own - nothing for own, nothing in zip(of_queries, of_nothing, strict=True)], dim=1)

    def fold(self) -> None:
        """Makes one layer each of those in a row that lead from an object token to features and to what the head
        prepares, where nothing but layers lies between."""
        if self.affine:
            self.folded = nn.ModuleList(
                products(lambda objects: self._made_of(self.project(objects)), self.project.in_features)
            )

    def _of_objects(self, objects: Tensor) -> Tensors:
        if self.folded is not None:
            return tuple(layer(objects) for layer in self.folded)
        return self._made_of(self.project(objects))

    def _made_of(self, summed: Tensor) -> Tensors:
        """The sum of query and object token, or one of them → features, and what the head prepares."""
        features = self.mlp(summed)
        return (features, *self.head.prepare(features))

    def forward(
        self,
        objects: Tensor,
        queries: Tensor | None,
        seen: Tensors,
        valid: Tensor | None,
        heat: Tensor | None = None,
        fine: Tensor | None = None,
        asked: Tensors = (),
    ) -> tuple[Answers, Tensor]:
        """Object tokens (B, S, K, D), K is 1 or Q, queries (B or 1, S, Q, E) and what was seen of the images → answers
        and their features (B, S, Q, E).

        `asked`, the parts of `ask`, (B or 1, S, Q, E) each, spares what it holds; the answers are the same. Queries are
        then needed for the text bias alone.
        """
        if asked:
            made = zip(self._of_objects(objects), asked, strict=True)
            features, *prepared = (own + text for own, text in made)
        else:
            assert queries is not None, "or nothing is asked"
            features, *prepared = self._made_of(queries + self.project(objects))
        answers: Answers = self.head(tuple(prepared), seen, valid, heat, fine)
        if self.text_bias is not None:
            assert queries is not None, "it is theirs"
            half = self.text_bias(queries.mean(dim=-2, keepdim=True)) / 2
            answers = answers._replace(logits=answers.logits + torch.cat([half, -half], dim=-1))
        return answers, features


class DecoderBranch(nn.Module):
    """The teacher: a DETR decoder whose queries look at the image tokens. Answers of every layer."""

    def __init__(self, config: SimVGConfig) -> None:
        super().__init__()
        self.decoder = QueryDecoder(config, config.num_decoder_layers, config.decoder_ffn_size)
        self.head = BoxHead(config)

    def forward(self, queries: Tensor, image: Tensor, position: Tensor, valid: Tensor | None) -> list[Answers]:
        """Queries (B, S, Q, E) over image tokens (B, P, E) with 2-D positions → answers per layer, last one best."""
        return [self.head((hidden,), (image,), valid) for hidden in self.decoder(queries, image, position, valid)]
