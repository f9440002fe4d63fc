"""Writing a standing model as ONNX graphs: frame pass, text pass, query pass, and the gate where it has one.

Shapes: B frames, N texts, T tokens, S image side, P image tokens, L layers, h heads, d head width, Q answers, E head
width. Sizes that vary are free in the graphs: B, N and T.
"""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from simvg_core import asking, standing
from simvg_core.attention import Part
from simvg_core.configuration import SimVGConfig
from simvg_core.edge.card import CARD, write_card
from simvg_core.edge.graphs import (
    ASKED,
    FOLDER,
    FRAME,
    GATE,
    GATE_OUTPUTS,
    INT8,
    QUERY,
    QUERY_OUTPUTS,
    STATES,
    TEXT,
    TEXT_LAYERS,
    graph_file,
    of_layers,
)
from simvg_core.errors import ConfigurationError
from simvg_core.fingerprint import fingerprint_of_folder
from simvg_core.folding import folding, in_rows
from simvg_core.gate import highest
from simvg_core.gate_head import GateHead
from simvg_core.model import SimVGForGrounding
from simvg_core.patches import from_levels

OPSET = 20
"""The first with a general GridSample."""

Shapes = dict[str, dict[int, Any] | tuple[dict[int, Any], ...]]


class FramePass(nn.Module):
    """(B, S, S, 3) uint8 BGR → what is looked at (`_of_frames`). Export it within `levels`."""

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
        return tuple(_arrays(_of_frames(seen)).values())

    def pixels(self, frames: Tensor) -> Tensor:
        """(B, S, S, 3) uint8 BGR → BGR grey levels less their mean (B, 3, S, S)."""
        return frames.permute(0, 3, 1, 2).float() - self.mean


class TextPass(nn.Module):
    """Ids and mask (N, T) → what is kept of texts (`_of_texts`)."""

    def __init__(self, model: SimVGForGrounding) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        return tuple(_arrays(_of_texts(self.model, input_ids, attention_mask)).values())


class QueryPass(nn.Module):
    """What the other two gave → logits (B, N, Q, 2) and boxes (B, N, Q, 4), cxcywh."""

    def __init__(self, model: SimVGForGrounding) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        pointed: tuple[Tensor, ...],
        keys: tuple[Tensor, ...],
        values: tuple[Tensor, ...],
        text_keys: tuple[Tensor, ...],
        text_values: tuple[Tensor, ...],
        attention_mask: Tensor,
        said: tuple[Tensor, ...],
        pooled: Tensor,
        text_found: Tensor,
        text_mass: Tensor,
        found: Tensor,
        mass: Tensor,
        queries: Tensor | None = None,
        heat: Tensor | None = None,
        fine: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        image = _stream(found, mass, keys, values)
        text = _stream(text_found, text_mass, text_keys, text_values).map(lambda part: part.unsqueeze(0))
        frames, count, mask = pointed[0].shape[0], pooled.shape[0], attention_mask.unsqueeze(0)
        objects = standing.encode_objects(self.model.encoder, frames, count, image, text, mask)
        auxiliary = self.model.auxiliary
        warm = None if auxiliary is None or heat is None else auxiliary.heat_map(pooled, heat)
        # the features are no output, so what the texts give to them is no input
        asked = (torch.zeros(1), *(part.unsqueeze(0) for part in said)) if said else ()
        asking = None if queries is None else queries.unsqueeze(0)
        answers, _ = self.model.token_branch(objects, asking, pointed, None, warm, fine, asked)
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
    """Writes the graphs of a model into its folder; returns the folder they lie in. One that was interrupted leaves
    graphs that no engine takes.

    Raises:
        ConfigurationError: the model is not in standing attention, or its tokenizer needs transformers.
        OSError: the folder cannot be written.
    """
    if model.config.attention != "standing":
        raise ConfigurationError(
            f'attention="{model.config.attention}" has no separate frame and query passes to export; use a model with '
            'attention="standing".'
        )
    if model.config.tokenizer != "fast":
        raise ConfigurationError(
            f"the tokenizer {model.config.tokenizer!r} needs transformers, without which the graphs are to run; use a "
            'model with tokenizer="fast", or leave this one in torch.'
        )
    made_from = fingerprint_of_folder(folder)  # before the minutes in which another command may change the weights
    out = folder / FOLDER
    out.mkdir(parents=True, exist_ok=True)
    # Of the weights before. Without the card nobody takes graphs of which only some are new.
    for old in (CARD, graph_file(FRAME, INT8)):
        (out / old).unlink(missing_ok=True)
    nn.Module.to(model, "cpu", torch.float32)  # the method of transformers is untyped
    model.train(False)
    frames, texts, tokens = (torch.export.Dim(name, min=1, max=most) for name, most in _LIMITS)
    example = torch.zeros(2, model.config.image_size, model.config.image_size, 3, dtype=torch.uint8)
    ids, mask = torch.full((3, 5), 4), torch.ones(3, 5, dtype=torch.long)
    frame_pass = FramePass(model)
    with torch.no_grad():
        seen = _of_frames(asking.see(model, torch.zeros(2, 3, *example.shape[1:3])))
        known = _of_texts(model, ids, mask)
    with frame_pass.levels(), folding(model), in_rows(model):
        write_graph(frame_pass, out / f"{FRAME}.onnx", {"frames": example}, _arrays(seen), {"frames": {0: frames}})
    free = {0: texts, 1: tokens}
    read = {"input_ids": ids, "attention_mask": mask}
    write_graph(TextPass(model), out / f"{TEXT}.onnx", read, _arrays(known), dict.fromkeys(read, free))
    looked_at, kept = seen.pop(GATE, None), known.pop(ASKED, None)
    seen.pop(STATES, None)  # what cells say of states is no query's
    inputs: _Named = {**seen, **known, "attention_mask": mask}
    shapes: Shapes = {name: _each(part, {0: frames}) for name, part in seen.items()}
    shapes |= {name: _each(part, {0: texts}) for name, part in known.items()}
    shapes |= {name: _each(known[name], {0: texts, 2: tokens}) for name in TEXT_LAYERS}
    shapes["attention_mask"] = free
    (out / f"{GATE}.onnx").unlink(missing_ok=True)
    names = [FRAME, TEXT, QUERY]
    if model.gate is not None and looked_at is not None and kept is not None:
        given: _Named = {GATE: looked_at, ASKED: kept}
        free_gate: Shapes = {GATE: {0: frames}, ASKED: {0: texts}}
        names.append(GATE)
        write_graph(GatePass(model.gate, model.config), out / f"{GATE}.onnx", given, GATE_OUTPUTS, free_gate)
    with folding(model):
        write_graph(QueryPass(model), out / f"{QUERY}.onnx", inputs, QUERY_OUTPUTS, shapes)
    facts = {"fingerprint": made_from, "opset": OPSET, "torch": torch.__version__.split("+")[0]}
    write_card(out, facts, [f"{name}.onnx" for name in names])
    return out


_LIMITS = (("frames", 256), ("texts", 65_536), ("tokens", 512))
_Named = dict[str, Tensor | tuple[Tensor, ...]]


def _arrays(named: Mapping[str, Tensor | tuple[Tensor, ...]]) -> dict[str, Tensor]:
    """A name for each array: a tuple is that many."""
    found: dict[str, Tensor] = {}
    for name, part in named.items():
        found |= {name: part} if isinstance(part, Tensor) else dict(zip(of_layers(name, len(part)), part, strict=True))
    return found


def _each(part: Tensor | tuple[Tensor, ...], sizes: dict[int, Any]) -> dict[int, Any] | tuple[dict[int, Any], ...]:
    """The same free sizes for each of its arrays."""
    return sizes if isinstance(part, Tensor) else (sizes,) * len(part)


def _of_frames(seen: asking.SeenFrames) -> _Named:
    """By the graphs' names: keys and values (B, h, P, d) of the second layer on, and what first layer, heads and gate
    look at; what a model does not have is left out."""
    layers, of_heads = seen.stream.layers, {"pointed": seen.pointed, "heat": seen.heat, "fine": seen.fine}
    keys_values = {name: tuple(getattr(layer, name) for layer in layers) for name in ("keys", "values")}
    found = {**keys_values, **seen.stream.first._asdict(), **of_heads, GATE: seen.gate, STATES: seen.states}
    return {name: part for name, part in found.items() if part is not None}


def _of_texts(model: SimVGForGrounding, input_ids: Tensor, attention_mask: Tensor) -> _Named:
    """Likewise: keys and values (N, h, T, d), what the head prepared (N, Q, E) each, the pooled texts (N, E), what they
    find in the first layer (N, h, K, d) and (N, h, K), and what the gate keeps (N, W); queries (N, Q, E) of a model
    that needs them once there is a frame."""
    text, stream = standing.encode_text(model.encoder, input_ids, attention_mask)
    queries, pooled = model.query_generator(text, attention_mask)
    branch, (text_found, text_mass) = model.token_branch, stream.first
    said = branch.ask(queries).unbind(dim=1)[1:]
    found: _Named = {
        "text_keys": tuple(layer.keys for layer in stream.layers),
        "text_values": tuple(layer.values for layer in stream.layers),
        "said": said,
        "pooled": pooled,
        "text_found": text_found,
        "text_mass": text_mass,
    }
    if not said or branch.text_bias is not None:
        found["queries"] = queries
    if model.gate is not None and model.bounded:
        found[ASKED] = model.gate.ask(queries, pooled)
    return found


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
    module: nn.Module, path: Path, inputs: Mapping[str, Any], outputs: Iterable[str], shapes: Shapes
) -> None:
    """One graph; an input that is a tuple of arrays becomes that many inputs."""
    told = io.StringIO()
    try:
        # The exporter tries one way after another, and prints pages about each that fails, also when one succeeds.
        with warnings.catch_warnings(), contextlib.redirect_stderr(told), torch.no_grad():
            warnings.simplefilter("ignore")  # of the exporter about its own deprecated parts
            program = torch.onnx.export(
                module,
                kwargs=dict(inputs),
                input_names=list(_arrays(inputs)),
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
    try:
        program.save(str(part), external_data=False)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
