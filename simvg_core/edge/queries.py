"""Compiled texts as arrays: what `simvg_core.standing.CompiledTexts` is for torch.

Shapes: N texts, T tokens of the longest, L layers, h heads, d head width, Q answers, E head width of the branches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class EdgeTexts:
    """Everything about N texts that no frame can change. Names are those of the graphs' inputs."""

    attention_mask: NDArray[np.int64]  # (N, T), 1 = real token
    text_keys: Floats  # (L, N, h, T, d)
    text_values: Floats  # (L, N, h, T, d)
    queries: Floats  # (N, Q, E)
    pooled: Floats  # (N, E)

    def __len__(self) -> int:
        return len(self.attention_mask)

    @property
    def num_bytes(self) -> int:
        """Memory of the arrays."""
        return sum(array.nbytes for array in self.arrays().values())

    def arrays(self) -> dict[str, NDArray[Any]]:
        """By input name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def select(self, kept: Sequence[int]) -> EdgeTexts:
        """The texts at these places, in this order."""
        places = np.asarray(kept, np.intp)
        return EdgeTexts(
            self.attention_mask[places],
            np.ascontiguousarray(self.text_keys[:, places]),
            np.ascontiguousarray(self.text_values[:, places]),
            self.queries[places],
            self.pooled[places],
        )

    def joined(self, other: EdgeTexts) -> EdgeTexts:
        """These texts, then the others; the shorter set is padded to the length of the longer one."""
        length = max(self.attention_mask.shape[1], other.attention_mask.shape[1])
        first, second = self._padded(length), other._padded(length)
        return EdgeTexts(
            np.concatenate([first.attention_mask, second.attention_mask]),
            np.concatenate([first.text_keys, second.text_keys], axis=1),
            np.concatenate([first.text_values, second.text_values], axis=1),
            np.concatenate([first.queries, second.queries]),
            np.concatenate([first.pooled, second.pooled]),
        )

    def _padded(self, length: int) -> EdgeTexts:
        more = length - self.attention_mask.shape[1]
        if more == 0:
            return self
        along_tokens = ((0, 0), (0, 0), (0, 0), (0, more), (0, 0))
        return EdgeTexts(
            np.pad(self.attention_mask, ((0, 0), (0, more))),
            np.pad(self.text_keys, along_tokens),
            np.pad(self.text_values, along_tokens),
            self.queries,
            self.pooled,
        )
