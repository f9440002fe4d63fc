"""What the model refuses before it computes: tensors of a wrong kind, number or range, in words.

Kinds and shapes cost nothing. Values are looked at where the tensor is on the CPU: on a GPU a look would wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from simvg_core.errors import ImageError, InputError, TextError
from simvg_core.grouping import Grouping

_WHOLE = (torch.int64, torch.int32)


def kind_of(value: Any) -> str:
    """For messages: "a uint8 tensor", "a list"."""
    return (
        f"a {str(value.dtype).removeprefix('torch.')} tensor"
        if isinstance(value, Tensor)
        else f"a {type(value).__name__}"
    )


def check_pixels(pixels: Tensor, size: int) -> None:
    """Raises ImageError for what is no (B, 3, size, size) of floating-point numbers."""
    if not isinstance(pixels, Tensor) or not pixels.is_floating_point():
        raise ImageError(
            f"pixel_values is {kind_of(pixels)}; pass normalised RGB as a float tensor, as made by "
            "SimVGProcessor.frames."
        )
    if pixels.dim() != 4 or tuple(pixels.shape[1:]) != (3, size, size):
        raise ImageError(
            f"pixel_values has shape {tuple(pixels.shape)}; this model takes (images, 3, {size}, {size}). Resize with "
            "SimVGProcessor, or build the model with another image_size."
        )


def checked_mask(input_ids: Tensor, attention_mask: Tensor | None, vocab_size: int) -> Tensor:
    """The mask of (N, T) ids, 1 = real token; None = all real.

    Raises:
        TextError: no ids, ids that are no words of the model, a mask of another shape, or a text without a token.
    """
    if not isinstance(input_ids, Tensor) or input_ids.dtype not in _WHOLE:
        raise TextError(
            f"input_ids is {kind_of(input_ids)}; pass token ids as a long tensor, as made by SimVGProcessor.texts."
        )
    if input_ids.device.type == "cpu" and input_ids.numel():
        low, high = (int(value) for value in input_ids.aminmax())
        if low < 0 or high >= vocab_size:
            raise TextError(
                f"input_ids holds {low if low < 0 else high}; this model has words 0 … {vocab_size - 1}. Use the "
                "tokenizer of its own folder (SimVGProcessor.from_pretrained)."
            )
    if attention_mask is None:
        return torch.ones_like(input_ids)
    if attention_mask.shape != input_ids.shape:
        raise TextError(
            f"attention_mask {tuple(attention_mask.shape)} must have the shape of input_ids {tuple(input_ids.shape)}."
        )
    if empty := (~attention_mask.bool().any(dim=1)).nonzero().flatten().tolist():
        raise TextError(f"text {empty[0]} has no real token (attention_mask is all 0); give it at least one word.")
    return attention_mask


def checked_grouping(images: int, texts: int, image_index: Tensor | None) -> Grouping:
    """Which of N texts belongs to which of B images.

    Raises:
        ImageError, TextError: none of them. InputError: numbers that do not fit, or an index that is none.
    """
    if images == 0:
        raise ImageError("pixel_values holds no image; pass at least one.")
    if texts == 0:
        raise TextError("input_ids holds no text; pass at least one.")
    if image_index is None:
        if images != texts:
            raise InputError(f"{images} images but {texts} texts; pass image_index to say which belongs to which.")
        return Grouping.regular(images, 1)
    if not isinstance(image_index, Tensor) or image_index.dtype not in _WHOLE:
        raise InputError(f"image_index is {kind_of(image_index)}; pass the image of each text as a long tensor.")
    if len(image_index) != texts:
        raise InputError(f"image_index has {len(image_index)} entries for {texts} texts.")
    return Grouping.of(image_index, images)


def check_labels(labels: Sequence[Mapping[str, Any]], texts: int) -> None:
    """Raises InputError unless there is a label for each text, each with "boxes" (n, 4)."""
    if len(labels) != texts:
        raise InputError(f"{len(labels)} labels for {texts} texts; pass one dict per text, empty boxes for none.")
    wanted = 'pass {"boxes": (n, 4) float tensor, cxcywh normalised}, n = 0 for nothing.'
    for place, label in enumerate(labels):
        boxes = label.get("boxes") if isinstance(label, Mapping) else None
        if not isinstance(boxes, Tensor):
            found = f"keys {sorted(map(str, label))}" if isinstance(label, Mapping) else kind_of(label)
            found = found if boxes is None else f"boxes as {kind_of(boxes)}"
            raise InputError(f"label {place} has no tensor of boxes ({found}); {wanted}")
        if boxes.numel() and (boxes.dim() != 2 or boxes.shape[1] != 4):
            raise InputError(f"boxes of label {place} have shape {tuple(boxes.shape)}; {wanted}")
