"""What a text alone adds to its score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from simvg_core.configuration import SimVGConfig
from simvg_core.errors import InputError
from simvg_core.model import SimVGForGrounding
from simvg_core.training import calibrate as calibrating
from simvg_core.training.calibrate import Calibration
from simvg_core.training.cli import app
from simvg_core.training.settings import TrainSettings
from simvg_core.training.start import load_start
from simvg_core.training.text_bias import Pairs, fit
from simvg_core.training.train import Trainer
from tests.simvg_core.gated import give_gate
from tests.simvg_core.test_standing import MODELS

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard")


def test_a_text_that_the_model_is_too_sure_of_is_held_back() -> None:
    """By as much as its scores say too much; on average over the texts nothing is added."""
    draw = torch.Generator().manual_seed(1)
    features = torch.randn(40, 6, generator=draw)
    sure = features @ torch.tensor([1.0, -0.5, 0.0, 0.0, 0.0, 0.0])
    texts = torch.randint(40, (20_000,), generator=draw)
    evidence = 3 * torch.randn(20_000, generator=draw)
    there = torch.rand(20_000, generator=draw) < torch.sigmoid(evidence)
    weights, offset = fit(Pairs(evidence + sure[texts], there, texts), features)
    added = features @ weights + offset
    assert float(added.mean()) == pytest.approx(0, abs=1e-4)
    assert torch.corrcoef(torch.stack([added, -sure]))[0, 1] > 0.99
    assert 0.5 < float(added.std() / sure.std()) < 1.2
    with pytest.raises(InputError, match="all or none fit"):
        fit(Pairs(evidence, torch.zeros(20_000, dtype=torch.bool), texts), features)


def test_standing_queries_get_it_as_in_one_pass() -> None:
    """The same addition to all answers of a text; boxes stay."""
    plain = MODELS["line"]
    config = SimVGConfig(**{name: getattr(plain.config, name) for name in _fields()} | {"text_bias": True})
    model = SimVGForGrounding(config).eval()
    missing = model.load_state_dict(plain.state_dict(), strict=False).missing_keys
    assert sorted(missing) == ["token_branch.text_bias.bias", "token_branch.text_bias.weight"]
    ids = torch.tensor([[0, 5, 6, 2], [0, 7, 2, 1]])
    mask = (ids != 1).long()
    frames = torch.randn(
        2, 3, plain.config.image_size, plain.config.image_size, generator=torch.Generator().manual_seed(2)
    )
    with torch.no_grad():
        standing = model.ground_frames(frames, model.compile_queries(ids, mask))
        before = plain.ground_frames(frames, plain.compile_queries(ids, mask))
        order = torch.tensor([0, 0, 1, 1])
        whole = model(frames, ids.repeat(2, 1), mask.repeat(2, 1), image_index=order, branches=("token",))
    torch.testing.assert_close(whole.token_logits, standing.token_logits.flatten(0, 1), atol=1e-5, rtol=0)
    torch.testing.assert_close(before.token_boxes, standing.token_boxes, atol=1e-6, rtol=0)
    added = (standing.token_logits - before.token_logits).diff(dim=-1)[..., 0]
    torch.testing.assert_close(added, added[:1, :, :1].expand_as(added), atol=1e-5, rtol=0)
    assert not torch.allclose(added[0, 0, 0], added[0, 1, 0])


def _fields() -> list[str]:
    return [name for name, kind in SimVGConfig.__annotations__.items() if not kind.startswith("ClassVar")]


def test_the_command_levels_a_model_and_takes_its_gate(toy_settings: dict[str, Any], drawn_set: Path) -> None:
    """With its weights stored; a run that starts from it begins without."""
    model = Trainer(TrainSettings(**toy_settings)).run()
    give_gate(model, [0.5], [1.0])
    asked = ["calibrate", str(model), "--data", str(drawn_set), "--texts", str(drawn_set), "--pictures", "3"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    assert f"the gate is gone; teach another one with `simvg gate {model} --fit" in done.output
    levelled = SimVGForGrounding.from_pretrained(model)
    assert levelled.config.text_bias and levelled.config.gate_floors == []
    assert bool(levelled.token_branch.text_bias.weight.abs().sum() > 0)
    plain = SimVGForGrounding(SimVGConfig(**{n: getattr(levelled.config, n) for n in _fields()} | {"text_bias": False}))
    assert load_start(plain, model)["new"] == []


def test_a_calibration_that_fails_leaves_the_gate_and_says_nothing_else(
    toy_settings: dict[str, Any], drawn_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That the gate is off is told once it is: what is told before would send an operator to choose thresholds."""
    model = Trainer(TrainSettings(**toy_settings)).run()
    give_gate(model, [0.5], [1.0])
    asked = ["calibrate", str(model), "--data", str(drawn_set), "--limit", "2"]

    def one_sided(*given: object) -> Calibration:
        raise InputError("got 3 with and 0 without")

    with monkeypatch.context() as patched:
        patched.setattr(calibrating, "calibrate", one_sided)
        failed = CliRunner().invoke(app, asked)
    assert isinstance(failed.exception, InputError) and "gate" not in failed.output
    assert SimVGConfig.from_pretrained(model).gate_floors == [0.5]
    monkeypatch.setattr(calibrating, "calibrate", lambda *given: Calibration(1.0, 0.0, 0.5, 0.1, 0.1))
    done = CliRunner().invoke(app, asked)
    assert f"the gate is off; choose its thresholds anew with `simvg gate {model} --data" in done.output
    assert SimVGConfig.from_pretrained(model).gate_floors == []
