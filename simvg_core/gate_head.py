"""The fitted gate: cheap layers that foretell whether the full pass would find a text in an image.

They learn from the finished model's own answers (`gate_fit`), when all its other weights stay as they are. A text is
made ready once, when its query is compiled; per frame there is one matrix product of texts and image tokens, whose
warmest cells say whether what is named is there, and one of texts and a summary of the image.
Shapes: B images, N texts, P image tokens, Q answers, E head width, H heads, D width of a head, G width of the summary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from simvg_core.configuration import SimVGConfig

HIDDEN_IMAGE, HIDDEN_TEXT, HIDDEN_JOIN = 256, 512, 32
SUMMARY = 96


class GateHead(nn.Module):
    """The layers of the fitted gate."""

    def __init__(self, config: SimVGConfig) -> None:
        super().__init__()
        width, self.heads, self.width = config.head_size, config.gate_heads, config.gate_width
        keys = self.heads * self.width
        self.image = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, HIDDEN_IMAGE), nn.GELU(), nn.Linear(HIDDEN_IMAGE, keys + SUMMARY)
        )
        self.text = nn.Sequential(
            nn.LayerNorm(2 * width),
            nn.Linear(2 * width, HIDDEN_TEXT),
            nn.GELU(),
            nn.Linear(HIDDEN_TEXT, keys + 2 * SUMMARY * self.heads + 1),
        )
        self.join = nn.Sequential(nn.Linear(2 * self.heads, HIDDEN_JOIN), nn.GELU(), nn.Linear(HIDDEN_JOIN, 1))
        self.sum = nn.Linear(2 * self.heads, 1)

    def ask(self, queries: Tensor, pooled: Tensor) -> Tensor:
        """Generated queries (N, Q, E) and pooled texts (N, E) → all that the gate keeps of the texts, (N, W)."""
        asked: Tensor = self.text(torch.cat([pooled, queries.mean(dim=1)], dim=-1))
        return asked

    def forward(self, asked: Tensor, image: Tensor) -> Tensor:
        """Texts (N, W), or each image's own (B, N, W), and image tokens (B, P, E) → logits (B, N)."""
        cells, summary = self.image(image).split([self.heads * self.width, SUMMARY], dim=-1)
        summary = torch.cat([summary.amax(dim=1), summary.mean(dim=1)], dim=-1)  # (B, 2·G)
        sizes = [self.heads * self.width, 2 * SUMMARY * self.heads, 1]
        query, of_summary, bias = asked.split(sizes, dim=-1)
        query = query.unflatten(-1, (self.heads, self.width)).transpose(-3, -2)  # (…, H, N, D)
        cells = cells.unflatten(-1, (self.heads, self.width)).permute(0, 2, 3, 1)  # (B, H, D, P)
        warmest = (query @ cells).amax(dim=-1).transpose(-2, -1) * self.width**-0.5  # (B, N, H)
        fit = of_summary.unflatten(-1, (self.heads, -1)).flatten(-3, -2) @ summary.unsqueeze(-1)  # (B, N·H, 1)
        fit = fit.squeeze(-1).unflatten(-1, (-1, self.heads))
        found = torch.cat([warmest, fit * (2 * SUMMARY) ** -0.5], dim=-1).float()
        logits: Tensor = (self.join(found) + self.sum(found) + bias).squeeze(-1)
        return logits
