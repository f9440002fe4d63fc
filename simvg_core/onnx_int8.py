"""Weights of matrix products in 8-bit integers: a smaller and faster frame graph, nearly the same answers.

Only weights are stored in integers; what flows through a product is scaled anew every time, so that no calibration is
needed. Convolutions stay in floats: in integers they are slower here, and it is they that see fine detail. Measured in
docs/benchmarks/int8.md.
"""

from __future__ import annotations

import logging
from pathlib import Path

from onnxruntime.quantization import QuantType, quantize_dynamic

from simvg_core.edge.card import add_graph
from simvg_core.edge.graphs import FRAME, INT8, graph_file


def to_int8(graphs: Path) -> None:
    """Writes the frame graph in integers beside the one in floats, in a folder that `onnx_export.export` wrote, and
    into its card. Raises CheckpointError where there is none."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it advises a preparation that this graph has had
    part = graphs / f"{FRAME}.part"
    try:
        quantize_dynamic(
            graphs / graph_file(FRAME, "float32"),
            part,
            op_types_to_quantize=["MatMul", "Gemm"],
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},  # the others are attention: they have no weights
        )
        part.replace(graphs / graph_file(FRAME, INT8))
        add_graph(graphs / graph_file(FRAME, INT8))
    finally:
        logging.disable(before)
        part.unlink(missing_ok=True)
