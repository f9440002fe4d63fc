"""The fitted gate: cheap layers that read an image once more and say whether what a text names can be there at all.

They learn from the finished model's own answers and from the truth (`gate_fit`), when all its other weights stay as
they are. A text is made ready once, when its query is compiled. Per frame each head of a text looks at the image
tokens (one matrix product and a softmax), and what all its heads found together, weighed by the text, gives one number.
Shapes: B images, N texts, P image tokens, Q answers, E head width, H heads, D width of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from simvg_core.configuration import SimVGConfig

HIDDEN_IMAGE, HIDDEN_TEXT, HIDDEN_JOIN = 256, 512, 96
# In training. What must pass is decided by the rarest pairs, which a gate that knows its pictures by heart gets wrong.
DROPOUT = 0.2


class GateHead(nn.Module):
    """The layers of the fitted gate."""

    def __init__(self, config: SimVGConfig) -> None:
        super().__init__()
        width, self.heads, self.width = config.head_size, config.gate_heads, config.gate_width
        found = self.heads * self.width
        self.image = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, HIDDEN_IMAGE),
            nn.GELU(),
            nn.Dropout(DROPOUT),
            nn.Linear(HIDDEN_IMAGE, 2 * found),
        )
        self.text = nn.Sequential(
            nn.LayerNorm(2 * width),
            nn.Linear(2 * width, HIDDEN_TEXT),
            nn.GELU(),
            nn.Dropout(DROPOUT),
            nn.Linear(HIDDEN_TEXT, 2 * found + HIDDEN_JOIN + 1),
        )
        self.join = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(found, HIDDEN_JOIN))
        self.out = nn.Sequential(nn.GELU(), nn.Dropout(DROPOUT), nn.Linear(HIDDEN_JOIN, 1))
        self.warm = nn.Linear(self.heads, 1)

    def ask(self, queries: Tensor, pooled: Tensor) -> Tensor:
        """Generated queries (N, Q, E) and pooled texts (N, E) → all that the gate keeps of the texts, (N, W)."""
        asked: Tensor = self.text(torch.cat([pooled, queries.mean(dim=1)], dim=-1))
        return asked

    def see(self, image: Tensor) -> Tensor:
        """Image tokens (B, P, E) → keys and values for all heads, (B, P, 2·H·D)."""
        seen: Tensor = self.image(image)
        return seen

    def forward(self, asked: Tensor, seen: Tensor) -> Tensor:
        """Texts (N, W), or each image's own (B, N, W), and what was seen of the images → logits (B, N)."""
        found = self.heads * self.width
        keys, values = seen.unflatten(-1, (2, self.heads, self.width)).permute(2, 0, 3, 1, 4)  # (B,H,P,D)
        look, weight, expected, bias = asked.split([found, found, HIDDEN_JOIN, 1], dim=-1)
        look = look.unflatten(-1, (self.heads, self.width)).transpose(-3, -2)  # (…, H, N, D)
        scores = (look @ keys.transpose(-1, -2)) * self.width**-0.5  # (B, H, N, P)
        warmest = scores.amax(dim=-1).transpose(-2, -1)  # (B, N, H)
        read = (scores.softmax(dim=-1) @ values).transpose(-3, -2).flatten(-2)  # (B, N, H·D)
        joined = self.join(read * weight) + expected
        logits: Tensor = (self.out(joined) + self.warm(warmest) + bias).squeeze(-1).float()
        return logits
