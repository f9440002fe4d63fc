"""Data sets of expressions as batches: one picture and one expression per sample."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simvg_core.box_arrays import xyxy_to_cxcywh
from simvg_core.configuration import SimVGConfig
from simvg_core.errors import ConfigurationError
from simvg_core.images import resize
from simvg_core.text import TextPacker
from simvg_core.training.data import Batch, DataError, read_picture
from simvg_core.training.jitter import JitterSettings, jitter
from simvg_core.training.refused import WAY_OUT, divided, misread
from simvg_core.training.sets.open import open_set
from simvg_core.training.sets.pictures import BROKEN_PICTURE, with_pictures
from simvg_core.training.sets.sample import GroundingSet, Sample
from simvg_core.training.settings import SetSettings, TrainSettings
from simvg_core.training.sources import Step
from simvg_core.words import UNREADABLE, Pieces, WordPacker

log = logging.getLogger(__name__)
UNANSWERED = "target beyond the num_queries answers of its expression"
"""What a step leaves out of an expression with more targets than the model has answers; it teaches the others."""


@dataclass(frozen=True)
class SampleBatchMaker:
    """Turns samples into a batch; picklable, so that it can work in another process.

    Args:
        config: of the model: picture side, resize method, tokens per text.
        jitter: None = the pictures as they are at run time.
        seed: with a sample's id and the epoch it decides everything that is random.
    """

    config: SimVGConfig
    pieces: Pieces
    jitter: JitterSettings | None
    seed: int

    def __call__(self, item: tuple[Sequence[Sample], int]) -> Batch:
        """`item` is (samples, epoch)."""
        samples, epoch = item
        pictures, boxes = [], []
        for sample in samples:
            frame = read_picture(sample)
            targets = np.array(sample.boxes_xyxy_px, np.float32).reshape(-1, 4)
            if self.jitter is not None:
                rng = np.random.default_rng((self.seed, epoch, *sample.id.encode()))
                frame, targets = jitter(frame, targets, self.config.image_size, self.jitter, rng)
            pictures.append(resize(frame, self.config.image_size, self.config.resize)[:, :, ::-1])
            boxes.append(normalised(targets, frame.shape[1], frame.shape[0]))
        texts = TextPacker(self.config, self.pieces)([sample.text for sample in samples])
        return Batch(
            pixels=np.ascontiguousarray(np.stack(pictures)),
            input_ids=texts.input_ids.numpy(),
            attention_mask=texts.attention_mask.numpy(),
            image_index=np.arange(len(samples), dtype=np.int64),
            boxes=boxes,
            texts=[sample.text for sample in samples],
        )


def normalised(boxes_xyxy_px: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    """(n, 4) corners in pixels → cxcywh, normalised to the picture."""
    return xyxy_to_cxcywh(np.divide(boxes_xyxy_px, np.array([width, height, width, height], np.float32)))


def open_grounding_set(settings: SetSettings) -> GroundingSet:
    """Raises SetError where there is no such set."""
    images = None if settings.images is None else Path(settings.images)
    return open_set(
        Path(settings.path),
        format=settings.format,
        split=settings.split,
        images=images,
        merge_boxes=not settings.any_box,
    )


class GroundingSource:
    """Data sets of expressions; an epoch asks for everything once, in one of its expressions drawn at random.

    Expressions of one image with the same boxes mean the same thing; expressions without a target stand alone. Where
    a "rec" set has several boxes for an expression, one of them is drawn. Expressions that the model cannot read, such
    as too long ones where its `text_overflow` is "error", and those whose picture is missing, broken or of another size
    than its boxes are for, are left out and counted, as in an evaluation. Of an expression with more targets than the
    model has answers, so many are taught in a step, and the others are counted (`UNANSWERED`).

    Args:
        step_size: samples per step, all processes and passes together.
    """

    def __init__(
        self,
        sets: Sequence[GroundingSet],
        config: SimVGConfig,
        pieces: Pieces,
        settings: TrainSettings,
        step_size: int,
    ) -> None:
        self.seed, self.step_size = settings.seed, step_size
        self.make: Callable[[Any], Batch] = SampleBatchMaker(config, pieces, settings.jitter, settings.seed)
        left_out: Counter[str] = Counter()
        words = WordPacker(pieces, config.max_text_tokens, config.text_overflow)
        groups: dict[Any, list[Sample]] = {}
        for number, one in enumerate(sets):
            if one.task == "grec" and config.num_queries == 1:
                raise ConfigurationError(
                    f"{one.name} asks for several boxes at once, a model with num_queries=1 gives one; use more."
                )
            left_out.update(one.left_out())
            samples, broken = with_pictures(one.samples(), one.name)
            left_out[BROKEN_PICTURE] += broken
            for sample in samples:
                if not words.reads(sample.text):
                    left_out[UNREADABLE] += 1
                    continue
                alone = None if sample.boxes_xyxy_px else sample.id
                key = (number, one.task, sample.image_id, sample.boxes_xyxy_px, alone)
                groups.setdefault(key, []).append(sample)
        left_out[UNANSWERED] = _unanswered(groups, config.num_queries)
        self.left_out: Mapping[str, int] = +left_out
        self.things = list(groups.values())
        self.choose_box = [key[1] == "rec" and len(key[3]) > 1 for key in groups]
        if not self.things:
            reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self.left_out.items())) or "none"
            raise DataError(
                f"the training sets hold no usable sample (left out: {reasons}); check their paths and splits."
            )
        self.refused = _refused(groups) if config.composed_answers else {}
        self.divided = _divided(groups) if config.composed_answers else {}
        self.fingerprint: str | None = _fingerprint(groups)
        self.epoch_steps: int | None = max(1, len(self.things) // step_size)

    def round(self, epoch: int, share: float) -> list[Step]:
        """One epoch; what does not fill a step waits for another epoch. Samples of a small set repeat."""
        rng = np.random.default_rng((self.seed, epoch))
        assert self.epoch_steps is not None
        order = np.resize(rng.permutation(len(self.things)), self.epoch_steps * self.step_size)
        return [
            (0, [str(index) for index in order[at : at + self.step_size]])
            for at in range(0, len(order), self.step_size)
        ]

    def item(self, place: int, names: list[str], epoch: int) -> tuple[list[Sample], int]:
        return [self.sample(int(name), epoch) for name in names], epoch

    def sample(self, index: int, epoch: int) -> Sample:
        """The expression, and of alternatives the box, that a thing has in an epoch."""
        rng = np.random.default_rng((self.seed, epoch, index))
        expressions = self.things[index]
        chosen = expressions[int(rng.integers(len(expressions)))]
        if not self.choose_box[index]:
            return chosen
        box = chosen.boxes_xyxy_px[int(rng.integers(len(chosen.boxes_xyxy_px)))]
        return replace(chosen, boxes_xyxy_px=(box,))


def _unanswered(groups: Mapping[Any, Sequence[Sample]], answers: int) -> int:
    """How many targets no answer is left for, which is warned of."""
    over = [one for key, expressions in groups.items() if key[1] == "grec" for one in expressions]
    over = [one for one in over if len(one.boxes_xyxy_px) > answers]
    count = sum(len(one.boxes_xyxy_px) - answers for one in over)
    if over:
        log.warning(
            "%d training expressions have more targets than the model has answers (num_queries=%d; the first: %s with "
            "%d): %d targets are taught by no step. Use a larger num_queries, or leave these expressions out.",
            len(over), answers, over[0].id, len(over[0].boxes_xyxy_px), count,
        )  # fmt: skip
    return count


def _refused(groups: Mapping[Any, Sequence[Sample]]) -> Mapping[str, Any]:
    """What is taught in vain, which is warned of: a worker refuses it."""
    found = misread(sample.text for expressions in groups.values() for sample in expressions)
    if not found.count:
        return {}
    log.warning(
        "workers will refuse %d of the %d training expressions, whatever the model learns of them (first: %r: %s). "
        "To have texts asked as they stand: %s.",
        found.count, found.total, found.text, found.reason, WAY_OUT,
    )  # fmt: skip
    return asdict(found)


def _divided(groups: Mapping[Any, Sequence[Sample]]) -> Mapping[str, Any]:
    """What is taught in vain, too: a worker asks other texts for it."""
    found = divided(sample.text for expressions in groups.values() for sample in expressions)
    if not found.count:
        return {}
    log.warning(
        "workers will ask %d of the %d training expressions in other words or in parts (first: %r as %s), so that what "
        "the model learns of them as they stand does not reach its answers. Have the sets say what is asked, with all "
        "its places; or to have texts asked as they stand: %s.",
        found.count, found.total, found.text, ", ".join(map(repr, found.asked)), WAY_OUT,
    )  # fmt: skip
    return asdict(found)


def _fingerprint(groups: Mapping[Any, Sequence[Sample]]) -> str:
    """Of the ids of all samples, as they stand: a step names things by their places among them."""
    ids = [[key[0], *(sample.id for sample in expressions)] for key, expressions in groups.items()]
    return hashlib.sha256(json.dumps(ids).encode()).hexdigest()
