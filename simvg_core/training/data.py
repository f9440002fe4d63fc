"""Rendered sets as batches: pictures, questions about them, and the answers.

Shapes: B pictures, S picture side, N questions of all pictures, T tokens.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simvg_core.box_arrays import xyxy_to_cxcywh
from simvg_core.configuration import SimVGConfig
from simvg_core.errors import ImageError, InputError
from simvg_core.images import Frame, read_frame
from simvg_core.lineworld.designations import with_designation
from simvg_core.lineworld.diverse import false_of
from simvg_core.lineworld.language import Grammar, Query, rng_of
from simvg_core.lineworld.truth import ImageTruth, Seen, read_truth, seen_in
from simvg_core.lineworld.vocabulary import COLORS, DENSE_STATES, KINDS
from simvg_core.text import TextPacker
from simvg_core.training.augment import AugmentSettings, augment, plain
from simvg_core.training.sets.sample import Sample
from simvg_core.training.tokenizer import build_tokenizer
from simvg_core.words import FastPieces, Pieces

# What is wrong about a thing is a detail of one among many: it counts as much as some of those together.
_STATE_WEIGHT = 4.0
_DENSE = {(kind, state): len(KINDS) + number for number, (kind, state) in enumerate(DENSE_STATES)}
In = TypeVar("In")
Out = TypeVar("Out")


class DataError(InputError):
    """A set, or a picture of it, that cannot be read."""


def read_picture(sample: Sample) -> Frame:
    """(H, W, 3) BGR; raises DataError where the file is missing, broken, or of another size than its boxes are for."""
    try:
        frame = read_frame(sample.image)
    except ImageError as error:
        raise DataError(f"sample {sample.id}: {error} `simvg data check` names every broken one.") from error
    if frame.shape[:2] != (sample.height, sample.width):
        raise DataError(
            f"sample {sample.id}: {sample.image} is {frame.shape[1]}×{frame.shape[0]}, its annotation says "
            f"{sample.width}×{sample.height}; use the picture that the boxes were made for. `simvg data check` names "
            "every such one."
        )
    return frame


class Batch(NamedTuple):
    """One step's worth. Pixels stay bytes until they are on the device."""

    pixels: NDArray[np.uint8]  # (B, S, S, 3) RGB
    input_ids: NDArray[np.int64]  # (N, T)
    attention_mask: NDArray[np.int64]  # (N, T)
    image_index: NDArray[np.int64]  # (N,)
    boxes: list[NDArray[np.float32]]  # N × (n, 4) cxcywh normalised
    texts: Sequence[str]  # N, what the ids say
    # Rendered sets only:
    dense: Sequence[dict[str, NDArray[Any]]] = ()  # B × what the model's `dense_labels` hold
    queries: Sequence[Query] = ()  # N


@dataclass(frozen=True)
class LineSet:
    """A rendered set on disk: DIR/images/*.jpg and DIR/truth/*.json. It may still be growing."""

    folder: Path

    def names(self, may_be_empty: bool = False) -> list[str]:
        """Names of the finished pictures (written after their truth), sorted.

        Raises:
            DataError: the folder holds none.
        """
        names = sorted(path.stem for path in (self.folder / "images").glob("*.jpg"))
        if not names and not may_be_empty:
            raise DataError(f"{self.folder} holds no rendered picture; make some with `simvg line render --out DIR`.")
        return names

    def read(self, name: str) -> tuple[Frame, ImageTruth]:
        """One picture (H, W, 3) BGR and its truth.

        Raises:
            DataError: the picture is missing, broken or of another size than its truth says.
            TruthError: the truth is missing or broken.
        """
        truth = _truth(self.folder / "truth" / f"{name}.json")
        path = self.folder / "images" / f"{name}.jpg"
        try:
            frame = read_frame(path)
        except ImageError as error:
            raise DataError(f"{error} Or render it again.") from error
        if frame.shape[:2] != (truth.height, truth.width):
            raise DataError(
                f"picture {path} is {frame.shape[1]}×{frame.shape[0]}, its truth says {truth.width}×{truth.height}; "
                "render it again."
            )
        return frame, truth


@lru_cache(maxsize=40_000)
def _truth(path: Path) -> ImageTruth:
    return read_truth(path)


@dataclass(frozen=True)
class BatchMaker:
    """Turns picture names into a batch; picklable, so that it can work in another process.

    Args:
        config: of the model: picture side, resize method, tokens per text.
        augmentation: None = the pictures as they are at run time.
        grammar: which questions.
        queries: questions per picture.
        false_texts: further texts per picture, of all that one can ask of a line, that are not true of it.
        designations: share of all texts that get a word which changes nothing (`lineworld.designations`).
        pieces: the model's tokenizer; None = the one that the grammar's words make now.
        seed: with the picture's name and the epoch it decides everything that is random.
    """

    lines: LineSet
    config: SimVGConfig
    augmentation: AugmentSettings | None
    grammar: Grammar
    queries: int
    seed: int
    pieces: Pieces | None = None
    false_texts: int = 0
    designations: float = 0.0
    _packer: list[TextPacker] = field(default_factory=list, compare=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packer": []}

    def __call__(self, task: tuple[Sequence[str], int]) -> Batch:
        """`task` is (names, epoch)."""
        names, epoch = task
        pictures, scenes, questions, owners, boxes = [], [], [], [], []
        for place, name in enumerate(names):
            frame, truth = self.lines.read(name)
            key = int(name) if name.isdigit() else sum(map(ord, name))
            scene = seen_in(truth)
            if self.augmentation is None:
                picture, scene = plain(frame, scene, self.config.image_size, self.config.resize)
            else:
                noise = np.random.default_rng((self.seed, key, epoch))
                picture, scene = augment(frame, scene, self.config.image_size, self.augmentation, noise)
            by_id = {seen.id: seen for seen in scene}
            for query in self._questions(scene, rng_of(self.seed, key, epoch)):
                questions.append(query)
                owners.append(place)
                boxes.append(boxes_of([by_id[target] for target in query.targets]))
            pictures.append(picture[:, :, ::-1])
            scenes.append(scene)
        texts = self.packer([query.text for query in questions], pad_to_longest=True)
        return Batch(
            pixels=np.ascontiguousarray(np.stack(pictures)),
            input_ids=texts.input_ids.numpy(),
            attention_mask=texts.attention_mask.numpy(),
            image_index=np.array(owners, np.int64),
            boxes=boxes,
            texts=[query.text for query in questions],
            dense=[dense_of(scene) for scene in scenes],
            queries=questions,
        )

    def _questions(self, scene: Sequence[Seen], rng: random.Random) -> list[Query]:
        asked = self.grammar.ask(scene, rng, self.queries)
        if self.false_texts:
            asked += false_of(scene, rng, self.false_texts)
        if not self.designations:
            return asked
        return [
            replace(query, text=with_designation(query.text, rng)) if rng.random() < self.designations else query
            for query in asked
        ]

    @property
    def packer(self) -> TextPacker:
        """Made on first use, once per process."""
        if not self._packer:
            pieces = FastPieces(build_tokenizer()) if self.pieces is None else self.pieces
            self._packer.append(TextPacker(self.config, pieces))
        return self._packer[0]


def boxes_of(scene: Sequence[Seen]) -> NDArray[np.float32]:
    """(n, 4) cxcywh, normalised."""
    return xyxy_to_cxcywh(np.array([seen.box for seen in scene], np.float32).reshape(-1, 4))


def dense_of(scene: Sequence[Seen]) -> dict[str, NDArray[Any]]:
    """Of everything in view, as the model's `dense_labels`: boxes, dense kinds, their weights, colours (-1 = none),
    and how rectangular things lie."""
    kinds = [_DENSE.get((seen.kind, seen.state), KINDS.index(seen.kind)) for seen in scene]
    colors = [-1 if seen.color is None else COLORS.index(seen.color) for seen in scene]
    matters = [seen.clear and (seen.kind == "label" or (seen.kind, seen.state) in _DENSE) for seen in scene]
    plates: dict[int | None, tuple[float, float]] = {seen.id: _way(seen) for seen in scene if seen.kind == "plate"}
    unknown = (np.nan, np.nan)
    turns = [_way(seen) + plates.get(seen.id if seen.kind == "plate" else seen.plate, unknown) for seen in scene]
    return {
        "boxes": boxes_of(scene),
        "kinds": np.array(kinds, np.int64),
        "colors": np.array(colors, np.int64),
        "weights": np.where(matters, _STATE_WEIGHT, 1.0).astype(np.float32),
        "turns": np.array(turns, np.float32).reshape(-1, 4),
    }


def _way(seen: Seen) -> tuple[float, float]:
    """How a rectangle's sides run, see `turn_loss`."""
    if seen.axes is None:
        return np.nan, np.nan
    angles = 4 * np.array(seen.axes)
    return float(np.cos(angles).mean()), float(np.sin(angles).mean())


def model_inputs(batch: Batch, config: SimVGConfig, device: torch.device, answers: bool = True) -> dict[str, Any]:
    """Keyword arguments of the model's forward; with `answers` also its labels."""
    pixels = torch.from_numpy(batch.pixels).to(device, non_blocking=True).permute(0, 3, 1, 2).float()
    mean = torch.tensor(config.image_mean, device=device)[:, None, None]
    std = torch.tensor(config.image_std, device=device)[:, None, None]
    inputs: dict[str, Any] = {
        "pixel_values": (pixels - mean) / std,
        "input_ids": _on(batch.input_ids, device),
        "attention_mask": _on(batch.attention_mask, device),
        "image_index": _on(batch.image_index, device),
    }
    if answers:
        # they go to the device all at once, where they are padded
        inputs["labels"] = [{"boxes": torch.from_numpy(boxes)} for boxes in batch.boxes]
        if batch.dense:
            inputs["dense_labels"] = [
                {name: torch.from_numpy(one) for name, one in dense.items()} for dense in batch.dense
            ]
    return inputs


def _on(array: NDArray[Any], device: torch.device) -> Tensor:
    return torch.from_numpy(array).to(device, non_blocking=True)


def prefetch(
    work: Callable[[In], Out], tasks: Iterable[In], executor: Executor | None, ahead: int = 4
) -> Iterator[Out]:
    """Results in the order of the tasks, `ahead` of them under way; without an executor one by one."""
    if executor is None:
        yield from map(work, tasks)
        return
    waiting: list[Future[Out]] = []
    try:
        for task in tasks:
            waiting.append(executor.submit(work, task))
            if len(waiting) > ahead:
                yield waiting.pop(0).result()
        while waiting:
            yield waiting.pop(0).result()
    finally:
        for future in waiting:
            future.cancel()


def make_executor(workers: int, processes: bool) -> Executor | None:
    """0 workers = in the caller's thread. Threads suffice for a few pictures per step; GPUs want processes."""
    if workers == 0:
        return None
    if processes:
        return ProcessPoolExecutor(workers, torch.multiprocessing.get_context("spawn"), initializer=_quiet_worker)
    return ThreadPoolExecutor(workers, thread_name_prefix="pictures")


def _quiet_worker() -> None:
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
