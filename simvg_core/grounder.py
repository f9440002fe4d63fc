"""The face for users: frames as arrays and words in, boxes in pixels out."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simvg_core import asking
from simvg_core.answers import Grounding, groundings
from simvg_core.calibration import calibrated
from simvg_core.checks import checked_mask
from simvg_core.configuration import SimVGConfig
from simvg_core.denormals import flushed
from simvg_core.device_frames import DeviceFrames
from simvg_core.execution import Execution
from simvg_core.face import Face
from simvg_core.fingerprint import fingerprint_of_folder
from simvg_core.model import SimVGForGrounding, SimVGOutput
from simvg_core.processing import SimVGProcessor
from simvg_core.questions import Question, together
from simvg_core.standing import CompiledTexts, StandingQueries

# Pairs of frame and text that a joint model runs at once; a standing model batches frames only.
_JOINT_PAIRS = 8


_Ready = StandingQueries | tuple[Tensor, Tensor]


class Grounder(Face[_Ready]):
    """A model with its processor, on one device."""

    def __init__(
        self,
        model: SimVGForGrounding,
        processor: SimVGProcessor,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        max_batch: int = 8,
        check_quality: bool = True,
        fingerprint: str | None = None,
        gate: bool = True,
        execution: Execution | None = None,
    ) -> None:
        """Args:
        dtype: "float32", or "bfloat16", about twice as fast where the processor has it: on a CPU matrix products alone,
            on a GPU weights and all between them as well (`Execution.cast_weights`).
        max_batch, check_quality, gate: as of `Face`.
        execution: more choices of how the model runs, instead of `dtype`.

        Raises:
            ConfigurationError: a number format that is not offered, or a max_batch under 1.
        """
        self.execution = execution or Execution(dtype=dtype)
        super().__init__(processor.text.words, processor.config.composing, max_batch, check_quality, gate)
        self.processor = processor
        self.device = torch.device(device)
        on_device = self.execution.resizes_on(self.device)
        self._device_frames = DeviceFrames(processor.config, self.device) if on_device else None
        self.model_fingerprint = fingerprint or _fingerprint_of_weights(model)
        self.model = model
        self.execution.prepare(model, self.device)
        self.dtype = self.execution.dtype

    @classmethod
    def from_pretrained(cls, folder: str | Path, **settings: Any) -> Grounder:
        """From a model folder (config.json, model.safetensors, tokenizer); `settings` as in the constructor.

        Raises:
            CheckpointError: the folder, its weights or its tokenizer is missing or broken.
            ConfigurationError: settings that contradict each other.
        """
        folder = Path(folder)
        processor = SimVGProcessor.from_pretrained(folder)
        model = SimVGForGrounding.from_pretrained(folder)
        settings.setdefault("fingerprint", fingerprint_of_folder(folder))
        return cls(model, processor, **settings)

    @property
    def config(self) -> SimVGConfig:
        """Settings of the model."""
        config: SimVGConfig = self.model.config
        return config

    @property
    def averages_to(self) -> int | None:
        """As of `Face`; None on a device that resizes frames itself."""
        halves = self.config.resize == "area" and self._device_frames is None
        return self.config.image_size if halves else None

    def _run(self, frames: list[Any], questions: list[Question]) -> list[list[Grounding]]:
        if self._device_frames is None:
            pixels = self.processor.frames(frames).pixel_values.to(self.device)
        else:
            pixels = self._device_frames(frames)
        found: dict[int, list[Grounding]] = {}
        with torch.inference_mode(), self._precision(), flushed():
            standing = isinstance(questions[0].ready, StandingQueries)
            seen = asking.see(self.model, pixels) if standing else None
            for question, rows in together(questions):
                matter = None
                if seen is None:
                    outputs = self._run_joint(pixels[rows], *question.ready)
                else:
                    asked = self._ask(seen if len(rows) == len(frames) else seen.rows(rows), question)
                    states = None if seen.states is None else seen.states[rows]
                    outputs = SimVGOutput(token_logits=asked.logits, token_boxes=asked.boxes, states=states)
                    matter = self._matter(asked, question)
                sizes = [frames[place].shape[:2] for place in rows]
                # One frame that the model cannot put into numbers must not take the others with it.
                answers = self.processor.post_process_grounding(
                    outputs, sizes, question.thresholds, most=question.most, plan=question.plan, check=False
                )
                found |= dict(zip(rows, groundings(answers, matter, self.config.gate_score), strict=True))
        return [found[place] for place in range(len(frames))]

    def _ask(self, seen: asking.SeenFrames, question: Question) -> asking.Asked:
        texts: CompiledTexts = question.ready.texts
        if question.plan is not None:
            return asking.ask_plan(self.model, texts, seen, question.plan, question.gate)
        if question.gate is None:
            return asking.ask(self.model, texts, seen)
        return asking.ask_warm(self.model, texts, seen, torch.tensor(question.gate, device=self.device))

    def _matter(self, asked: asking.Asked, question: Question) -> NDArray[np.bool_] | None:
        """Which texts may score what matters in each frame, (B, N); None: there was no gate."""
        plan, floors = question.plan, question.floors
        if asked.warm is None or plan is None or floors is None:
            return None if asked.warm is None else asked.warm.cpu().numpy()
        scores = calibrated(asked.logits, self.config).float().cpu().numpy()
        places = (row.nonzero()[0] for row in asked.warm.cpu().numpy())
        return np.stack([plan.matter(own[kept], kept, floors) for own, kept in zip(scores, places, strict=True)])

    def _run_joint(self, pixels: Tensor, input_ids: Tensor, attention_mask: Tensor) -> SimVGOutput:
        frames, count = len(pixels), len(input_ids)
        logits, boxes = [], []
        pairs = [(frame, text) for frame in range(frames) for text in range(count)]
        for start in range(0, len(pairs), _JOINT_PAIRS):
            index = torch.tensor(pairs[start : start + _JOINT_PAIRS], device=self.device)
            ids, mask = input_ids[index[:, 1]], attention_mask[index[:, 1]]
            out = self.model(pixels, ids, mask, image_index=index[:, 0], branches=(self.config.answer_branch,))
            logits.append(out.token_logits if out.decoder_logits is None else out.decoder_logits[-1])
            boxes.append(out.token_boxes if out.decoder_boxes is None else out.decoder_boxes[-1])
        joined = [torch.cat(parts).unflatten(0, (frames, count)) for parts in (logits, boxes)]
        if self.config.answer_branch == "decoder":
            return SimVGOutput(decoder_logits=joined[0][None], decoder_boxes=joined[1][None])
        return SimVGOutput(token_logits=joined[0], token_boxes=joined[1])

    def _selected(self, ready: _Ready, more: _Ready | None, kept: list[int]) -> _Ready:
        if isinstance(ready, StandingQueries):
            ready = ready.copy()
            if isinstance(more, StandingQueries):
                ready.add(more)
            return ready if kept == list(range(len(ready))) else ready.keep(kept)
        if isinstance(more, tuple):
            ready = torch.cat([ready[0], more[0]]), torch.cat([ready[1], more[1]])
        return ready[0][kept], ready[1][kept]

    def bytes_of(self, ready: _Ready) -> int:
        """Memory of compiled texts, bytes."""
        if isinstance(ready, StandingQueries):
            return ready.num_bytes
        return sum(part.numel() * part.element_size() for part in ready)

    def compile_rows(self, rows: Sequence[str]) -> _Ready:
        """As of `Face`: a set that stands, or ids and mask for a model in joint attention. Raises TextError."""
        batch = self.processor.texts(rows)
        if self.config.attention != "standing":
            mask = checked_mask(batch.input_ids, batch.attention_mask, self.config.vocab_size)
            return batch.input_ids.to(self.device), mask.to(self.device)
        with torch.inference_mode(), self._precision():
            # from the CPU, where ids are checked: a GPU that reads a word beyond the table is of no use from then on
            compiled: StandingQueries = self.model.compile_queries(batch.input_ids, batch.attention_mask)
        return compiled

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        return self.execution.precision(self.device)


def _fingerprint_of_weights(model: SimVGForGrounding) -> str:
    digest = hashlib.sha256(model.config.to_json_string().encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]


__all__ = ["Grounder", "Grounding"]
