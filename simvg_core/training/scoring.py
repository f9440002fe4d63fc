"""A model's answers to the expressions of a data set, by every branch it has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from simvg_core.answers import Answer
from simvg_core.asked_words import AskedWords
from simvg_core.composing import Plan
from simvg_core.counted import limits
from simvg_core.derived import Cells
from simvg_core.model import BRANCHES, SimVGForGrounding
from simvg_core.processing import Inputs, SimVGProcessor
from simvg_core.text import TextBatch
from simvg_core.training.data import make_executor, prefetch, read_picture
from simvg_core.training.metrics import Outcome
from simvg_core.training.sets.pictures import BROKEN_PICTURE, with_pictures
from simvg_core.training.sets.sample import Sample, Task
from simvg_core.words import UNREADABLE

# A joint model runs the whole encoder for every pair of image and text, a standing one for every image.
_JOINT_PAIRS, _STANDING_TEXTS = 8, 256


@dataclass(frozen=True)
class Scored:
    """Outcomes by branch, in the order of the samples, and how many samples were not asked, by reason."""

    outcomes: dict[str, list[Outcome]]
    left_out: Counter[str]


@dataclass(frozen=True)
class _Job:
    """Images of one pass and the samples asked about each."""

    samples: list[list[Sample]]

    @property
    def flat(self) -> list[Sample]:
        return [sample for own in self.samples for sample in own]


def branches_of(model: SimVGForGrounding) -> list[str]:
    """Names of the branches that a model can answer by; the token branch first."""
    return [name for name in reversed(BRANCHES) if name == "token" or model.decoder_branch is not None]


@torch.no_grad()
def ask_model(
    model: SimVGForGrounding,
    processor: SimVGProcessor,
    samples: Sequence[Sample],
    task: Task,
    *,
    branches: Sequence[str] | None = None,
    batch_size: int = 8,
    workers: int = 1,
    dtype: torch.dtype = torch.float32,
    whole_pictures: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Scored:
    """Asks every sample; a standing model sees each image once, with all its texts. Samples whose image is missing, cut
    off or of another size than their boxes are for are left out, and those whose text the model cannot read.

    Args:
        branches: None = all that the model has.
        batch_size: images of a pass (standing), or pairs of image and text (joint).
        workers: threads that read images meanwhile.
        dtype: bfloat16 = matrix products in it.
        whole_pictures: no picture is checked, as none of a rendered set need be; without Pillow none can be.
        progress: gets (samples done, samples in all).

    Raises:
        DataError: an image's pixels are broken, which its header and end do not show.
    """
    names = branches_of(model) if branches is None else list(branches)
    composed = model.config.composing
    words = AskedWords(processor.text.words, composed)
    whole, broken = (samples, 0) if whole_pictures else with_pictures(samples, "the set to be scored")
    readable = [sample for sample in whole if words.reads(sample.text)]
    left_out = +Counter({BROKEN_PICTURE: broken, UNREADABLE: len(whole) - len(readable)})
    scored: dict[str, list[tuple[int, Outcome]]] = {name: [] for name in names}
    order = {id(sample): place for place, sample in enumerate(readable)}
    standing = model.config.attention == "standing"
    jobs = list(_jobs(readable, batch_size if standing else min(batch_size, _JOINT_PAIRS), standing))
    done = len(samples) - len(readable)
    was_training, device = model.training, model.device
    model.train(False)
    executor = make_executor(workers, processes=False)
    try:
        for job, (inputs, texts) in zip(jobs, prefetch(_Reader(processor, composed), jobs, executor), strict=True):
            plan = Plan.of([sample.text for sample in job.flat], composed, shared=False)
            images = [place for place, own in enumerate(job.samples) for _ in own]
            owners = images if plan is None else np.repeat(images, list(map(len, plan.places))).tolist()
            with torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
                out = model(
                    inputs.pixel_values.to(device),
                    texts.input_ids.to(device),
                    texts.attention_mask.to(device),
                    image_index=torch.tensor(owners, device=device),
                    branches=names,
                )
            sizes = [inputs.sizes[image] for image in images]
            most = limits([sample.text for sample in job.flat]) if model.config.counted_answers else None
            for name in names:
                answers = processor.post_process_grounding(out, sizes, 0.0, branch=name, most=most, plan=plan)
                scored[name] += [
                    (order[id(sample)], _outcome(sample, answer, size, task))
                    for sample, answer, size in zip(job.flat, answers, sizes, strict=True)
                ]
            done += len(images)
            progress(done, len(samples))
    finally:
        if executor is not None:
            executor.shutdown()
        model.train(was_training)
    return Scored(
        {name: [one for _, one in sorted(found, key=lambda pair: pair[0])] for name, found in scored.items()}, left_out
    )


def _jobs(samples: Sequence[Sample], most: int, standing: bool) -> Iterator[_Job]:
    """Images with their samples, up to `most` images (standing) or pairs (joint) together."""
    by_image: dict[Any, list[Sample]] = {}
    for sample in samples:
        by_image.setdefault(sample.image, []).append(sample)
    largest = _STANDING_TEXTS if standing else most
    parts = [own[at : at + largest] for own in by_image.values() for at in range(0, len(own), largest)]
    waiting: list[list[Sample]] = []
    for part in parts:
        texts = sum(map(len, waiting))
        if waiting and (texts + len(part) > largest or (standing and len(waiting) == most)):
            yield _Job(waiting)
            waiting = []
        waiting.append(part)
    if waiting:
        yield _Job(waiting)


@dataclass(frozen=True)
class _Reader:
    """Reads what a pass needs, in another thread."""

    processor: SimVGProcessor
    composed: Cells | None  # how texts are asked in parts, if they are

    def __call__(self, job: _Job) -> tuple[Inputs, TextBatch]:
        inputs = self.processor.frames([read_picture(own[0]) for own in job.samples])
        # published weights were trained with texts of one length, and their pooling sees the padding
        short = self.processor.config.text_pooling == "masked"
        texts = [sample.text for sample in job.flat]
        plan = Plan.of(texts, self.composed, shared=False)
        return inputs, self.processor.texts(texts if plan is None else plan.rows, pad_to_longest=short)


def _outcome(sample: Sample, answer: Answer, size: tuple[int, int], task: Task) -> Outcome:
    truth = np.array(sample.boxes_xyxy_px, np.float32).reshape(-1, 4)
    return Outcome(
        text=sample.text,
        image=str(sample.image),
        boxes=answer.boxes_xyxy_px,
        scores=answer.scores,
        score=answer.score,
        truth=truth,
        size=(size[1], size[0]),
        kind=sample.kind,
        noun=sample.noun,
        lure=sample.lure,
        alternatives=task == "rec" and len(truth) > 1,
    )
