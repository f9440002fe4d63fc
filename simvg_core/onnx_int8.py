"""Weights of an exported model's matrix products in 8-bit integers: smaller and faster graphs, nearly the same answers.

Only weights are stored in integers; what flows through a product is scaled anew every time, so that no calibration is
needed. Convolutions stay in floats: in integers they are slower here, and it is they that see fine detail. Measured in
docs/benchmarks/int8.md.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

from onnxruntime.quantization import QuantType, quantize_dynamic

from simvg_core.edge.graphs import CARD, FRAME, INT8, PRECISION, QUERY

GRAPHS = (FRAME, QUERY)
"""Those that run for every frame. The text pass runs once a query, the gate is one product of what the others gave."""


def to_int8(graphs: Path) -> None:
    """Rewrites the graphs in a folder that `onnx_export.export` wrote, and its card."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it advises a preparation that these graphs have had
    try:
        for name in GRAPHS:
            path, part = graphs / f"{name}.onnx", graphs / f"{name}.part"
            quantize_dynamic(
                path,
                part,
                op_types_to_quantize=["MatMul", "Gemm"],
                weight_type=QuantType.QInt8,
                extra_options={"MatMulConstBOnly": True},  # the others are attention: they have no weights
            )
            part.replace(path)
    finally:
        logging.disable(before)
    card = json.loads((graphs / CARD).read_text(encoding="utf-8"))
    (graphs / CARD).write_text(json.dumps(card | {PRECISION: INT8}, indent=1) + "\n", encoding="utf-8")
