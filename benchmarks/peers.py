"""base/32 standing beside open-vocabulary detectors of `transformers`: one frame, 1, 16 and 64 queries, in one run.

    python benchmarks/peers.py                   # writes docs/benchmarks/peers.md

All are built from their configurations with random weights (time does not depend on them) and take random token ids of
line-query length, and their linear layers are packed as ours are (`simvg_core.execution.pack`). Every peer gets
640×640; OWL-ViT also 768×768, the size that it was published with. Texts are cached where the model allows it:
OmDet-Turbo, OWL-ViT and OWLv2 get text features computed before the clock starts. Grounding DINO fuses text and image
in its encoder, so its text part runs with every frame; all queries go in one prompt, as its users do, and its limit of
256 tokens means that 64 queries of 6 tokens take two passes.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks.measure import Case, command, interleaved, machine, positive, ratio, write  # noqa: E402  # the repository is on the path only now
from benchmarks.queries import build, texts  # noqa: E402
from simvg_core.execution import Execution  # noqa: E402

# not all that they take is in their signatures
SWIN: Any = transformers.SwinConfig
OMDET: Any = transformers.OmDetTurboConfig

COUNTS = (1, 16, 64)
TOKENS = 6
PROMPT = 256
"""Tokens that Grounding DINO reads at once."""


def ours() -> Callable[[int], Case]:
    """base/32 in standing attention."""
    model = build("base/32", "standing")
    Execution().prepare(model, torch.device("cpu"))
    pixels = torch.randn(1, 3, 640, 640)

    def case(count: int) -> Case:
        compiled = model.compile_queries(*texts("base/32", model, count))
        return lambda: model.ground_frames(pixels, compiled)

    return case


def packed(model: Any) -> Any:
    """A peer with the linear layers that our model gets."""
    return Execution(packed=True).prepare(model, torch.device("cpu"))


def grounding_dino(modified: bool) -> Callable[[int], Case]:
    """Grounding DINO tiny, or MM-Grounding DINO tiny: Swin tiny and BERT base."""
    swin = SWIN(window_size=7, embed_dim=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24], out_indices=[2, 3, 4])
    name = "MMGroundingDino" if modified else "GroundingDino"
    config: Any = getattr(transformers, f"{name}Config")(backbone_config=swin)
    model: Any = packed(getattr(transformers, f"{name}ForObjectDetection")(config))
    pixels = torch.randn(1, 3, 640, 640)

    def case(count: int) -> Case:
        passes = math.ceil(count * TOKENS / (PROMPT - 2))
        each = math.ceil(count / passes)
        # [CLS] words . words . … [SEP]: 1012 is the full stop that ends a phrase
        phrase = [2000, 2001, 2002, 2003, 2004, 1012]
        ids = torch.tensor([[101, *phrase * each, 102]])
        mask = torch.ones_like(ids)
        return lambda: [
            model(pixel_values=pixels, input_ids=ids, attention_mask=mask, token_type_ids=torch.zeros_like(ids))
            for _ in range(passes)
        ]

    return case


def owl(size: int, *, second: bool = False) -> Callable[[int], Case]:
    """OWL-ViT base/32, or OWLv2 base/16; texts embedded before the clock starts."""
    name, patch = ("Owlv2", 16) if second else ("OwlViT", 32)
    vision = {"image_size": size, "patch_size": patch}
    config: Any = getattr(transformers, f"{name}Config")(vision_config=vision)
    model = packed(getattr(transformers, f"{name}ForObjectDetection")(config))
    pixels = torch.randn(1, 3, size, size)

    def case(count: int) -> Case:
        words = torch.nn.functional.normalize(torch.randn(1, count, config.projection_dim), dim=-1)

        def run() -> Tensor:
            features: Any = model.image_embedder(pixel_values=pixels)[0]
            flat = features.flatten(1, 2)
            boxes: Tensor = model.box_predictor(flat, features)
            model.class_predictor(flat, words)
            if second:
                model.objectness_predictor(flat)
            return boxes

        return run

    return case


def omdet() -> Callable[[int], Case]:
    """OmDet-Turbo tiny: Swin tiny by config; its own cache holds the texts after the first call."""
    swin = SWIN(
        window_size=7,
        embed_dim=96,
        depths=[2, 2, 6, 2],
        num_heads=[3, 6, 12, 24],
        out_indices=[2, 3, 4],
        image_size=640,
    )
    text = transformers.CLIPTextConfig(hidden_size=512, intermediate_size=2048, num_attention_heads=8)
    config = OMDET(
        backbone_config=swin, text_config=text, use_timm_backbone=False, apply_layernorm_after_vision_backbone=False
    )
    model = packed(transformers.OmDetTurboForObjectDetection(config))
    pixels = torch.randn(1, 3, 640, 640)

    def case(count: int) -> Case:
        generator = torch.Generator().manual_seed(count)
        ids = torch.randint(10, 40000, (count, 16), generator=generator)
        ids[:, -1] = 49407
        mask = torch.ones_like(ids)
        inputs = {
            "classes_input_ids": ids,
            "classes_attention_mask": mask,
            "tasks_input_ids": ids[:1],
            "tasks_attention_mask": mask[:1],
            "classes_structure": torch.tensor([count]),
        }
        return lambda: model(pixel_values=pixels, **inputs)

    return case


PEERS: dict[str, Callable[[], Callable[[int], Case]]] = {
    "SimVG base/32 standing": ours,
    "Grounding DINO tiny": lambda: grounding_dino(False),
    "MM-Grounding DINO tiny": lambda: grounding_dino(True),
    "OWL-ViT base/32, 768": lambda: owl(768),
    "OWL-ViT base/32, 640": lambda: owl(640),
    "OWLv2 base/16": lambda: owl(640, second=True),
    "OmDet-Turbo tiny": omdet,
}


def main() -> None:
    """Measures and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--threads", type=positive, default=2)
    parser.add_argument("--queries", type=positive, action="append", help="repeatable; default 1, 16, 64")
    parser.add_argument("--peer", choices=list(PEERS)[1:], action="append", help="repeatable; default all")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/peers.md"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    counts = arguments.queries or COUNTS
    first, *others = PEERS
    chosen = [first, *(arguments.peer or others)]
    cases = {(name, count): made(count) for name in chosen for made in [PEERS[name]()] for count in counts}
    with torch.inference_mode():
        seconds = interleaved({f"{name}/{count}": case for (name, count), case in cases.items()}, arguments.rounds)
    lines = [
        "# Beside other open-vocabulary detectors",
        "",
        f"{machine()}, transformers {transformers.__version__}. Medians of {arguments.rounds} interleaved rounds, one "
        "640×640 frame (OWL-ViT also at 768×768, its own size), float32, random weights, linear layers of all packed, "
        "text features cached where the model allows it. In brackets: times the time of base/32 standing, within a "
        "round.",
        "",
        f"`{command()}`",
        "",
        "| ms per frame at | " + " | ".join(f"{count} queries" for count in counts) + " |",
        "| --- |" + " ---: |" * len(counts),
    ]
    for name in chosen:
        cells = []
        for count in counts:
            own, base = seconds[f"{name}/{count}"], seconds[f"{first}/{count}"]
            cells.append(f"{statistics.median(own) * 1e3:,.0f} ({ratio(own, base):.2f})")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    write(arguments.out, lines)


if __name__ == "__main__":
    main()
