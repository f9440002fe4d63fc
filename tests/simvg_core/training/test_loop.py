"""What a run keeps and tells beside its losses: the averaged model, curves, number formats, the paper's two stages."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from simvg_core.grounder import Grounder
from simvg_core.training.runlog import RunLog
from simvg_core.training.settings import SetSettings, TrainSettings
from simvg_core.training.train import Trainer
from tests.simvg_core.training.runs import terms_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard")


def weights_of(model: torch.nn.Module) -> dict[str, Tensor]:
    """Its parameters, as they are now."""
    return {name: value.detach().clone() for name, value in model.named_parameters()}


@pytest.fixture
def worded(toy_settings: dict[str, Any], worded_set: Path, tmp_path: Path) -> TrainSettings:
    """Three steps of a paper-like toy on a set of expressions."""
    return TrainSettings(
        **toy_settings
        | {
            "data": (),
            "sets": (SetSettings(path=str(worded_set)),),
            "architecture": "tiny",
            "model": {"tokenizer": "fast", "num_queries": 2},
            "batch_size": 8,
            "max_steps": 3,
        }
    )


def test_curves_are_written_for_tensorboard(toy_settings: dict[str, Any]) -> None:
    """An event file with the loss, its terms and the rate of every step, as the run told them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = TrainSettings(**toy_settings | {"max_steps": 3})
    told = terms_of(settings)
    events = EventAccumulator(str(Path(settings.output) / "tensorboard"))
    events.Reload()
    names = events.Tags()["scalars"]
    assert {f"train/{name}" for name in (*told[1], "rate", "norm", "share")} <= set(names)
    for term in told[1]:
        drawn = {event.step: event.value for event in events.Scalars(f"train/{term}")}
        assert drawn == pytest.approx({step: terms[term] for step, terms in told.items()})
    assert [event.value for event in events.Scalars("train/share")] == pytest.approx([1 / 3, 2 / 3, 1.0])


def test_what_json_cannot_say_is_null_in_the_log(tmp_path: Path) -> None:
    """As the norm of a scaled step that overflowed; every line stays one that jq reads."""
    with RunLog(tmp_path, {}) as log:
        log.scalars("train", 1, norm=math.inf, loss=math.nan, rate=0.5)
    line = (tmp_path / "log.jsonl").read_text().splitlines()[-1]
    told = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert (told["norm"], told["loss"], told["rate"]) == (None, None, 0.5)


def test_bfloat16_trains_on_the_cpu(toy_settings: dict[str, Any]) -> None:
    """Losses stay finite, weights stay in float32 and move."""
    trainer = Trainer(TrainSettings(**toy_settings | {"precision": "bf16", "max_steps": 2}))
    losses: list[float] = []
    trainer.on_step = lambda step, terms: losses.append(terms["loss"])
    before = weights_of(trainer.model)
    trainer.run()
    assert len(losses) == 2 and torch.isfinite(torch.tensor(losses)).all()
    after = weights_of(trainer.model)
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in after.values())
    assert any(not torch.equal(value, before[name]) for name, value in after.items())


def test_the_averaged_model_follows_by_its_formula(toy_settings: dict[str, Any]) -> None:
    """After step n it moves to d · average + (1 − d) · weights, d the smaller of `ema` and n / (n + 9); that is what is
    written."""
    trainer = Trainer(TrainSettings(**toy_settings | {"ema": 0.3}))
    steps: list[dict[str, Tensor]] = []
    expected = weights_of(trainer.model)
    trainer.on_step = lambda step, terms: steps.append(weights_of(trainer.model))
    folder = trainer.run()
    for number, weights in enumerate(steps, start=1):
        decay = min(0.3, number / (number + 9))
        expected = {name: decay * value + (1 - decay) * weights[name] for name, value in expected.items()}
    written = load_file(folder / "model.safetensors")
    assert len(steps) == 6
    for name, value in expected.items():
        torch.testing.assert_close(written[name], value, atol=1e-6, rtol=1e-5)
    assert any(not torch.equal(written[name], value) for name, value in steps[-1].items())


def test_two_stages_follow_each_other(worded: TrainSettings, tmp_path: Path) -> None:
    """The first teaches the decoder branch alone; the second starts from its averaged weights and teaches the token
    branch by the truth and by the decoder."""
    one = replace(worded, output=str(tmp_path / "one"), model=worded.model | {"loss_weights": {"decoder": 1.0}})
    first = Trainer(one)
    before = weights_of(first.model)
    told: list[dict[str, float]] = []
    first.on_step = lambda step, terms: told.append(terms)
    folder = first.run()
    assert all(terms.keys() == {"loss", "decoder"} for terms in told)
    learned = weights_of(first.model)
    moved = {name for name, value in learned.items() if not torch.equal(value, before[name])}
    assert any(name.startswith("decoder_branch.") for name in moved)
    assert not any(name.startswith("token_branch.") for name in moved)
    assert Grounder.from_pretrained(folder).config.answer_branch == "decoder"

    losses = {"decoder": 1.0, "token": 2.0, "distill": 1.0}
    two = replace(worded, output=str(tmp_path / "two"), model=worded.model | {"loss_weights": losses}, ema=0.0)
    second = Trainer(replace(two, start_from=str(folder), learning_rate=6e-4))
    assert second.weights["kind"] == "model folder" and not second.weights["new"]
    start = weights_of(second.model)
    averaged = load_file(folder / "model.safetensors")
    assert all(torch.equal(value, averaged[name]) for name, value in start.items())
    told.clear()
    second.on_step = lambda step, terms: told.append(terms)
    folder = second.run()
    assert all(terms.keys() == {"loss", *losses, "balance_weight"} for terms in told) and len(told) == 3
    assert all(torch.isfinite(torch.tensor(list(terms.values()))).all() for terms in told)
    assert all(0 <= terms["balance_weight"] <= 1 for terms in told)
    moved = {name for name, value in weights_of(second.model).items() if not torch.equal(value, start[name])}
    assert any(name.startswith("decoder_branch.") for name in moved)
    assert any(name.startswith("token_branch.") for name in moved)
    assert Grounder.from_pretrained(folder).config.answer_branch == "token"
