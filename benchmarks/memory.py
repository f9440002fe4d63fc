"""What compiled queries weigh: bytes by their number, for the shipped model and base/32, in float32 and bfloat16.

python benchmarks/memory.py                  # writes docs/benchmarks/memory.md
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks.measure import command, machine, write  # noqa: E402  # the repository is on the path only now
from benchmarks.queries import build, texts  # noqa: E402

COUNTS = (1, 16, 64, 256, 1000, 5000)


def measure(name: str, dtype: str) -> list[str]:
    """The rows of one model and number format."""
    model = build(name, "standing")
    rows = []
    with (
        torch.inference_mode(),
        torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16", cache_enabled=False),
    ):
        for count in COUNTS:
            # Repeats weigh what the first does, and need no further text passes.
            compiled = model.compile_queries(*texts(name, model, min(count, 64)))
            while len(compiled) < count:
                more = compiled.copy()
                left = count - len(compiled)
                compiled.add(more if left >= len(more) else more.remove(range(left, len(more))))
            size = compiled.num_bytes
            rows.append(f"| {name} | {dtype} | {count:,} | {size / 2**20:,.2f} | {size / count / 1024:,.1f} |")
    return rows


def main() -> None:
    """Measures and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help="line-small or base/32; repeatable; default both")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/memory.md"))
    arguments = parser.parse_args()
    lines = [
        "# What compiled queries weigh",
        "",
        f"{machine()}. line-small has texts of the line, 3 to 12 tokens, base/32 such of 3 to 8; a set is padded to "
        "its longest text, so the weight of a query grows with the longest text of the set it is in.",
        "",
        f"`{command()}`",
        "",
        "| model | numbers | queries | MiB | KiB per query |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for name in arguments.model or ("line-small", "base/32"):
        for dtype in ("float32", "bfloat16"):
            lines += measure(name, dtype)
    write(arguments.out, lines)


if __name__ == "__main__":
    main()
