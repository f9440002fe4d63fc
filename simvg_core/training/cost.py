"""What a model costs: parameters, operations, time per image and per query."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from simvg_core import standing
from simvg_core.configuration import SimVGConfig
from simvg_core.model import SimVGForGrounding
from simvg_core.words import BEGIN, END, UNKNOWN

MOST_QUERIES = 16
_RUNS = 15
# Long enough for most expressions about a line; a joint model gets the full length it was trained with.
_STANDING_TOKENS = 6


@torch.no_grad()
def cost_of(model: SimVGForGrounding, seconds: float = 3.0, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """Parameters by part; per pass billions of operations (a product and its sum are two), milliseconds and rate.

    The passes of a joint model are "encoder" (one image with one text) and what each branch adds to it; those of a
    standing model "frame" (an image, whatever is asked), "text" (once in a query's life) and "query" (each image with
    each text), and, where it has one, the decoder branch. "total" is an image with one text from end to end.
    Operations are counted by torch on the passes themselves; each is timed for up to `seconds`, at least once, with
    matrix products in `dtype`.
    """
    was_training = model.training
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.train(False)
    for parameter in learning:  # the counter's hooks expect a graph of whatever can learn
        parameter.requires_grad_(False)
    try:
        measure = _standing_passes if model.config.attention == "standing" else _joint_passes
        with torch.autocast(model.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
            passes = measure(model, seconds)
    finally:
        model.train(was_training)
        for parameter in learning:
            parameter.requires_grad_(True)
    return {
        "device": _device_name(model.device),
        "threads": torch.get_num_threads(),
        "parameters": _parameters(model),
        "passes": passes,
    }


def _parameters(model: SimVGForGrounding) -> dict[str, int]:
    counts = {
        name.replace("_", " "): sum(parameter.numel() for parameter in part.parameters())
        for name, part in model.named_children()
    }
    return {"total": sum(parameter.numel() for parameter in model.parameters()), **counts}


def _joint_passes(model: SimVGForGrounding, seconds: float) -> dict[str, Any]:
    pixels, ids, mask = _inputs(model, 1, model.config.max_text_tokens)

    def run(*branches: str) -> Callable[[], Any]:
        return lambda: model(pixels, ids, mask, branches=branches)

    encoder = _measured(run(), seconds)
    passes = {"encoder": _row(encoder)}
    for name in ("token", "decoder"):
        if name == "token" or model.decoder_branch is not None:
            whole = _measured(run(name), seconds)
            passes[f"{name} branch"] = _row(_less(whole, encoder))
            passes[f"total, {name} branch"] = _row(whole)
    return passes


def _standing_passes(model: SimVGForGrounding, seconds: float) -> dict[str, Any]:
    pixels, ids, mask = _inputs(model, MOST_QUERIES, _STANDING_TOKENS)
    compiled = model.compile_queries(ids, mask).texts
    one = compiled.select(torch.tensor([0], device=model.device))

    def frame() -> Tensor:
        return model.image_projection(standing.encode_image(model.encoder, pixels)[0])  # type: ignore[no-any-return]

    frame_pass = _measured(frame, seconds)
    single, many = (
        _measured(lambda: model.ground_frames(pixels, one), seconds),
        _measured(lambda: model.ground_frames(pixels, compiled), seconds),
    )
    more = MOST_QUERIES - 1
    passes = {
        "frame": _row(frame_pass),
        "text": _row(_measured(lambda: model.compile_queries(ids[:1], mask[:1]), seconds)),
        "query": _row(((many[0] - single[0]) / more, max(0.0, many[1] - single[1]) / more)),
        "total, token branch": _row(single),
        f"total, {MOST_QUERIES} queries": _row(many),
    }
    if model.decoder_branch is not None:
        shared = _measured(lambda: model(pixels, ids[:1], mask[:1], branches=()), seconds)
        whole = _measured(lambda: model(pixels, ids[:1], mask[:1], branches=("decoder",)), seconds)
        passes["decoder branch"] = _row(_less(whole, shared))
        passes["total, decoder branch"] = _row(whole)
    return passes


def _inputs(model: SimVGForGrounding, texts: int, tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    """One grey image (1, 3, S, S), ids (N, T) of unknown words and a mask (N, T) of ones."""
    config: SimVGConfig = model.config
    pixels = torch.zeros(1, 3, config.image_size, config.image_size, device=model.device)
    ids = torch.full((texts, tokens), UNKNOWN, device=model.device)
    ids[:, 0], ids[:, -1] = BEGIN, END
    return pixels, ids, torch.ones_like(ids)


def _measured(run: Callable[[], Any], seconds: float) -> tuple[float, float]:
    """(billions of operations, milliseconds of the fastest run: others may share the machine)."""
    counter = FlopCounterMode(display=False, custom_mapping=_also_counted())
    # torch counts the fused attention of GPUs but not that of CPUs; as plain products it is counted everywhere
    with sdpa_kernel(SDPBackend.MATH), counter:
        run()
    cuda = torch.cuda.is_available()
    times: list[float] = []
    begin = time.perf_counter()
    while not times or (len(times) < _RUNS and time.perf_counter() - begin < seconds):
        if cuda:
            torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        if cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return counter.get_total_flops() / 1e9, min(times) * 1000


def _also_counted() -> dict[Any, Any]:
    """Products that torch does not count by itself: linear layers and convolutions on packed weights."""
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return {}

    def packed_linear(x: torch.Size, *_: Any, out_shape: torch.Size, **__: Any) -> int:
        return 2 * math.prod(x) * out_shape[-1]

    def packed_convolution(x: torch.Size, *others: Any, out_shape: torch.Size, **__: Any) -> int:
        # the last four-sided one before the bias is the weight: a shortcut may stand before it
        weight = [one for one in others if isinstance(one, torch.Size) and len(one) == 4][-1]
        return 2 * math.prod(out_shape) * math.prod(weight[1:])

    return {
        torch.ops.mkldnn._linear_pointwise: packed_linear,
        torch.ops.mkldnn._convolution_pointwise: packed_convolution,
    }


def _less(whole: tuple[float, float], part: tuple[float, float]) -> tuple[float, float]:
    return whole[0] - part[0], max(0.0, whole[1] - part[1])


def _row(measured: tuple[float, float]) -> dict[str, float | None]:
    operations, milliseconds = measured
    rate = 1000 / milliseconds if milliseconds > 0 else None
    return {"gflops": operations, "milliseconds": milliseconds, "per_second": rate}


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
