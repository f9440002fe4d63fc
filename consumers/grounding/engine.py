"""The model behind a worker. The only file of this room that imports the model's package.

On a CPU the exported graphs run in ONNX Runtime or OpenVINO, without torch; on a GPU, or where nothing was exported,
torch runs the model itself. In float32 all give the same answers.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
import threading
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from consumers.grounding.findings import Engine, Finding, Memory, PictureLimits
from consumers.grounding.frames import Pixels
from infra.contracts import Box, State
from infra.errors import SettingsError
from simvg_core.answers import Grounding
from simvg_core.counted import at_most
from simvg_core.edge.graphs import FOLDER, Precision, Runtime
from simvg_core.edge.grounder import EdgeGrounder
from simvg_core.errors import SimVGError, TextError
from simvg_core.face import Face
from simvg_core.images import halved
from simvg_core.memory import few_heaps, keep_memory
from simvg_core.pieces import parts_of, together
from simvg_core.quality import QualityLimits, frame_problem
from simvg_core.questions import Question
from simvg_core.reading import read

__all__ = ["Engine", "EngineName", "Finding", "GrounderEngine", "load_engine"]

logger = logging.getLogger(__name__)

EngineName = Literal["auto", "torch", "onnxruntime", "openvino"]

KEPT_SETS = 2
"""Query sets before the newest one whose texts stay compiled."""
SELECTED_BYTES = 64_000_000
"""What selections from the compiled set may take, or as much as the set itself; the one used longest ago goes first."""
GIVE_WAY_S = 0.0003
"""A pass of the model that has ended waits for another thread's Python at most so long, its core idle meanwhile. With
Python's own 5 ms both cores were idle for 0.9 ms of a frame, 1.4 with alarms, in place of 0.3 to 0.6."""
MIN_BOX_SCORE = 0.02
"""Boxes of a lower score are never shown; above it the query's own thresholds decide."""


# Texts and, of each, the lowest score that makes a difference; sorted.
_Asked = tuple[tuple[str, float], ...]


class GrounderEngine:
    """An :class:`Engine` on a grounder, with torch or without.

    All texts are compiled once, in one set. What a view is asked is a selection from it, which costs no model pass;
    views with different selections go through the frame pass together.
    """

    def __init__(self, grounder: Face[Any], *, at_once: int = 1) -> None:
        self.at_once = at_once
        self._grounder = grounder
        self._lock = threading.Lock()
        self._all = grounder.compile([])
        self._questions: OrderedDict[_Asked, Question] = OrderedDict()
        self._selected: dict[_Asked, int] = {}
        self._before: deque[frozenset[str]] = deque(maxlen=KEPT_SETS)

    @property
    def fingerprint(self) -> str:
        return self._grounder.model_fingerprint

    @property
    def gate_texts(self) -> int | None:
        return self._grounder.gate_texts

    def reduced(self, view: Pixels) -> Pixels:
        side = self._grounder.averages_to
        return view if side is None else halved(view, side, side)

    @property
    def memory(self) -> Memory:
        with self._lock:
            return Memory(len(self._all.texts), self._all.num_bytes, sum(self._selected.values()))

    def problem(self, frame: Pixels, limits: PictureLimits | None = None) -> str | None:
        return frame_problem(frame) if limits is None else frame_problem(frame, _quality_limits(limits))

    def compile(self, texts: Sequence[str]) -> Mapping[str, str]:
        refused: dict[str, str] = {}
        compiled = self._all.copy()
        accepted: list[str] = []
        for text in sorted(set(texts) - set(compiled.texts)):
            reason = self._refusal(text)
            if reason is None:
                accepted.append(text)
            else:
                refused[text] = reason
        if accepted:  # at once: each addition copies what is there
            compiled.add(accepted)
        wanted = frozenset(texts) - set(refused)
        # Frames of the sets before this one may still be on their way to the model.
        known = wanted.union(*self._before)
        compiled.remove([place for place, text in enumerate(compiled.texts) if text not in known])
        with self._lock:
            self._all = compiled
            self._questions.clear()
            self._selected.clear()
        self._before.append(wanted)
        return refused

    def reading(self, text: str) -> str | None:
        said = read(text)
        return said.told if self._grounder.composing is not None and said.composed else None

    def parts(self, text: str, floor: float) -> Mapping[str, float]:
        # a text that is refused is so as it stands: its parts may be in order
        return parts_of(text, floor, self._grounder.composing is not None and self._refusal(text) is None)

    def at_most(self, text: str) -> int | None:
        return at_most(text) if self._grounder.config.counted_answers else None

    def compose(self, text: str, parts: Mapping[str, Finding]) -> Finding:
        scores, boxes = together(text, {part: (one.box_scores, one.boxes) for part, one in parts.items()})
        if not len(scores):
            return Finding(State.ABSENT, 0.0)
        found = tuple(_normalised(box, 1, 1) for box in boxes.tolist())
        return Finding(State.PRESENT, float(scores[0]), found, tuple(scores.tolist()))

    def ground(self, views: Sequence[Pixels], texts: Sequence[Mapping[str, float]]) -> list[dict[str, Finding]]:
        chosen = [np.ascontiguousarray(view) for view in views]
        asked = [tuple(sorted(words.items())) for words in texts]
        questions = {one: self._question(one) for one in dict.fromkeys(asked)}
        found = self._grounder.ground_each(chosen, [questions[one] for one in asked])
        # in the order of the compiled set, which need not be that of the question
        return [
            {word: _finding(one, view) for word, one in zip(questions[words].texts, row, strict=True)}
            for words, view, row in zip(asked, chosen, found, strict=True)
        ]

    def _refusal(self, text: str) -> str | None:
        """Why a text cannot be asked. One that the model would cut is refused: it would be another question."""
        try:
            cut = self._grounder.cut_words(text)
        except TextError as error:
            return str(error)
        if cut:
            return f"the model reads no more than the words before {cut!r}; shorten the text"
        return self._grounder.complaint(text)

    def _question(self, asked: _Asked) -> Question:
        """Kept until the texts change, as long as there is room: cameras have their own sets, and under load every
        frame its own share of one."""
        with self._lock:
            compiled = self._all
            if asked in self._questions:
                self._questions.move_to_end(asked)
                return self._questions[asked]
        floors = dict(asked)
        chosen = compiled
        if len(asked) != len(compiled.texts) or not floors.keys() <= set(compiled.texts):
            chosen = compiled.copy()
            # Several changes may have come since these frames were taken up: what they ask is no longer in the set.
            if lacking := sorted(floors.keys() - set(compiled.texts)):
                chosen.add(lacking)
            chosen.remove([place for place, text in enumerate(chosen.texts) if text not in floors])
        question = self._grounder.question(chosen, MIN_BOX_SCORE, [floors[text] for text in chosen.texts])
        with self._lock:
            if compiled is self._all:
                self._questions[asked] = question
                self._selected[asked] = 0 if chosen is compiled else chosen.num_bytes
                room = max(SELECTED_BYTES, compiled.num_bytes)
                while len(self._questions) > 1 and sum(self._selected.values()) > room:
                    self._selected.pop(self._questions.popitem(last=False)[0])
        return question


@lru_cache(maxsize=256)
def _quality_limits(limits: PictureLimits) -> QualityLimits:
    return QualityLimits(**asdict(limits))


def _finding(grounding: Grounding, view: Pixels) -> Finding:
    if not grounding.asked and grounding.score is not None:
        return _gated(grounding.score)
    height, width = view.shape[:2]
    boxes = tuple(_normalised(box, width, height) for box in grounding.boxes_xyxy_px)
    return Finding(State(grounding.state), grounding.score, boxes, grounding.scores, grounding.reason)


@lru_cache(maxsize=4)
def _gated(score: float) -> Finding:
    """Of most of a thousand texts, and of all the same."""
    return Finding(State.ABSENT, score, asked=False)


def _normalised(box_xyxy_px: tuple[float, float, float, float], width: int, height: int) -> Box:
    x0, y0, x1, y1 = box_xyxy_px
    x0, x1 = sorted((min(max(x0 / width, 0.0), 1.0), min(max(x1 / width, 0.0), 1.0)))
    y0, y1 = sorted((min(max(y0 / height, 0.0), 1.0), min(max(y1 / height, 0.0), 1.0)))
    return x0, y0, x1, y1


def load_engine(
    model: Path,
    *,
    engine: EngineName = "auto",
    device: str,
    precision: Precision,
    batch_size: int,
    threads: int | None,
) -> GrounderEngine:
    """Reads a model folder. Raises SettingsError naming the folder, device or engine and the remedy.

    "auto": where the model was exported and no GPU is asked for or found, ONNX Runtime, and in bfloat16 OpenVINO if it
    is installed; else torch. In int8 ONNX Runtime alone.
    """
    few_heaps()
    keep_memory()
    sys.setswitchinterval(GIVE_WAY_S)
    if engine == "auto":
        engine = _choose(model, device, precision)
    elif engine != "torch" and device.startswith("cuda"):
        raise SettingsError(f"engine {engine!r} runs on the CPU, not on {device!r}; choose --engine torch")
    elif engine == "onnxruntime" and precision == "bfloat16":
        raise SettingsError(
            f"engine {engine!r} runs in float32 or int8, not in {precision}; choose --engine openvino or torch"
        )
    if engine != "onnxruntime" and precision == "int8":
        raise SettingsError(f"engine {engine!r} does not run in int8; choose --engine onnxruntime, on a CPU")
    try:
        if engine == "torch":
            return GrounderEngine(_with_torch(model, device, precision, batch_size, threads))
        assert engine in get_args(Runtime), "the settings allow no other engine"
        edge = EdgeGrounder(
            model, runtime=engine, precision=precision, threads=threads, max_batch=batch_size, check_quality=False
        )
    except SimVGError as error:
        raise SettingsError(f"model {model} cannot be loaded: {error}") from error
    return GrounderEngine(edge, at_once=2 if edge.side_by_side else 1)


def _choose(model: Path, device: str, precision: Precision) -> Literal["torch", "onnxruntime", "openvino"]:
    if precision == "int8" and not device.startswith("cuda"):
        return "onnxruntime"
    exported = (model / FOLDER).is_dir()
    has_torch, has_openvino = (importlib.util.find_spec(name) is not None for name in ("torch", "openvino"))
    if not has_torch and device.startswith("cuda"):
        raise SettingsError(f"device {device!r} needs torch, which is not installed here; choose --device cpu")
    if has_torch and not exported:
        logger.info("model runs in torch: it has no exported graphs", extra={"model": str(model)})
        return "torch"
    if device.startswith("cuda"):
        return "torch"
    if device == "auto" and has_torch:
        import torch

        if torch.cuda.is_available():
            return "torch"
    if precision == "float32":
        return "onnxruntime"
    if not has_torch and not has_openvino:
        raise SettingsError(
            f"precision {precision!r} needs OpenVINO or torch, and neither is installed here; pip install "
            "'simvg-line[openvino]', or choose --precision float32"
        )
    return "openvino" if has_openvino else "torch"


def _with_torch(model: Path, device: str, precision: Precision, batch_size: int, threads: int | None) -> Face[Any]:
    try:
        import torch

        from simvg_core.grounder import Grounder
    except ImportError as error:
        raise SettingsError(
            f"engine 'torch' needs what is not installed here ({error}); pip install 'simvg-line[torch]', or export "
            "the model elsewhere and choose --engine onnxruntime"
        ) from error
    if threads is not None:
        torch.set_num_threads(threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device.startswith("cuda") and not torch.cuda.is_available():
        raise SettingsError(f"device {device!r}: no CUDA device is usable here; choose --device cpu")
    if device.startswith("cuda") and (torch.device(device).index or 0) >= (found := torch.cuda.device_count()):
        raise SettingsError(f"device {device!r}: there are {found} here, from cuda:0 on; choose one of them")
    return Grounder.from_pretrained(model, device=device, dtype=precision, max_batch=batch_size, check_quality=False)
