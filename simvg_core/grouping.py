"""Which text belongs to which image.

Shapes: B images, N texts, S slots per image (the largest number of texts of one image).
Texts of one image share its tokens; laying them out as (B, S) lets one matrix product serve them all.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from simvg_core.errors import InputError


@dataclass(frozen=True)
class Grouping:
    """Layout of N texts as B rows of S slots; `slot` is None when the texts fill the rows exactly, in order."""

    num_images: int
    num_slots: int
    slot: Tensor | None = None  # (N,) index into the B·S slots

    @classmethod
    def regular(cls, num_images: int, num_slots: int) -> Grouping:
        """Every image has `num_slots` texts, image by image."""
        return cls(num_images, num_slots)

    @classmethod
    def of(cls, image_index: Tensor, num_images: int) -> Grouping:
        """From the image of each text, (N,) long.

        Raises:
            InputError: an index outside 0 … B - 1.
        """
        count = len(image_index)
        if count == 0:
            return cls(num_images, 0)
        low, high = int(image_index.min()), int(image_index.max())
        if low < 0 or high >= num_images:
            raise InputError(f"image_index holds {low if low < 0 else high}; there are {num_images} images (from 0).")
        per_image = torch.bincount(image_index, minlength=num_images)
        slots = int(per_image.max())
        ordered = torch.arange(num_images, device=image_index.device).repeat_interleave(slots)
        if len(ordered) == count and bool((ordered == image_index).all()):
            return cls(num_images, slots)
        order = image_index.argsort(stable=True)
        first = per_image.cumsum(0) - per_image
        rank = torch.empty_like(order)
        rank[order] = torch.arange(count, device=order.device) - first[image_index[order]]
        return cls(num_images, slots, image_index * slots + rank)

    def rows(self, x: Tensor) -> Tensor:
        """(N, ...) → (B, S, ...); empty slots are zero."""
        if self.slot is None:
            return x.reshape(self.num_images, self.num_slots, *x.shape[1:])
        laid = x.new_zeros(self.num_images * self.num_slots, *x.shape[1:])
        return laid.index_copy(0, self.slot, x).reshape(self.num_images, self.num_slots, *x.shape[1:])

    def flat(self, x: Tensor) -> Tensor:
        """(B, S, ...) → (N, ...)."""
        x = x.flatten(0, 1)
        return x if self.slot is None else x[self.slot]

    def images(self, device: torch.device) -> Tensor:
        """(N,) the image of each text."""
        if self.slot is None:
            return torch.arange(self.num_images, device=device).repeat_interleave(self.num_slots)
        return self.slot // self.num_slots
