"""The query pass: every standing query on every frame, in parts, or only those that the gate lets pass.

Shapes: B frames, N texts, Q answers per text, P image tokens, E head width. Boxes are cxcywh, normalised to the frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simvg_core import standing
from simvg_core.calibration import calibrated, raw_logit
from simvg_core.errors import ConfigurationError
from simvg_core.gate import bounded, highest
from simvg_core.standing import CompiledTexts, Stream

if TYPE_CHECKING:
    from simvg_core.composing import Plan
    from simvg_core.model import SimVGForGrounding

# Pairs of frame and text that run at once; bounds memory: scores of 256 pairs of the shipped model take 13 MB.
MAX_PAIRS = 256
MAX_PAIRS_ON_A_GPU = 8192


class SeenFrames(NamedTuple):
    """What the frame pass gives: all of a frame that no text can change."""

    image: Tensor  # (B, P, E)
    stream: Stream  # rows = B
    fine: Tensor | None  # (B, C, F, F), models with a glimpse
    pointed: tuple[Tensor, ...]  # (B, P, E) each, what the token branch's head looks at
    heat: Tensor | None  # (B, P, E), models with auxiliary heads
    gate: Tensor | None  # (B, P, …), models whose gate is on
    states: Tensor | None  # (B, P, S) log-odds of states, models with `cell_states`

    def rows(self, frames: slice | list[int]) -> SeenFrames:
        """Some of them."""
        stream = self.stream.map(lambda part: part[frames])
        single = (self.fine, self.heat, self.gate, self.states)
        fine, heat, gate, states = (None if part is None else part[frames] for part in single)
        pointed = tuple(part[frames] for part in self.pointed)
        return SeenFrames(self.image[frames], stream, fine, pointed, heat, gate, states)


class Asked(NamedTuple):
    """What the query pass gives."""

    logits: Tensor  # (B, N, Q, 2)
    boxes: Tensor  # (B, N, Q, 4)
    exists: Tensor | None  # (B, N), models with auxiliary heads; -inf where the gate was shut
    warm: Tensor | None = None  # (B, N), False where the gate was shut; None: all were asked

    def put(self, frame: int, texts: Tensor, found: Asked) -> None:
        """Writes what one frame, (1, M, …), was found to say to the texts at these places, (M,)."""
        for part, own in zip(self[:3], found[:3], strict=True):
            if part is not None and own is not None:
                part[frame, texts] = own[0]

    def bounded(self, most: Tensor) -> Asked:
        """With differences of the class logits up to `most`, (B, N)."""
        return self._replace(logits=bounded(self.logits, most))


def see(model: SimVGForGrounding, pixel_values: Tensor) -> SeenFrames:
    """The frame pass: (B, 3, H, W) → what every query looks at."""
    tokens, stream, fine = standing.encode_image(model.encoder, pixel_values)
    image = model.image_projection(tokens)
    heat = None if model.auxiliary is None else model.auxiliary.heat_cells(image)
    gate = model.gate.see(image) if model.gate is not None and model.bounded else None
    states = None if model.auxiliary is None else model.auxiliary.states(image, model.config.cell_states)
    return SeenFrames(image, stream, fine, model.token_branch.see(image), heat, gate, states)


def warmth(model: SimVGForGrounding, texts: CompiledTexts, frames: SeenFrames) -> Tensor:
    """What the gate says, (B, N) logits.

    Raises:
        ConfigurationError: the model has none, or it is off.
    """
    if model.gate is None or frames.gate is None:
        raise ConfigurationError("this model has no gate, or it is off; `simvg gate MODEL --fit …` teaches it one.")
    said: Tensor = model.gate(texts.kept.asked, frames.gate)
    return said


def ask(model: SimVGForGrounding, texts: CompiledTexts, frames: SeenFrames) -> Asked:
    """Every text on every frame; scores are bounded by the gate, where the model has one."""
    found = ask_objects(model, texts, frames)
    return found.bounded(highest(warmth(model, texts, frames), model.config)) if model.bounded else found


def ask_objects(model: SimVGForGrounding, texts: CompiledTexts, frames: SeenFrames) -> Asked:
    """What the object tokens of every text say in every frame, whatever the gate says; in parts, so that memory does
    not grow with the number of texts."""
    most = MAX_PAIRS if frames.image.device.type == "cpu" else MAX_PAIRS_ON_A_GPU
    size = max(1, most // max(1, len(frames.image)))
    if len(texts) <= size:
        return ask_pairs(model, texts, frames)
    parts = [ask_pairs(model, part, frames) for part in texts.parts(size)]
    exists = [part.exists for part in parts if part.exists is not None]
    return Asked(
        torch.cat([part.logits for part in parts], dim=1),
        torch.cat([part.boxes for part in parts], dim=1),
        torch.cat(exists, dim=1) if exists else None,
    )


def ask_pairs(model: SimVGForGrounding, texts: CompiledTexts, frames: SeenFrames) -> Asked:
    """Every text on every frame, at once."""
    count, num_texts = len(frames.image), len(texts)
    objects = standing.encode_objects(
        model.encoder, count, num_texts, frames.stream, texts.stream, texts.attention_mask.unsqueeze(0)
    )
    auxiliary = model.auxiliary
    heat = None if auxiliary is None or frames.heat is None else auxiliary.heat_map(texts.kept.pooled, frames.heat)
    queries, said = texts.kept.queries.unsqueeze(0), texts.kept.said.unsqueeze(0).unbind(dim=2)
    answers, features = model.token_branch(objects, queries, frames.pointed, None, heat, frames.fine, said)
    exists = None if auxiliary is None else auxiliary.existence(features)
    return Asked(answers.logits, answers.boxes_cxcywh, exists)


def ask_warm(model: SimVGForGrounding, texts: CompiledTexts, frames: SeenFrames, gate: float | Tensor) -> Asked:
    """Frame by frame, each with the texts that are warm in it, for which the gate gives `gate`, one for all or (N,);
    the others get boxes without area and `gate_score`.

    Raises:
        ConfigurationError: the model has no gate, or it is off.
    """
    warmths = warmth(model, texts, frames)
    return _ask_where(model, texts, frames, ~(warmths < gate), warmths)  # NaN is asked: it must not pass for cold


def ask_plan(
    model: SimVGForGrounding, texts: CompiledTexts, frames: SeenFrames, plan: Plan, gate: NDArray[np.float32] | None
) -> Asked:
    """The rows of a plan: its parts, or with a `gate`, bounds of (2, N) texts, those that a text needs whose others are
    warm as well; and wholes where a frame has so many of a part that they count. `Asked.warm` is (B, F). Errors as of
    `ask_warm`.
    """
    parts = texts.parts(plan.first)[0]
    if gate is None:
        found = ask(model, parts, frames)
    else:
        warmths = warmth(model, parts, frames)
        needed = plan.needed(warmths.float().cpu().numpy(), gate)
        found = _ask_where(model, parts, frames, torch.from_numpy(needed).to(warmths.device), warmths)
    if len(texts) == plan.first:
        return found
    both = _nothing(model, len(frames.image), texts, found.logits.device)
    scores = calibrated(found.logits, model.config).cpu().numpy()
    for part, own in zip(both[:3], found[:3], strict=True):
        if part is not None and own is not None:
            part[:, : plan.first] = own
    for frame, row in enumerate(scores):
        kept = np.arange(plan.first) if found.warm is None else found.warm[frame].nonzero().flatten().cpu().numpy()
        more = torch.from_numpy(plan.doubted(row[kept], kept)).to(both.logits.device)
        if len(more):
            both.put(frame, more, ask(model, texts.select(more), frames.rows(slice(frame, frame + 1))))
    return both._replace(warm=found.warm)


def _ask_where(
    model: SimVGForGrounding, texts: CompiledTexts, frames: SeenFrames, needed: Tensor, warmths: Tensor
) -> Asked:
    """Those of the texts that each frame needs, (B, N)."""
    most = highest(warmths, model.config)
    found = _nothing(model, len(needed), texts, needed.device)
    for frame in range(len(needed)):
        kept = needed[frame].nonzero().flatten()
        if len(kept):
            rows = slice(frame, frame + 1)
            part = ask_objects(model, texts.select(kept), frames.rows(rows)).bounded(most[rows, kept])
            found.put(frame, kept, part)
    return found._replace(warm=needed)


def _nothing(model: SimVGForGrounding, frames: int, texts: CompiledTexts, device: torch.device) -> Asked:
    """What texts get that are not asked."""
    shape = (frames, len(texts), model.config.num_queries)
    closed = raw_logit(model.config.gate_score, model.config) / 2
    logits = torch.tensor([closed, -closed], device=device).repeat(*shape, 1)
    exists = None if model.auxiliary is None else logits.new_full(shape[:2], float("-inf"))
    return Asked(logits, logits.new_zeros(*shape, 4), exists)
