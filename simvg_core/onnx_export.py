"""Writing a standing model as ONNX graphs: frame pass, text pass, query pass, and the gate where it has one.

Shapes: B frames, N texts, T tokens, S image side, P image tokens, L layers, h heads, d head width, Q answers, E head
width. Sizes that vary are free in the graphs: B, N and T.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from simvg_core import asking, standing
from simvg_core.attention import Part
from simvg_core.configuration import SimVGConfig
from simvg_core.edge.graphs import (
    CARD,
    FOLDER,
    FRAME,
    GATE,
    GATE_OUTPUTS,
    QUERY,
    QUERY_OUTPUTS,
    TEXT,
    of_layers,
)
from simvg_core.errors import ConfigurationError
from simvg_core.fingerprint import fingerprint_of_folder
from simvg_core.gate import highest
from simvg_core.gate_head import GateHead
from simvg_core.glimpse import in_one
from simvg_core.model import SimVGForGrounding
from simvg_core.patches import from_levels

OPSET = 20
"""The first with a general GridSample."""
OF_TEXTS = ("queries", "said", "pooled", "text_found", "text_mass")
"""What the text pass gives, layers apart: (N, Q, E), (N, Q, V), (N, E), (N, h, K, d), (N, h, K)."""

Shapes = dict[str, dict[int, Any] | tuple[dict[int, Any], ...]]


class FramePass(nn.Module):
    """(B, S, S, 3) uint8 BGR → keys and values (B, h, P, d) of the second layer on, and what else is looked at
    (`_of_frames`). Export it within `levels`."""

    mean: Tensor

    def __init__(self, model: SimVGForGrounding) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(model.config.image_mean).flip(0)[:, None, None])

    def levels(self) -> contextlib.AbstractContextManager[None]:
        """Meanwhile the model takes what `pixels` gives."""
        return from_levels(self.model.encoder.patches, self.model.config.image_std)

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        seen = asking.see(self.model, self.pixels(frames))
        return (*_keys_values(seen.stream), *_of_frames(seen).values())

    def pixels(self, frames: Tensor) -> Tensor:
        """(B, S, S, 3) uint8 BGR → BGR grey levels less their mean (B, 3, S, S)."""
        return frames.permute(0, 3, 1, 2).float() - self.mean


class TextPass(nn.Module):
    """Ids and mask (N, T) → text keys and values (N, h, T, d) of the second layer on, and OF_TEXTS; with a fitted gate,
    also what it keeps (N, W)."""

    def __init__(self, model: SimVGForGrounding) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        text, stream = standing.encode_text(self.model.encoder, input_ids, attention_mask)
        queries, pooled = self.model.query_generator(text, attention_mask)
        gate = self.model.gate if self.model.bounded else None
        said = self.model.token_branch.ask(queries)
        asked = () if gate is None else (gate.ask(queries, pooled),)
        return (*_keys_values(stream), queries, said, pooled, *stream.first, *asked)


class QueryPass(nn.Module):
    """What the other two gave → logits (B, N, Q, 2) and boxes (B, N, Q, 4), cxcywh."""

    def __init__(self, model: SimVGForGrounding) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        pointed: Tensor,
        keys: tuple[Tensor, ...],
        values: tuple[Tensor, ...],
        text_keys: tuple[Tensor, ...],
        text_values: tuple[Tensor, ...],
        attention_mask: Tensor,
        queries: Tensor,
        said: Tensor,
        pooled: Tensor,
        text_found: Tensor,
        text_mass: Tensor,
        found: Tensor,
        mass: Tensor,
        heat: Tensor | None = None,
        fine: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        frames, count = pointed.shape[0], queries.shape[0]
        image = _stream(found, mass, keys, values)
        text = _stream(text_found, text_mass, text_keys, text_values).map(lambda part: part.unsqueeze(0))
        mask = attention_mask.unsqueeze(0)
        objects = standing.encode_objects(self.model.encoder, frames, count, image, text, mask)
        auxiliary = self.model.auxiliary
        warm = None if auxiliary is None or heat is None else auxiliary.heat_map(pooled, heat)
        queries, said = (part.expand(frames, -1, -1, -1) for part in (queries, said))
        answers, _ = self.model.token_branch(objects, queries, pointed, None, warm, fine, said)
        return answers.logits, answers.boxes_cxcywh


class GatePass(nn.Module):
    """What the gate saw of frames (B, P, …) and keeps of texts (N, W) → its logits and the highest difference of class
    logits that it allows, of each text in each frame (B, N)."""

    def __init__(self, head: GateHead, config: SimVGConfig) -> None:
        super().__init__()
        self.head, self.config = head, config

    def forward(self, gate: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
        warmth = self.head(asked, gate)
        return warmth, highest(warmth, self.config)


def export(model: SimVGForGrounding, folder: Path) -> Path:
    """Writes the graphs of a model into its folder; returns the folder they lie in.

    Raises:
        ConfigurationError: the model is not in standing attention.
    """
    if model.config.attention != "standing":
        raise ConfigurationError(
            f'attention="{model.config.attention}" has no separate frame and query passes to export; use a model with '
            'attention="standing".'
        )
    out = folder / FOLDER
    out.mkdir(parents=True, exist_ok=True)
    nn.Module.to(model, "cpu", torch.float32)  # the method of transformers is untyped
    model.train(False)
    frames, texts, tokens = (torch.export.Dim(name, min=1, max=most) for name, most in _LIMITS)
    example = torch.zeros(2, model.config.image_size, model.config.image_size, 3, dtype=torch.uint8)
    ids, mask = torch.full((3, 5), 4), torch.ones(3, 5, dtype=torch.long)
    frame_pass, text_pass, query_pass = FramePass(model), TextPass(model), QueryPass(model)
    with torch.no_grad():
        seen, known = asking.see(model, torch.zeros(2, 3, *example.shape[1:3])), text_pass(ids, mask)
    layers = len(seen.stream.layers)
    of_frames = _of_frames(seen)
    names = (*of_layers("keys", layers), *of_layers("values", layers), *of_frames)
    with frame_pass.levels():
        write_graph(frame_pass, out / f"{FRAME}.onnx", {"frames": example}, names, {"frames": {0: frames}})
    free = {0: texts, 1: tokens}
    text_names = (*of_layers("text_keys", layers), *of_layers("text_values", layers), *OF_TEXTS)
    if model.bounded:
        text_names += ("asked",)
    write_graph(
        text_pass,
        out / f"{TEXT}.onnx",
        {"input_ids": ids, "attention_mask": mask},
        text_names,
        {"input_ids": free, "attention_mask": free},
    )
    keys_values = _keys_values(seen.stream)
    inputs: dict[str, Any] = {"keys": keys_values[:layers], "values": keys_values[layers:]}
    inputs |= {"text_keys": known[:layers], "text_values": known[layers : 2 * layers]}
    inputs |= {"attention_mask": mask, **dict(zip(OF_TEXTS, known[2 * layers :], strict=False))}
    inputs |= {name: part for name, part in of_frames.items() if name != GATE}
    shapes: Shapes = {name: ({0: frames},) * layers for name in ("keys", "values")}
    shapes |= {name: ({0: texts, 2: tokens},) * layers for name in ("text_keys", "text_values")}
    shapes |= {"attention_mask": free, **{name: {0: texts} for name in OF_TEXTS}}
    shapes |= {name: {0: frames} for name in of_frames}
    (out / f"{GATE}.onnx").unlink(missing_ok=True)
    if model.gate is not None and model.bounded:
        given = {GATE: of_frames[GATE], "asked": known[-1]}
        free_gate: Shapes = {GATE: {0: frames}, "asked": {0: texts}}
        write_graph(GatePass(model.gate, model.config), out / f"{GATE}.onnx", given, GATE_OUTPUTS, free_gate)
    with in_one(model):
        write_graph(query_pass, out / f"{QUERY}.onnx", inputs, QUERY_OUTPUTS, {name: shapes[name] for name in inputs})
    card = {"fingerprint": fingerprint_of_folder(folder), "opset": OPSET, "torch": torch.__version__.split("+")[0]}
    (out / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    return out


_LIMITS = (("frames", 256), ("texts", 65_536), ("tokens", 512))


def _of_frames(seen: asking.SeenFrames) -> dict[str, Tensor]:
    """By the graphs' names, what first layer, heads and gate look at; what a model does not have is left out."""
    of_heads = {"pointed": seen.pointed, "heat": seen.heat, "fine": seen.fine, GATE: seen.gate}
    found = {**seen.stream.first._asdict(), **of_heads}
    return {name: part for name, part in found.items() if part is not None}


def _keys_values(stream: standing.Stream) -> tuple[Tensor, ...]:
    return (*(layer.keys for layer in stream.layers), *(layer.values for layer in stream.layers))


def _stream(found: Tensor, mass: Tensor, keys: tuple[Tensor, ...], values: tuple[Tensor, ...]) -> standing.Stream:
    layers = [standing.KeysValues(*layer) for layer in zip(keys, values, strict=True)]
    return standing.Stream(Part(found, mass), layers)


def _forget_sources(model: Any) -> None:
    """Takes out the stack trace that every node carries: it names folders of the machine that wrote it."""
    for part in (model, model.graph, *model.functions.values()):
        part.metadata_props.clear()
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        for value in (*graph.inputs, *graph.initializers.values()):
            value.metadata_props.clear()
        for node in graph.all_nodes():
            node.metadata_props.clear()
            for value in node.outputs:
                value.metadata_props.clear()


def write_graph(
    module: nn.Module, path: Path, inputs: dict[str, Any], outputs: tuple[str, ...], shapes: Shapes
) -> None:
    """One graph; an input that is a tuple of arrays becomes that many inputs."""
    names = [
        name
        for key, value in inputs.items()
        for name in (of_layers(key, len(value)) if type(value) is tuple else (key,))
    ]
    told = io.StringIO()
    try:
        # The exporter tries one way after another, and prints pages about each that fails, also when one succeeds.
        with warnings.catch_warnings(), contextlib.redirect_stderr(told), torch.no_grad():
            warnings.simplefilter("ignore")  # of the exporter about its own deprecated parts
            program = torch.onnx.export(
                module,
                kwargs=inputs,
                input_names=names,
                output_names=list(outputs),
                dynamic_shapes=shapes,
                dynamo=True,
                opset_version=OPSET,
                verbose=False,
            )
    except Exception:
        sys.stderr.write(told.getvalue())
        raise
    assert program is not None, "the exporter returns its program when dynamo is on"
    _forget_sources(program.model)
    part = path.with_suffix(".part")
    program.save(str(part), external_data=False)
    part.replace(path)
