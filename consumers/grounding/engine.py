"""The model behind a worker. The only file of this room that imports the model's package.

On a CPU the exported graphs run in ONNX Runtime, without torch; on a GPU, or where nothing was exported, torch runs
the model itself. Both give the same answers.
"""

from __future__ import annotations

import importlib.util
import logging
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np

from consumers.grounding.findings import Engine, Finding, PictureLimits
from consumers.grounding.frames import Pixels
from infra.contracts import Box, State
from infra.errors import SettingsError
from simvg_core.answers import Grounding
from simvg_core.edge.graphs import FOLDER, Runtime
from simvg_core.edge.grounder import EdgeGrounder
from simvg_core.errors import SimVGError, TextError
from simvg_core.quality import QualityLimits, frame_problem

__all__ = ["Engine", "EngineName", "Finding", "GrounderEngine", "load_engine"]

logger = logging.getLogger(__name__)

EngineName = Literal["auto", "torch", "onnxruntime", "openvino"]

KEPT_SETS = 2
"""Query sets before the newest one whose texts can still be asked."""
MIN_BOX_SCORE = 0.02
"""Boxes of a lower score are never shown; above it the query's own thresholds decide."""


class Compiled(Protocol):
    """Texts made ready for many frames."""

    @property
    def texts(self) -> tuple[str, ...]: ...

    def copy(self) -> Any: ...

    def add(self, texts: Sequence[str]) -> Any: ...

    def remove(self, texts: Sequence[int]) -> Any: ...


class AnyGrounder(Protocol):
    """What `simvg_core.grounder.Grounder` and `simvg_core.edge.EdgeGrounder` have in common."""

    @property
    def model_fingerprint(self) -> str: ...

    def compile(self, texts: Sequence[str]) -> Any: ...

    def complaint(self, text: str) -> str | None: ...

    def cut_words(self, text: str) -> str: ...

    def ground(self, frames_bgr: Sequence[Any], texts: Any, thresholds: float) -> list[list[Grounding]]: ...


class GrounderEngine:
    """An :class:`Engine` on a grounder, with torch or without.

    All texts are compiled once, in one set. What a view is asked is a selection from it, which costs no model pass.
    """

    def __init__(self, grounder: AnyGrounder, *, at_once: int = 1) -> None:
        self.at_once = at_once
        self._grounder = grounder
        self._lock = threading.Lock()
        self._all: Compiled = grounder.compile([])
        self._selections: dict[tuple[str, ...], Compiled] = {}
        self._before: deque[frozenset[str]] = deque(maxlen=KEPT_SETS)

    @property
    def fingerprint(self) -> str:
        return self._grounder.model_fingerprint

    def problem(self, frame: Pixels, limits: PictureLimits | None = None) -> str | None:
        return frame_problem(frame) if limits is None else frame_problem(frame, QualityLimits(**asdict(limits)))

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
            self._all, self._selections = compiled, {}
        self._before.append(wanted)
        return refused

    def ground(self, views: Sequence[Pixels], texts: Sequence[Sequence[str]]) -> list[dict[str, Finding]]:
        together: dict[tuple[str, ...], list[int]] = {}
        for place, words in enumerate(texts):
            together.setdefault(tuple(words), []).append(place)
        answers: list[dict[str, Finding]] = [{} for _ in views]
        for words, places in together.items():
            chosen = [np.ascontiguousarray(views[place]) for place in places]
            selected = self._selected(words)
            found = self._grounder.ground(chosen, selected, thresholds=MIN_BOX_SCORE)
            for place, view, row in zip(places, chosen, found, strict=True):
                # in the order of the compiled set, which need not be that of the question
                answers[place] = {word: _finding(one, view) for word, one in zip(selected.texts, row, strict=True)}
        return answers

    def _refusal(self, text: str) -> str | None:
        """Why a text cannot be asked. One that the model would cut is refused: it would be another question."""
        try:
            cut = self._grounder.cut_words(text)
        except TextError as error:
            return str(error)
        if cut:
            return f"the model reads no more than the words before {cut!r}; shorten the text"
        return self._grounder.complaint(text)

    def _selected(self, words: tuple[str, ...]) -> Compiled:
        with self._lock:
            compiled, selections = self._all, self._selections
        if words not in selections:
            chosen = compiled.copy()
            wanted = set(words)
            chosen.remove([place for place, text in enumerate(compiled.texts) if text not in wanted])
            if set(chosen.texts) != wanted:
                raise KeyError(f"texts {sorted(wanted - set(chosen.texts))} were never compiled")
            selections[words] = chosen
        return selections[words]


def _finding(grounding: Grounding, view: Pixels) -> Finding:
    height, width = view.shape[:2]
    boxes = tuple(_normalised(box, width, height) for box in grounding.boxes_xyxy_px)
    return Finding(State(grounding.state), grounding.score, boxes, grounding.scores, grounding.reason)


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
    precision: Literal["float32", "bfloat16"],
    batch_size: int,
    threads: int | None,
) -> GrounderEngine:
    """Reads a model folder. Raises SettingsError naming the folder, device or engine and the remedy.

    "auto": ONNX Runtime where the model was exported and no GPU is asked for or found, else torch.
    """
    if engine == "auto":
        engine = _choose(model, device, precision)
    elif engine != "torch" and (device.startswith("cuda") or precision != "float32"):
        raise SettingsError(
            f"engine {engine!r} runs on the CPU in float32, not on {device!r} in {precision}; choose --engine torch"
        )
    try:
        if engine == "torch":
            return GrounderEngine(_with_torch(model, device, precision, batch_size, threads))
        assert engine in get_args(Runtime), "the settings allow no other engine"
        edge = EdgeGrounder(model, runtime=engine, threads=threads, max_batch=batch_size, check_quality=False)
    except SimVGError as error:
        raise SettingsError(f"model {model} cannot be loaded: {error}") from error
    return GrounderEngine(edge, at_once=2 if edge.side_by_side else 1)


def _choose(model: Path, device: str, precision: str) -> Literal["torch", "onnxruntime"]:
    exported = (model / FOLDER).is_dir()
    has_torch = importlib.util.find_spec("torch") is not None
    if not has_torch:
        if device.startswith("cuda"):
            raise SettingsError(f"device {device!r} needs torch, which is not installed here; choose --device cpu")
        return "onnxruntime"
    if not exported:
        logger.info("model runs in torch: it has no exported graphs", extra={"model": str(model)})
        return "torch"
    if precision != "float32" or device.startswith("cuda"):
        return "torch"
    if device == "auto":
        import torch

        if torch.cuda.is_available():
            return "torch"
    return "onnxruntime"


def _with_torch(model: Path, device: str, precision: str, batch_size: int, threads: int | None) -> AnyGrounder:
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
    return Grounder.from_pretrained(model, device=device, dtype=precision, max_batch=batch_size, check_quality=False)
