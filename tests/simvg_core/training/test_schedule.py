"""Learning rates and parameter groups."""

from __future__ import annotations

from typing import Any

import pytest

from simvg_core.configuration import SimVGConfig
from simvg_core.model import SimVGForGrounding
from simvg_core.training.schedule import build_optimizer, learning_rate, parameter_groups
from simvg_core.training.settings import SetSettings, TrainSettings


def settings(**fields: Any) -> TrainSettings:
    """The paper's one-stage schedule on some set."""
    paper: dict[str, Any] = {
        "sets": (SetSettings(path="x"),), "learning_rate": 5e-4, "schedule": "steps", "max_epochs": 30,
        "warmup_epochs": 3, "decay_epochs": (25,),
    }  # fmt: skip
    return TrainSettings(**{**paper, **fields})


@pytest.mark.parametrize(
    ("epoch", "rate"), [(0, 1.25e-4), (1, 2.5e-4), (2, 3.75e-4), (3, 5e-4), (23, 5e-4), (24, 5e-5), (29, 5e-5)]
)
def test_the_rate_follows_the_published_epochs(epoch: int, rate: float) -> None:
    """A rise of a quarter each over three epochs, a tenth from the 25th on; constant within an epoch."""
    assert learning_rate(settings(), epoch * 10, 0.0, 10) == pytest.approx(rate)
    assert learning_rate(settings(), epoch * 10 + 9, 0.0, 10) == pytest.approx(rate)


def test_two_decays_multiply() -> None:
    """Large models decay twice."""
    assert learning_rate(settings(decay_epochs=(21, 27)), 27 * 10, 0.0, 10) == pytest.approx(5e-6)


def test_a_cosine_ends_at_a_hundredth() -> None:
    """And takes its warm-up in epochs, too."""
    cosine = settings(schedule="cosine")
    assert learning_rate(cosine, 0, 0.0, 10) == pytest.approx(5e-4 / 30)
    assert learning_rate(cosine, 150, 0.5, 10) == pytest.approx(5e-4 * 0.505)
    assert learning_rate(cosine, 300, 1.0, 10) == pytest.approx(5e-6)


def test_the_encoder_learns_at_a_tenth_of_the_rate() -> None:
    """Every parameter is in one group; frozen ones in none."""
    model = SimVGForGrounding(SimVGConfig.tiny())
    groups = parameter_groups(model, 0.05, 0.1)
    tenth = {id(one) for group in groups if group["factor"] == 0.1 for one in group["params"]}
    assert tenth == {id(one) for one in model.encoder.parameters()}
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    model.decoder_branch.requires_grad_(False)  # type: ignore[union-attr]
    count = sum(one.requires_grad for one in model.parameters())
    assert sum(len(group["params"]) for group in parameter_groups(model, 0.05, 0.1)) == count


def test_without_a_rate_of_its_own_the_encoder_is_in_the_common_groups() -> None:
    """Matrices decay, the rest does not."""
    model = SimVGForGrounding(SimVGConfig.tiny())
    decayed, free = parameter_groups(model, 0.05)
    assert decayed["weight_decay"] == 0.05 and all(one.ndim >= 2 for one in decayed["params"])
    assert free["weight_decay"] == 0.0


def test_the_papers_optimizer_keeps_the_largest_second_moment() -> None:
    """Adam with AMSGrad and a small epsilon."""
    model = SimVGForGrounding(SimVGConfig.tiny())
    optimizer = build_optimizer(model, settings(optimizer="adam_amsgrad", epsilon=1e-9, weight_decay=0.0))
    assert optimizer.defaults["amsgrad"] and optimizer.defaults["eps"] == 1e-9
    assert optimizer.defaults["betas"] == (0.9, 0.98)
