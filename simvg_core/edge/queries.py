"""Compiled texts as arrays: what `simvg_core.standing.CompiledTexts` is for torch.

Shapes: N texts, T tokens of the longest, h heads, d head width, Q answers, E head width of the branches,
W width of the fitted gate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simvg_core.edge.graphs import ASKED, TEXT_LAYERS, Arrays

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class EdgeTexts:
    """Everything about N texts that no frame can change. Names are those of the graphs' inputs."""

    attention_mask: NDArray[np.int64]  # (N, T), 1 = real token
    heads: Arrays  # pooled (N, E), what heads prepared, (N, Q, E) each, and, of models with a fitted gate, asked (N, W)
    layers: Arrays  # keys and values of every layer, (N, h, T, d) each

    @classmethod
    def of(cls, mask: NDArray[np.int64], found: Arrays) -> EdgeTexts:
        """From the text graph's outputs."""
        heads = {name: part for name, part in found.items() if not name.startswith(TEXT_LAYERS)}
        return cls(mask, heads, {name: part for name, part in found.items() if name not in heads})

    def __len__(self) -> int:
        return len(self.attention_mask)

    @property
    def num_bytes(self) -> int:
        """Memory of the arrays."""
        return sum(array.nbytes for array in self.arrays().values())

    def arrays(self) -> dict[str, NDArray[Any]]:
        """By input name."""
        return {"attention_mask": self.attention_mask, **self.heads, **self.layers}

    def head(self, count: int) -> EdgeTexts:
        """The first texts; nothing is copied."""
        heads, layers = ({name: part[:count] for name, part in own.items()} for own in (self.heads, self.layers))
        return EdgeTexts(self.attention_mask[:count], heads, layers)

    def select(self, kept: Sequence[int] | NDArray[np.intp], *, gate: bool = True) -> EdgeTexts:
        """The texts at these places, in this order, padded to the longest of them; with or without the gate's part."""
        places = np.asarray(kept, np.intp)
        mask = self.attention_mask[places]
        length = int(mask.sum(axis=1).max(initial=1))
        heads = {name: part[places] for name, part in self.heads.items() if gate or name != ASKED}
        layers = {name: part[places, :, :length] for name, part in self.layers.items()}
        return EdgeTexts(mask[:, :length], heads, layers)

    def joined(self, other: EdgeTexts) -> EdgeTexts:
        """These texts, then the others; the shorter set is padded to the length of the longer one."""
        length = max(self.attention_mask.shape[1], other.attention_mask.shape[1])
        first, second = self._padded(length), other._padded(length)
        return EdgeTexts(
            np.concatenate([first.attention_mask, second.attention_mask]),
            {name: np.concatenate([part, second.heads[name]]) for name, part in first.heads.items()},
            {name: np.concatenate([part, second.layers[name]]) for name, part in first.layers.items()},
        )

    def _padded(self, length: int) -> EdgeTexts:
        more = length - self.attention_mask.shape[1]
        if more == 0:
            return self
        layers = {name: np.pad(part, ((0, 0), (0, 0), (0, more), (0, 0))) for name, part in self.layers.items()}
        return EdgeTexts(np.pad(self.attention_mask, ((0, 0), (0, more))), self.heads, layers)
