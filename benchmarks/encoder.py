"""What the paper's encoder costs against plain PyTorch, what its token branch adds, and what bfloat16 saves.

    python benchmarks/encoder.py                  # base/32 at 640×640, 2 cores, writes docs/benchmarks/encoder.md
    python benchmarks/encoder.py --rounds 30 --out /tmp/encoder.md

The plain implementation has the same matrix products, written with nothing but torch's own layers: one expert, no mask,
no padding. Cases take turns and ratios are taken within a turn, so the machine may be shared.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks.measure import Case, command, interleaved, machine, positive, ratio, write  # noqa: E402  # the repository is on the path only now
from simvg_core.configuration import SimVGConfig  # noqa: E402
from simvg_core.model import SimVGForGrounding  # noqa: E402

TEXT = 8
"""Tokens of the text, begin and end included."""
TARGETS = {"joint": 1.10, "token": 0.01, "bf16": 2.0}


class PlainLayer(nn.Module):
    """A pre-norm transformer layer with the encoder's inner norms, and one expert for all tokens."""

    def __init__(self, width: int, inner: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(inner)])
        self.joined, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.expand, self.contract = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.joined(self.norms[0](x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        x = x + self.output(self.norms[1](attended))
        done: Tensor = x + self.contract(self.norms[3](F.gelu(self.expand(self.norms[2](x)))))
        return done


class PlainEncoder(nn.Module):
    """Patches, words and a class token through plain layers."""

    def __init__(self, config: SimVGConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.patches = nn.Conv2d(3, width, config.patch_size, stride=config.patch_size)
        self.words = nn.Embedding(config.vocab_size, width)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, 1 + config.num_patches + TEXT, width))
        layers = (
            PlainLayer(width, config.intermediate_size, config.num_attention_heads)
            for _ in range(config.num_hidden_layers)
        )
        self.layers = nn.Sequential(*layers, nn.LayerNorm(width))

    def forward(self, pixels: Tensor, ids: Tensor) -> Tensor:
        image = self.patches(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(ids), -1, -1), image, self.words(ids)], dim=1)
        return self.layers(x + self.positions)  # type: ignore[no-any-return]


def capability() -> str:
    """Which of the instructions that speed up bfloat16 the processor has."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return "unknown"
    return ", ".join(name for name in ("avx512f", "avx512_bf16", "amx_bf16") if name in flags) or "none"


@torch.no_grad()
def measure(rounds: int, size: str) -> list[str]:
    """The lines of the table."""
    torch.manual_seed(0)
    config: SimVGConfig = getattr(SimVGConfig, size)()
    model, plain = SimVGForGrounding(config).eval(), PlainEncoder(config).eval()
    half = SimVGForGrounding(config).eval().to(torch.bfloat16)
    pixels = torch.randn(1, 3, config.image_size, config.image_size)
    ids = torch.randint(4, config.vocab_size, (1, TEXT))
    mask = torch.ones_like(ids)
    encoded = model.encoder(pixels, ids, mask)
    queries, _ = model.query_generator(encoded.text, mask)
    image = model.token_branch.see(model.image_projection(encoded.image))
    rows = encoded.objects.unsqueeze(1), queries.unsqueeze(1)

    def automatic() -> object:
        with torch.autocast("cpu", torch.bfloat16):
            return model.encoder(pixels, ids, mask)

    cases: dict[str, Case] = {
        "plain layers, fp32": lambda: plain(pixels, ids),
        "encoder, fp32": lambda: model.encoder(pixels, ids, mask),
        "token branch, fp32": lambda: model.token_branch(*rows, image, None),
        "whole model, token branch, fp32": lambda: model(pixels, ids, mask, branches=("token",)),
        "encoder, bf16 (autocast)": automatic,
        "encoder, bf16 weights": lambda: half.encoder(pixels.bfloat16(), ids, mask),
    }
    seconds = interleaved(cases, rounds)
    base = seconds["encoder, fp32"]
    lines = [
        f"| {size}/{config.patch_size} at {config.image_size}×{config.image_size}, {TEXT} text tokens | ms, median |"
        " ms, fastest | of the encoder, fp32 |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {name} | {1e3 * statistics.median(times):.2f} | {1e3 * min(times):.2f} | {ratio(times, base):.4f} |"
        for name, times in seconds.items()
    ]
    found = {
        "joint": ratio(base, seconds["plain layers, fp32"]),
        "token": ratio(seconds["token branch, fp32"], base),
        "bf16": ratio(base, seconds["encoder, bf16 (autocast)"]),
        "bf16 weights": ratio(base, seconds["encoder, bf16 weights"]),
    }
    return [
        *lines,
        "",
        f"- Encoder against plain layers of the same matrix products: {found['joint']:.3f} times (target: at most "
        f"{TARGETS['joint']}).",
        f"- Token branch: {100 * found['token']:.3f} % of the encoder (target: under {100 * TARGETS['token']:.0f} %).",
        f"- bfloat16 in autocast, as the product runs it on a CPU: {found['bf16']:.2f} times as fast (target: "
        f"{TARGETS['bf16']:.0f} with avx512_bf16; this processor has {capability()}). With the weights in bfloat16, "
        f"as it runs it on a GPU: {found['bf16 weights']:.2f}.",
    ]


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=["base", "large"], default="base")
    parser.add_argument("--rounds", type=positive, default=15)
    parser.add_argument("--threads", type=positive, default=2)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/encoder.md"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    body = measure(arguments.rounds, arguments.size)
    head = ["# Cost of the encoder", "", f"{machine()}; `{command()}`; {arguments.rounds} rounds.", ""]
    write(arguments.out, [*head, *body])


if __name__ == "__main__":
    main()
