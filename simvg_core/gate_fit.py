"""Teaching the gate what the full pass would find, from its answers on pictures of the line.

The model's other weights stay as they are, and so do its answers. No truth is needed: what counts is what the full
pass says, right or wrong. Shapes: N texts in all, n of one picture, P image tokens, E head width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from simvg_core import asking
from simvg_core.gate import GateCurve
from simvg_core.gate_head import GateHead
from simvg_core.grounder import Grounder
from simvg_core.images import read_frame
from simvg_core.processing import calibrated
from simvg_core.standing import CompiledTexts

Progress = Callable[[int, int], None]

# The target is the full pass's own doubt, this much sharper.
SHARPNESS = 2.0
# A pair that is lost harms more than one that passes for nothing.
POSITIVE_WEIGHT = 8.0
# With fewer queries the gate saves less than it costs; a worker measures the price of a query with half as many.
FEWEST_QUERIES = 64
RATE, DECAY, BATCH = 4e-3, 0.02, 16


@dataclass(frozen=True)
class Lesson:
    """One picture, some texts, and what the full pass said."""

    image: Tensor  # (P, E)
    places: Tensor  # (n,) of the texts
    scores: Tensor  # (n,) calibrated, best answer


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How the gate is taught."""

    heads: int = 4
    width: int = 32
    epochs: int = 25
    texts: int = 96
    seed: int = 0


def collect(
    grounder: Grounder,
    files: Sequence[Path],
    texts: CompiledTexts,
    chosen: Sequence[Sequence[int]],
    progress: Progress = lambda done, total: None,
) -> list[Lesson]:
    """Asks of each picture the texts at its `chosen` places.

    Raises:
        ImageError: a file cannot be read as a picture.
    """
    lessons = []
    for number, (file, places) in enumerate(zip(files, chosen, strict=True)):
        frame = read_frame(file)
        kept = torch.tensor(places, device=grounder.device)
        pixels = grounder.processor.frames([frame]).pixel_values.to(grounder.device)
        with torch.inference_mode(), grounder.execution.precision(grounder.device):
            seen = asking.see(grounder.model, pixels)
            found = asking.ask(grounder.model, texts.select(kept), seen)
        scores = calibrated(found.logits, grounder.config)[0].amax(dim=-1)
        lessons.append(Lesson(seen.image[0].float().cpu(), kept.cpu(), scores.float().cpu()))
        progress(number + 1, len(files))
    return lessons


def fit(
    grounder: Grounder,
    lessons: Sequence[Lesson],
    texts: CompiledTexts,
    settings: FitSettings,
    progress: Progress = lambda done, total: None,
) -> None:
    """Gives the grounder's model new gate layers and teaches them; the same seed gives the same layers."""
    config = grounder.config
    config.gate_heads, config.gate_width = settings.heads, settings.width
    config.gate_queries = max(config.gate_queries, FEWEST_QUERIES)
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    head = GateHead(config).train()
    queries, pooled = texts.queries.float().cpu().clone(), texts.pooled.float().cpu().clone()
    optimizer = torch.optim.AdamW(head.parameters(), RATE, weight_decay=DECAY)
    batch = min(BATCH, len(lessons))
    steps = settings.epochs * (len(lessons) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=0.1)
    weight = torch.tensor(POSITIVE_WEIGHT)
    count = min(settings.texts, min(len(lesson.places) for lesson in lessons))
    for epoch in range(settings.epochs):
        order = rng.permutation(len(lessons))
        for start in range(0, len(order) - batch + 1, batch):
            rows = [lessons[place] for place in order[start : start + batch]]
            picks = [torch.from_numpy(rng.permutation(len(row.places))[:count]) for row in rows]
            places = torch.stack([row.places[pick] for row, pick in zip(rows, picks, strict=True)])
            scores = torch.stack([row.scores[pick] for row, pick in zip(rows, picks, strict=True)])
            asked = head.ask(queries[places.flatten()], pooled[places.flatten()]).unflatten(0, places.shape)
            logits = head(asked, torch.stack([row.image for row in rows]))
            wanted = torch.sigmoid(SHARPNESS * _logit(scores))
            loss = F.binary_cross_entropy_with_logits(logits, wanted, pos_weight=weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        progress(epoch + 1, settings.epochs)
    grounder.model.gate = head.to(grounder.device).eval()


def measure(grounder: Grounder, lessons: Sequence[Lesson], texts: CompiledTexts) -> GateCurve:
    """What the gate of a model sees of each pair, beside what the full pass said of it."""
    model = grounder.model
    warmth: list[float] = []
    for lesson in lessons:
        with torch.inference_mode():
            own = texts.select(lesson.places.to(grounder.device))
            if model.gate is not None:
                own = own.asking(model.gate.ask(own.queries, own.pooled))
            image = lesson.image.to(grounder.device)[None]
            warmth += asking.warmth(model, own, image)[0].tolist()
    scores = torch.cat([lesson.scores for lesson in lessons])
    return GateCurve(np.asarray(warmth, float), scores.numpy().astype(float))


def _logit(chance: Tensor) -> Tensor:
    chance = chance.clamp(1e-4, 1 - 1e-4)
    return (chance / (1 - chance)).log()


def samples(total: int, count: int, own: Sequence[Sequence[int]], seed: int) -> list[list[int]]:
    """For each picture its own texts, and `count` others of the first `total`."""
    rng = np.random.default_rng(seed)
    return [list(dict.fromkeys([*mine, *rng.permutation(total)[:count].tolist()])) for mine in own]
