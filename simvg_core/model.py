"""SimVG for visual grounding (arXiv 2409.17531): the tensor face of the model.

Shapes: B images, H = W image side, N texts (N = B unless image_index says otherwise), S slots per image, T text
tokens, K object tokens, Q answers per text, P = G·G image tokens, E head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from simvg_core import asking, initialisation, standing
from simvg_core.auxiliary import AuxiliaryHeads, dense_loss, existence_loss, heat_map_loss, pointer_loss, turn_loss
from simvg_core.branches import Answers, DecoderBranch, QueryGenerator, TokenBranch
from simvg_core.checks import check_labels, checked_grouping, checked_mask
from simvg_core.configuration import SimVGConfig
from simvg_core.encoder import Encoded, MultiwayEncoder
from simvg_core.errors import ConfigurationError, ImageError, InputError
from simvg_core.explain import explain as explain_answer
from simvg_core.gate import bounded, highest
from simvg_core.gate_head import GateHead
from simvg_core.grouping import Grouping
from simvg_core.losses import branch_losses, set_loss
from simvg_core.matching import Targets
from simvg_core.positions import grid_positions, valid_cells
from simvg_core.pretrained import checked
from simvg_core.standing import CompiledTexts, Kept, StandingQueries
from simvg_core.words import TEXTS_AT_ONCE

BRANCHES = ("decoder", "token")


@dataclass
class SimVGOutput(ModelOutput):
    """Result of a forward pass. Boxes are cxcywh, normalised to the image; logits are (object, no object).
    `forward` gives (N, Q, …) answers; `ground_frames` gives (B, texts, Q, …) and no decoder answers.
    """

    loss: Tensor | None = None
    loss_terms: dict[str, Tensor] | None = None
    token_logits: Tensor | None = None  # (N, Q, 2)
    token_boxes: Tensor | None = None  # (N, Q, 4)
    decoder_logits: Tensor | None = None  # (layers, N, Q, 2)
    decoder_boxes: Tensor | None = None  # (layers, N, Q, 4)
    heat_map: Tensor | None = None  # (N, P) logits, models with auxiliary heads
    existence_logits: Tensor | None = None  # (N,) logits, models with auxiliary heads
    pointer: Tensor | None = None  # (N, Q, P) logits, models with a pointer head
    states: Tensor | None = None  # (N, P, S), of `ground_frames` (B, P, S): log-odds of states, with `cell_states`


class SimVGForGrounding(PreTrainedModel):
    """Finds what a text names in an image: none, one or several boxes (sections 3.1 to 3.4).

    Built from a `SimVGConfig`, or read by `from_pretrained` from a folder that `save_pretrained` wrote.
    """

    config_class = SimVGConfig
    base_model_prefix = "simvg"
    main_input_name = "pixel_values"
    supports_gradient_checkpointing = True
    config: SimVGConfig
    explain = explain_answer  # which patches and which words an answer rests on

    def __init__(self, config: SimVGConfig) -> None:
        super().__init__(config)
        self.encoder = MultiwayEncoder(config)
        self.image_projection = nn.Linear(config.hidden_size, config.head_size)
        self.query_generator = QueryGenerator(config)
        self.token_branch = TokenBranch(config)
        self.decoder_branch = DecoderBranch(config) if config.num_decoder_layers else None
        self.auxiliary = AuxiliaryHeads(config) if config.auxiliary_heads else None
        self.gate = GateHead(config) if config.gate_heads else None
        initialisation.plan(self, config)
        self.post_init()  # type: ignore[no-untyped-call]

    @property
    def bounded(self) -> bool:
        """Whether a gate bounds the scores."""
        return self.gate is not None and len(self.config.gate_floors) > 0

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Self:
        """The model of a folder, in evaluation mode; arguments as in transformers.

        Raises:
            CheckpointError: weights are missing, truncated, or do not fit config.json (`pretrained.checked`).
        """
        model: Self = checked(super().from_pretrained, pretrained_model_name_or_path, *args, **kwargs)
        return model

    def _init_weights(self, module: nn.Module) -> None:
        initialisation.initialise(module, self.config)

    # -- one pass over images and texts ------------------------------------------------------------------------

    def forward(
        self,
        pixel_values: Tensor,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        pixel_mask: Tensor | None = None,
        labels: Sequence[dict[str, Any]] | None = None,
        image_index: Tensor | None = None,
        dense_labels: Sequence[dict[str, Any]] | None = None,
        branches: Sequence[str] | None = None,
    ) -> SimVGOutput:
        """Grounds N texts, each in its image.

        Args:
            pixel_values: (B, 3, H, W) normalised RGB at the configured size.
            input_ids: (N, T) long.
            attention_mask: (N, T), 1 = real token; None = all real.
            pixel_mask: (B, H, W), 1 = inside the image; None = all inside.
            labels: N dicts with "boxes" (n, 4) cxcywh normalised, n may be 0; gives losses.
            image_index: (N,) long, the image of each text; None = text i belongs to image i.
            dense_labels: B dicts as `dense_loss` and `turn_loss` take them; used by models with auxiliary heads.
            branches: of "decoder" and "token", those to run; None = all the model has, in training those that
                `loss_weights` names.

        Raises:
            ImageError, TextError, InputError: tensors of a wrong kind, shapes that do not fit each other or the model,
                ids that are no words of it (looked at on the CPU only).
        """
        attention_mask = checked_mask(input_ids, attention_mask, self.config.vocab_size)
        grouping = checked_grouping(len(pixel_values), len(input_ids), image_index)
        if labels is not None:
            check_labels(labels, len(input_ids))
        branches = self._branches(branches, labels is not None)
        if self.config.attention == "standing":
            encoded = standing.encode(self.encoder, pixel_values, input_ids, attention_mask, grouping)
        else:
            encoded = self.encoder(pixel_values, input_ids, attention_mask, image_index)
            if image_index is not None:
                pixel_mask = None if pixel_mask is None else pixel_mask[image_index]
                dense_labels = None if dense_labels is None else [dense_labels[i] for i in image_index.tolist()]
            grouping = Grouping.regular(len(input_ids), 1)
        return self.answer(encoded, attention_mask, grouping, pixel_mask, labels, dense_labels, branches)

    def answer(
        self,
        encoded: Encoded,
        attention_mask: Tensor,
        grouping: Grouping,
        pixel_mask: Tensor | None = None,
        labels: Sequence[dict[str, Any]] | None = None,
        dense_labels: Sequence[dict[str, Any]] | None = None,
        branches: Sequence[str] = BRANCHES,
    ) -> SimVGOutput:
        """The part of `forward` after the encoder: query generation, branches, losses; arguments as there.

        Raises:
            ImageError: a pixel_mask of another shape.
        """
        queries, pooled = self.query_generator(encoded.text, attention_mask)
        image = self.image_projection(encoded.image)
        cells, valid = self._cells(pixel_mask, image)
        rows = grouping.rows(queries)
        out = SimVGOutput()
        pointer = heat = first = None
        if self.auxiliary is not None:
            heat = self.auxiliary.heat_map(grouping.rows(pooled), self.auxiliary.heat_cells(image))
            out.heat_map = grouping.flat(heat)
        if "token" in branches:
            objects = grouping.rows(encoded.objects)
            seen = self.token_branch.see(image)
            answers, features = self.token_branch(objects, rows, seen, valid, heat, encoded.fine)
            if self.gate is not None and self.bounded and labels is None:
                warmth = self.gate(grouping.rows(self.gate.ask(queries, pooled)), self.gate.see(image))
                answers = answers._replace(logits=bounded(answers.logits, highest(warmth, self.config)))
            out.token_logits = grouping.flat(answers.logits)
            out.token_boxes = grouping.flat(answers.boxes_cxcywh)
            out.pointer = pointer = None if answers.pointer is None else grouping.flat(answers.pointer)
            if answers.first is not None:
                first = Answers(grouping.flat(answers.first.logits), grouping.flat(answers.first.boxes_cxcywh))
            if self.auxiliary is not None:
                out.existence_logits = self.auxiliary.existence(grouping.flat(features))
                states = self.auxiliary.states(image, self.config.cell_states)
                out.states = None if states is None else states[grouping.images(states.device)]
        if "decoder" in branches and self.decoder_branch is not None:
            position = grid_positions(cells, image.shape[-1]).to(image.dtype)
            layers: list[Answers] = self.decoder_branch(rows, image, position, valid)
            out.decoder_logits = torch.stack([grouping.flat(layer.logits) for layer in layers])
            out.decoder_boxes = torch.stack([grouping.flat(layer.boxes_cxcywh) for layer in layers])
        if labels is not None:
            self._add_losses(out, labels, pointer, first, image, dense_labels)
        return out

    def _add_losses(
        self,
        out: SimVGOutput,
        labels: Sequence[dict[str, Any]],
        pointer: Tensor | None,
        first: Answers | None,
        image: Tensor,
        dense_labels: Sequence[dict[str, Any]] | None,
    ) -> None:
        weights = self.config.loss_weights or {}
        targets = Targets.of([label["boxes"] for label in labels], image.device)
        token = decoder = None
        if out.token_logits is not None and out.token_boxes is not None:
            token = (out.token_logits, out.token_boxes)
        if out.decoder_logits is not None and out.decoder_boxes is not None:
            decoder = list(zip(out.decoder_logits, out.decoder_boxes, strict=True))
        result = branch_losses(weights, targets, token, decoder, self.config.no_object_weight)
        named = {"decoder": result.decoder, "token": result.token, "distill": result.distill}
        terms = {name: term for name, term in named.items() if term is not None}
        grid = self.config.grid_size
        if pointer is not None and result.token_matches is not None and "pointer" in weights:
            terms["pointer"] = weights["pointer"] * pointer_loss(pointer, targets, result.token_matches, grid)
        if first is not None and "first" in weights:
            terms["first"] = weights["first"] * set_loss(*first[:2], targets, self.config.no_object_weight).total
        if self.auxiliary is not None:
            if out.heat_map is not None and "heat_map" in weights:
                terms["heat_map"] = weights["heat_map"] * heat_map_loss(out.heat_map, targets, grid)
            if out.existence_logits is not None and "existence" in weights:
                terms["existence"] = weights["existence"] * existence_loss(out.existence_logits, targets)
            if dense_labels is not None and "dense" in weights:
                cells = self.auxiliary.cells(image)
                terms["dense"] = weights["dense"] * dense_loss(cells, dense_labels, grid)
                if cells.turns is not None:
                    terms["turn"] = weights["turn"] * turn_loss(cells.turns, dense_labels, grid)
        out.loss = torch.stack(list(terms.values())).sum()
        if result.balance_weight is not None:
            terms["balance_weight"] = result.balance_weight
        out.loss_terms = terms

    # -- standing queries --------------------------------------------------------------------------------------

    @torch.no_grad()
    def compile_queries(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> StandingQueries:
        """Computes everything about N texts that no frame can change, (N, T) ids and mask; N may be 0.

        Raises:
            ConfigurationError: the model is not in standing attention.
            TextError: a text without any token, or ids that are no words of the model.
        """
        if self.config.attention != "standing":
            raise ConfigurationError(
                f'attention="{self.config.attention}" mixes image and text in every layer, so queries cannot be '
                'compiled ahead; use a model with attention="standing".'
            )
        return StandingQueries(self._compile_texts(input_ids, attention_mask), self._compile_texts)

    @torch.no_grad()
    def _compile_texts(self, input_ids: Tensor, attention_mask: Tensor | None) -> CompiledTexts:
        mask = checked_mask(input_ids, attention_mask, self.config.vocab_size)
        input_ids, mask = input_ids.to(self.device), mask.to(self.device)
        length = standing.longest(mask)
        input_ids, mask = input_ids[:, :length], mask[:, :length]
        parts = zip(input_ids.split(TEXTS_AT_ONCE), mask.split(TEXTS_AT_ONCE), strict=True)
        return reduce(CompiledTexts.joined, (self._text_pass(*part) for part in parts))

    def _text_pass(self, input_ids: Tensor, mask: Tensor) -> CompiledTexts:
        text, stream = standing.encode_text(self.encoder, input_ids, mask)
        queries, pooled = self.query_generator(text, mask)
        asked = pooled[:, :0] if self.gate is None else self.gate.ask(queries, pooled)
        said = self.token_branch.ask(queries)
        return CompiledTexts.of(input_ids, mask, stream, Kept(queries, pooled, asked, said, *stream.first))

    @torch.no_grad()
    def ground_frames(
        self,
        pixel_values: Tensor,
        standing_queries: StandingQueries | CompiledTexts,
        heat_map: bool = False,
        gate: float | Tensor | None = None,
    ) -> SimVGOutput:
        """Grounds every standing query in every frame; the frame pass is made once per frame.

        Args:
            pixel_values: (B, 3, H, W) normalised RGB.
            standing_queries: from `compile_queries`.
            heat_map: also give each query's heat map.
            gate: a query that the gate gives a lower logit in a frame gets no object tokens there: its boxes have no
                area and its calibrated score is `gate_score`. One for all or (queries,); None = all
                get theirs.

        Returns:
            token_logits (B, queries, Q, 2), token_boxes (B, queries, Q, 4), existence_logits (B, queries; -inf for
            queries that did not pass the gate) and, on request, heat_map (B, queries, P).

        Raises:
            ConfigurationError: a gate for a model that has none, or whose gate is off.
        """
        texts = standing_queries.texts if isinstance(standing_queries, StandingQueries) else standing_queries
        frames = asking.see(self, pixel_values)
        found = asking.ask(self, texts, frames) if gate is None else asking.ask_warm(self, texts, frames, gate)
        out = SimVGOutput(token_logits=found.logits, token_boxes=found.boxes, existence_logits=found.exists)
        out.states = frames.states
        if heat_map and self.auxiliary is not None and frames.heat is not None:
            out.heat_map = self.auxiliary.heat_map(texts.kept.pooled, frames.heat)
        return out

    # -- checks ------------------------------------------------------------------------------------------------

    def _branches(self, wanted: Sequence[str] | None, with_loss: bool) -> list[str]:
        if wanted is None:
            return [name for name in BRANCHES if not with_loss or name in (self.config.loss_weights or {})]
        if unknown := sorted(set(wanted) - set(BRANCHES)):
            raise InputError(f"branches {unknown} do not exist; use {', '.join(BRANCHES)}.")
        return list(wanted)

    def _cells(self, pixel_mask: Tensor | None, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """Valid cells (B, G, G), and their flat form (B, P) where any cell is outside the image."""
        grid = self.config.grid_size
        if pixel_mask is None:
            return torch.ones(len(image), grid, grid, dtype=torch.bool, device=image.device), None
        size = self.config.image_size
        if tuple(pixel_mask.shape) != (len(image), size, size):
            raise ImageError(f"pixel_mask {tuple(pixel_mask.shape)} must be ({len(image)}, {size}, {size}).")
        cells = valid_cells(pixel_mask, grid)
        return cells, cells.flatten(1)
