"""ONNX graphs of an exported model, and the runtimes that run them.

An exported model folder holds `onnx/frame.onnx`, `onnx/text.onnx`, `onnx/query.onnx` and, of models with a heat map,
`onnx/gate.onnx`; the frame graph in 8-bit integers as well, `onnx/frame.int8.onnx`. The names of their inputs and
outputs are the field names used here and in `simvg_core.onnx_export`.
Keys and values are one array per layer (`keys_0` …): stacked in one they would have to be copied to be cut apart.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from simvg_core.denormals import flushed
from simvg_core.edge.card import check_graph
from simvg_core.errors import CheckpointError, ConfigurationError

FOLDER = "onnx"
FRAME, TEXT, QUERY, GATE = "frame", "text", "query", "gate"

ASKED = "asked"
"""Output of the text graph that is the gate's alone."""
STATES = "states"
"""Output of the frame graph that no other graph takes: what cells say of things' states."""
TEXT_LAYERS = ("text_keys", "text_values")
"""Outputs of the text graph that there are of every layer."""
QUERY_OUTPUTS = ("logits", "boxes")
GATE_OUTPUTS = ("warmth", "highest")

Runtime = Literal["onnxruntime", "openvino"]
RUNTIMES: tuple[Runtime, ...] = ("onnxruntime", "openvino")
Precision = Literal["float32", "bfloat16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "int8")
INT8: Precision = "int8"
Arrays = dict[str, NDArray[Any]]


def graph_file(name: str, precision: Precision) -> str:
    """Name of a graph's file in an exported model's folder. In integers there is the frame graph alone: what flows
    through a product is scaled together, and a query's score would depend on those that are asked with it."""
    return f"{name}.{INT8}.onnx" if precision == INT8 and name == FRAME else f"{name}.onnx"


def of_layers(name: str, layers: int) -> tuple[str, ...]:
    """Names of one array per layer."""
    return tuple(f"{name}_{layer}" for layer in range(layers))


def usable_cores() -> int:
    """Of this machine's cores, how many this process may run on."""
    return len(os.sched_getaffinity(0))


class Graph(Protocol):
    """One graph, ready to run. Thread-safe."""

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Outputs by name; inputs that the graph does not have are left out."""
        ...


@cache
def _share_memory() -> None:
    """One pool of memory for the runs of all graphs of this process, which grows by what is asked of it and no further.

    With a pool for each graph, memory that one has done with is no use to the others; from the system's allocator,
    tensors of many sizes leave holes: after 60 frames that is 30 to 80 MB more.
    """
    import onnxruntime as ort

    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    default, as_asked = -1, 1
    ort.create_and_register_allocator(memory, ort.OrtArenaCfg(0, as_asked, default, default))


class OnnxRuntimeGraph:
    """A graph in ONNX Runtime on the CPU."""

    def __init__(self, path: Path, threads: int | None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        # Left to choose, it ties threads to cores, also to those that this process may not use.
        options.intra_op_num_threads = threads or usable_cores()
        options.log_severity_level = 3
        _share_memory()
        options.add_session_config_entry("session.use_env_allocators", "1")
        # Waiting threads that spin take the cores from decoding.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.set_denormal_as_zero", "1")  # in threads of its own
        providers, slow = ["CPUExecutionProvider"], ["SkipLayerNormFusion"]  # twice as slow as sum and norm apart
        with flushed():  # the first session of a process leaves it so in the thread that makes it
            self._session = onnxruntime.InferenceSession(str(path), options, providers, disabled_optimizers=slow)
        self._inputs = {entry.name for entry in self._session.get_inputs()}
        self._outputs = [entry.name for entry in self._session.get_outputs()]

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        given = {name: array for name, array in inputs.items() if name in self._inputs}
        with flushed():
            return dict(zip(self._outputs, self._session.run(self._outputs, given), strict=True))


class OpenVinoGraph:
    """A graph in OpenVINO on the CPU. So many runs at once have so many threads each."""

    def __init__(self, path: Path, threads: int | None, precision: Precision = "float32", at_once: int = 1) -> None:
        import openvino

        core = openvino.Core()
        if precision == "bfloat16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise ConfigurationError(
                "this processor has no instructions for bfloat16, which would make the model slower; use float32."
            )
        hint = {"float32": "f32", "bfloat16": "bf16"}[precision]
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": hint, "NUM_STREAMS": at_once}
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads * at_once
        self._model = core.compile_model(core.read_model(str(path)), "CPU", settings)
        self._inputs = {entry.get_any_name() for entry in self._model.inputs}
        self._outputs = [(entry, entry.get_any_name()) for entry in self._model.outputs]

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        given = {name: array for name, array in inputs.items() if name in self._inputs}
        found = self._model.create_infer_request().infer(given)
        return {name: np.asarray(found[entry]) for entry, name in self._outputs}


def load_graph(
    folder: Path,
    name: str,
    runtime: Runtime,
    threads: int | None,
    precision: Precision = "float32",
    at_once: int = 1,
) -> Graph:
    """Graph `name` of an exported model folder.

    Args:
        threads: of a run; None = in ONNX Runtime one per core that this process may use, else the runtime's choice.
        precision: of its matrix products and convolutions: "bfloat16" in OpenVINO alone; "int8" in ONNX Runtime alone,
            and of the weights of products in the frame pass (`onnx_int8`).
        at_once: runs that are to go on side by side. In ONNX Runtime any number can.

    Raises:
        CheckpointError: there is no such file, it is of another export than the card beside it, or the runtime cannot
            read it.
        ConfigurationError: the runtime is unknown or not installed, or it or the processor cannot do that precision.
    """
    if precision not in PRECISIONS:
        raise ConfigurationError(f"precision={precision!r} is not offered; use one of {', '.join(PRECISIONS)}.")
    if runtime == "onnxruntime" and precision == "bfloat16":
        raise ConfigurationError(f"onnxruntime runs graphs in float32 or int8, not in {precision}; use openvino.")
    if runtime == "openvino" and precision == INT8:
        raise ConfigurationError(f"openvino runs graphs in float32 or bfloat16, not in {precision}; use onnxruntime.")
    if runtime not in RUNTIMES:
        raise ConfigurationError(f"runtime={runtime!r} is not offered; use one of {', '.join(RUNTIMES)}.")
    path = folder / FOLDER / graph_file(name, precision)
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist; write it with `simvg export {folder}` where torch is installed.")
    check_graph(path)
    try:
        if runtime == "onnxruntime":
            return OnnxRuntimeGraph(path, threads)
        return OpenVinoGraph(path, threads, precision, at_once)
    except ConfigurationError:
        raise
    except ImportError as error:
        raise ConfigurationError(f"{runtime} is not installed here; pip install {runtime}.") from error
    except Exception as error:  # each runtime has errors of its own for a broken file
        raise CheckpointError(f"{path} cannot be read by {runtime} ({error}); export the model again.") from error
