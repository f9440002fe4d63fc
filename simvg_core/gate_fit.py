"""Teaching the gate: from what the object tokens answer on pictures of the line, and from the truth where it is known.

The model's other weights stay as they are. A text that the object tokens find rightly must pass; one that they find
where the truth says that there is none should not, and then scores less. Shapes: N texts in all, n of one picture,
P image tokens, E head width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from simvg_core import asking
from simvg_core.calibration import calibrated
from simvg_core.gate import GateCurve
from simvg_core.gate_head import GateHead
from simvg_core.gate_usual import EPOCHS
from simvg_core.grounder import Grounder
from simvg_core.images import Frame
from simvg_core.standing import CompiledTexts

Progress = Callable[[int, int], None]

# The target is the object tokens' own doubt, this much sharper …
SHARPNESS = 2.0
# … and at least this where they are right to some degree, from the first score that any query may care for on.
RIGHT, RIGHT_FROM = 0.9, 0.3
# A pair that is lost harms more than one that passes for nothing.
POSITIVE_WEIGHT = 20.0
# Pairs that are plainly cold are many and teach little: so many of them are drawn as of others.
COLD, COLD_SHARE = 0.05, 0.35
# With fewer queries the gate saves less than it costs; a worker measures the price of a query with half as many.
FEWEST_QUERIES = 64
RATE, DECAY, BATCH = 4e-3, 0.05, 16
TRUE, FALSE, UNKNOWN = 1, 0, -1


@dataclass(frozen=True)
class Asked:
    """What one picture is asked: places of texts, and of each whether it is there: TRUE, FALSE or UNKNOWN."""

    frame: Callable[[], Frame]
    places: Sequence[int]
    truth: Sequence[int]


@dataclass(frozen=True)
class Lesson:
    """One picture, some texts, what the object tokens said and what is true."""

    image: Tensor  # (P, E)
    places: Tensor  # (n,) of the texts
    scores: Tensor  # (n,) calibrated, best answer
    truth: Tensor  # (n,) as in Asked


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How the gate is taught."""

    heads: int = 4
    width: int = 32
    epochs: int = EPOCHS
    texts: int = 128
    seed: int = 0


def collect(
    grounder: Grounder,
    texts: CompiledTexts,
    asked: Sequence[Asked],
    progress: Progress = lambda done, total: None,
    dtype: torch.dtype = torch.float32,
) -> list[Lesson]:
    """Asks each picture its texts; `dtype` of what is kept of the pictures.

    Raises:
        ImageError: a file cannot be read as a picture.
    """
    lessons = []
    for number, own in enumerate(asked):
        kept = torch.tensor(own.places, device=grounder.device)
        pixels = grounder.processor.frames([own.frame()]).pixel_values.to(grounder.device)
        with torch.inference_mode(), grounder.execution.precision(grounder.device):
            seen = asking.see(grounder.model, pixels)
            found = asking.ask_objects(grounder.model, texts.select(kept), seen)
        scores = calibrated(found.logits, grounder.config)[0].amax(dim=-1)
        image = seen.image[0].to("cpu", dtype)
        lessons.append(Lesson(image, kept.cpu(), scores.float().cpu(), torch.tensor(own.truth)))
        progress(number + 1, len(asked))
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
    queries, pooled = texts.kept.queries.float().cpu().clone(), texts.kept.pooled.float().cpu().clone()
    optimizer = torch.optim.AdamW(head.parameters(), RATE, weight_decay=DECAY)
    batch = min(BATCH, len(lessons))
    steps = settings.epochs * (len(lessons) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=0.1)
    weight = torch.tensor(POSITIVE_WEIGHT)
    fast = torch.ops.mkldnn._is_mkldnn_bf16_supported()  # else it would be several times slower
    wanted = [_wanted(lesson) for lesson in lessons]
    chances = [_chances(lesson) for lesson in lessons]
    for epoch in range(settings.epochs):
        order = rng.permutation(len(lessons))
        for start in range(0, len(order) - batch + 1, batch):
            rows = order[start : start + batch].tolist()
            picks = [_pick(rng, chances[row], settings.texts) for row in rows]
            places = torch.stack([lessons[row].places[pick] for row, pick in zip(rows, picks, strict=True)])
            target = torch.stack([wanted[row][pick] for row, pick in zip(rows, picks, strict=True)])
            image = torch.stack([lessons[row].image for row in rows]).float()
            with torch.autocast("cpu", torch.bfloat16, enabled=fast):
                asked = head.ask(queries[places.flatten()], pooled[places.flatten()]).unflatten(0, places.shape)
                logits = head(asked, head.see(image))
            loss = F.binary_cross_entropy_with_logits(logits, target, pos_weight=weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        progress(epoch + 1, settings.epochs)
    grounder.model.gate = head.to(grounder.device).eval()


def measure(grounder: Grounder, lessons: Sequence[Lesson], texts: CompiledTexts) -> GateCurve:
    """What the gate of a model says of each pair, beside what the object tokens said of it and whether rightly."""
    model = grounder.model
    assert model.gate is not None, "simvg gate has looked"
    warmth: list[float] = []
    for lesson in lessons:
        with torch.inference_mode():
            own = texts.select(lesson.places.to(grounder.device))
            image = lesson.image.float().to(grounder.device)[None]
            warmth += model.gate(model.gate.ask(own.kept.queries, own.kept.pooled), model.gate.see(image))[0].tolist()
    scores = torch.cat([lesson.scores for lesson in lessons]).numpy()
    truth = torch.cat([lesson.truth for lesson in lessons]).numpy()
    return GateCurve(np.asarray(warmth, float), scores.astype(float), truth != FALSE)


def _wanted(lesson: Lesson) -> Tensor:
    chance = lesson.scores.clamp(1e-4, 1 - 1e-4)
    doubt = torch.sigmoid(SHARPNESS * (chance / (1 - chance)).log())
    right = (lesson.truth == TRUE) & (lesson.scores >= RIGHT_FROM)
    doubt = torch.where(right, doubt.clamp(min=RIGHT), doubt)
    return torch.where(lesson.truth == FALSE, torch.zeros_like(doubt), doubt)


def _chances(lesson: Lesson) -> NDArray[np.float64]:
    chances = np.where(lesson.scores.numpy() < COLD, COLD_SHARE, 1.0)
    return np.asarray(chances / chances.sum())


def _pick(rng: np.random.Generator, chances: NDArray[np.float64], count: int) -> Tensor:
    return torch.from_numpy(rng.choice(len(chances), count, replace=len(chances) < count, p=chances))
