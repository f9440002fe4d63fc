"""What stands between users and tensors: words to ids, frames to pixels, answers to boxes in the frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from simvg_core.answers import assemble
from simvg_core.calibration import calibrated
from simvg_core.composing import Plan
from simvg_core.configuration import SimVGConfig
from simvg_core.errors import CheckpointError, InputError
from simvg_core.images import Frame, as_bgr, resize
from simvg_core.model import SimVGOutput
from simvg_core.preparation import check_preparation, write_preparation
from simvg_core.questions import check_frames, check_texts, per_text
from simvg_core.text import TextBatch, TextPacker, read_pieces
from simvg_core.words import Pieces

Floats = NDArray[np.float32]


class Inputs(NamedTuple):
    """Network input and the original frame sizes."""

    pixel_values: Tensor  # (B, 3, S, S)
    sizes: list[tuple[int, int]]  # (height, width) per frame


def _composed(
    plan: Plan, scores: Floats, boxes: Floats, max_iou: float | None, states: Floats | None, *, per_frame: bool
) -> tuple[Floats, Floats]:
    """Rows of frames (B, R, Q), or of texts with a frame each (R, 1, Q) → the same of texts; states (B or R, P, S)."""
    if per_frame:
        return plan.compose(scores, boxes, max_iou, cells=None if states is None else states[:, None])
    cells = None if states is None else states[None]
    found, places = plan.compose(scores.swapaxes(0, 1), boxes.swapaxes(0, 1), max_iou, cells=cells)
    return found.swapaxes(0, 1), places.swapaxes(0, 1)


def to_pixels(frames_bgr: list[Frame], config: SimVGConfig) -> Tensor:
    """(H, W, 3) uint8 BGR frames of any sizes → normalised RGB (B, 3, S, S) float32."""
    small = np.stack([resize(frame, config.image_size, config.resize) for frame in frames_bgr])
    pixels = torch.from_numpy(small).flip(-1).permute(0, 3, 1, 2).float()
    mean = torch.tensor(config.image_mean)[:, None, None]
    std = torch.tensor(config.image_std)[:, None, None]
    return (pixels - mean) / std


class SimVGProcessor:
    """Prepares texts and frames for a model and reads its answers."""

    def __init__(self, config: SimVGConfig, pieces: Pieces) -> None:
        self.config = config
        self.text = TextPacker(config, pieces)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> SimVGProcessor:
        """From a model folder: its config.json and tokenizer; preprocessor_config.json may lack, and decides nothing.

        Raises:
            CheckpointError: no such folder, or its config.json or tokenizer is missing or broken.
            ConfigurationError: preprocessor_config.json contradicts config.json.
        """
        folder = Path(folder)
        config = SimVGConfig.from_pretrained(folder)
        check_preparation(config.to_dict(), folder)
        return cls(config, read_pieces(folder, config.tokenizer))

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes config.json, preprocessor_config.json and the tokenizer beside the weights."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.config.save_pretrained(folder)
        write_preparation(self.config.to_dict(), folder)
        self.text.pieces.save(folder)

    def texts(self, texts: Sequence[str], pad_to_longest: bool = False) -> TextBatch:
        """Texts → ids and mask; none are none. Raises TextError as `TextPacker` says, and for a bare string."""
        return self.text(check_texts(texts), pad_to_longest)

    def unknown_words(self, text: str) -> list[str]:
        """Words the model does not know."""
        return self.text.words.unknown_words(text)

    def frames(self, frames: Sequence[Any] | NDArray[Any]) -> Inputs:
        """Frames of any size (see `as_bgr`) → network input; raises ImageError for what is no frame."""
        check_frames(frames)
        if len(frames) == 0:
            raise InputError("no frames; pass at least one.")
        bgr = [as_bgr(frame) for frame in frames]
        return Inputs(to_pixels(bgr, self.config), [(frame.shape[0], frame.shape[1]) for frame in bgr])

    def post_process_grounding(
        self,
        outputs: SimVGOutput,
        target_sizes: Sequence[tuple[int, int]],
        threshold: ArrayLike | None = None,
        nms_iou: float | None = None,
        branch: str | None = None,
        *,
        most: NDArray[np.intp] | None = None,
        plan: Plan | None = None,
        check: bool = True,
    ) -> list[Any]:
        """Answers in pixels of the original frames.

        Args:
            outputs: of `forward` (N texts) or `ground_frames` (B frames × texts).
            target_sizes: (height, width) per text (N; of a plan's, not of its rows) or per frame (B), pixels.
            threshold: lowest score of a box, one for all or one per text; None = the model's own. A model with one
                answer and threshold 0 always answers, as the paper's referring comprehension does.
            nms_iou: overlap above which the worse box of a text is dropped; None = the model's own setting.
            most: boxes of a text at most, one number per text; None = all.
            branch: "token", or "decoder" (its last layer); None = `SimVGConfig.answer_branch`.
            plan: the outputs are of its rows, and the answers of its texts; None = each text is a row.

        Returns:
            `Answer` per text (N), or per frame a list of them, in order. Boxes are clipped to the frame; a box
            without area is dropped.

        Raises:
            InputError: sizes, thresholds or the branch do not fit the outputs.
            CheckpointError: the model's scores are NaN, and ``check`` is on; off, such answers have the score NaN.
        """
        logits, boxes = self._branch(outputs, branch or self.config.answer_branch)
        per_frame = logits.dim() == 4
        if not per_frame:
            logits, boxes = logits.unsqueeze(1), boxes.unsqueeze(1)
        scores, places = calibrated(logits, self.config), boxes.float()
        if check and bool(scores.isnan().any()):
            # they would pass for "absent"
            raise CheckpointError("the model's scores are not numbers (NaN): its weights are broken; copy it anew.")
        overlap = self.config.nms_iou if nms_iou is None else nms_iou
        found = scores.cpu().numpy(), places.cpu().numpy()
        if plan is not None:
            states = None if outputs.states is None else outputs.states.float().cpu().numpy()
            found = _composed(plan, *found, overlap, states, per_frame=per_frame)
        rows, texts = found[0].shape[:2]
        if len(target_sizes) != rows:
            raise InputError(f"{len(target_sizes)} target_sizes for {rows} answers; pass (height, width) for each.")
        if wrong := [tuple(size) for size in target_sizes if len(size) != 2 or min(size) <= 0]:
            raise InputError(f"target_sizes holds {wrong[0]}; pass (height, width) in pixels, both above 0.")
        count = texts if per_frame else rows
        floor = per_text(self.config.score_threshold if threshold is None else threshold, count, "thresholds")
        floor = floor[None, :, None] if per_frame else floor[:, None, None]
        if most is not None and len(most) != count:
            raise InputError(f"{len(most)} numbers of boxes for {count} texts; pass one per text.")
        most = most if most is None or per_frame else most[:, None]
        result = assemble(*found, target_sizes, floor, overlap, most)
        return result if per_frame else [row[0] for row in result]

    @staticmethod
    def _branch(outputs: SimVGOutput, branch: str) -> tuple[Tensor, Tensor]:
        if branch == "token" and outputs.token_logits is not None and outputs.token_boxes is not None:
            return outputs.token_logits.detach(), outputs.token_boxes.detach()
        if branch == "decoder" and outputs.decoder_logits is not None and outputs.decoder_boxes is not None:
            return outputs.decoder_logits[-1].detach(), outputs.decoder_boxes[-1].detach()
        raise InputError(f'the outputs hold no "{branch}" branch; run it, or use the other of "token", "decoder".')
