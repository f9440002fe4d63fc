"""Losses and training aids of the small models."""

import pytest
import torch

from simvg_core.auxiliary import DenseAnswers, dense_loss, existence_loss, heat_map_loss, pointer_loss
from simvg_core.configuration import SimVGConfig
from simvg_core.losses import branch_losses
from simvg_core.matching import Matches, Targets, match
from simvg_core.model import SimVGForGrounding

GRID = 4
CPU = torch.device("cpu")


def targets(*boxes):
    """One sample per argument."""
    return Targets.of([torch.tensor(sample).reshape(-1, 4) for sample in boxes], CPU)


def test_no_targets_match_nothing():
    """An empty batch of targets is the first case, not an error."""
    assert all(len(part) == 0 for part in match(torch.zeros(2, 3, 2), torch.rand(2, 3, 4), targets([], [])))


def test_each_target_gets_its_nearest_answer():
    """With several targets the assignment is one to one, in any order."""
    boxes = torch.tensor([[[0.8, 0.8, 0.1, 0.1], [0.2, 0.2, 0.1, 0.1], [0.5, 0.5, 0.1, 0.1]]])
    wanted = targets([[0.21, 0.2, 0.1, 0.1], [0.79, 0.8, 0.1, 0.1]])
    found = match(torch.zeros(1, 3, 2), boxes, wanted)
    assert list(zip(found.answer.tolist(), found.target.tolist(), strict=True)) == [(0, 1), (1, 0)]


def test_answers_that_are_no_numbers_are_matched_all_the_same():
    """Their loss is no number either, which a training tells of; one target or several."""
    boxes = torch.full((2, 3, 4), torch.nan)
    wanted = targets([[0.2, 0.2, 0.1, 0.1], [0.8, 0.8, 0.1, 0.1]], [[0.5, 0.5, 0.1, 0.1]])
    assert match(torch.zeros(2, 3, 2), boxes, wanted).sample.tolist() == [0, 0, 1]
    found = branch_losses({"token": 1.0}, wanted, (torch.zeros(2, 3, 2), boxes), None)
    assert found.token.isnan()


def test_token_branch_alone_has_its_full_loss():
    """Without a decoder nothing is taken off the token loss."""
    logits, boxes = torch.zeros(1, 2, 2), torch.full((1, 2, 4), 0.5)
    alone = branch_losses({"token": 2.0}, targets([[0.5, 0.5, 0.5, 0.5]]), (logits, boxes), None)
    assert (alone.decoder, alone.distill, alone.balance_weight) == (None, None, None)
    assert alone.token.item() == pytest.approx(2 * torch.log(torch.tensor(2.0)).item(), rel=1e-4)


def test_a_perfect_teacher_moves_all_weight_to_distillation():
    """When the decoder is certain and exact, W is 1 and the truth no longer counts for the student."""
    sure = torch.tensor([[[50.0, -50.0]]])
    box = torch.tensor([[[0.5, 0.5, 0.2, 0.2]]])
    weights = {"decoder": 1.0, "token": 2.0, "distill": 1.0}
    result = branch_losses(weights, targets([[0.5, 0.5, 0.2, 0.2]]), (torch.zeros(1, 1, 2), box), [(sure, box)])
    assert result.balance_weight.item() == pytest.approx(1, abs=1e-3)
    assert result.token.item() == pytest.approx(0, abs=1e-3)
    assert result.distill.item() > 0.5


def test_pointer_loss_prefers_the_cells_around_the_centre():
    """Looking at the target's cell costs less than looking elsewhere, and edges stay finite."""
    one = Matches(*(torch.zeros(1, dtype=torch.long) for _ in range(3)))
    at = torch.zeros(1, 1, GRID * GRID)
    at[0, 0, 5] = 8.0  # row 1, column 1
    good = pointer_loss(at, targets([[0.375, 0.375, 0.1, 0.1]]), one, GRID)
    bad = pointer_loss(at, targets([[0.9, 0.9, 0.1, 0.1]]), one, GRID)
    assert good < 0.1 < bad
    none = Matches(*(torch.zeros(0, dtype=torch.long) for _ in range(3)))
    assert pointer_loss(at, targets([]), none, GRID).item() == 0


def test_heat_map_loss_wants_heat_on_targets_only():
    """The right map costs less than an empty or an inverted one; no target at all is fine."""
    right = torch.full((1, GRID * GRID), -6.0)
    right[0, 5] = 6.0
    wanted = targets([[0.375, 0.375, 0.2, 0.2]])
    costs = [heat_map_loss(x, wanted, GRID).item() for x in (right, torch.full_like(right, -6.0), -right)]
    assert costs == sorted(costs)
    assert heat_map_loss(right, targets([]), GRID).isfinite()


def test_existence_loss_tells_some_from_none():
    """Right answers cost less than wrong ones."""
    wanted = targets([[0.5, 0.5, 0.1, 0.1]], [])
    right = torch.tensor([5.0, -5.0])
    assert existence_loss(right, wanted) < 0.1 < existence_loss(-right, wanted)


def test_dense_cells_belong_to_the_smaller_instance():
    """Where a bolt lies on a plate, its cell is the bolt's; the rest is the plate's."""
    label = {
        "boxes": torch.tensor([[0.5, 0.5, 1.0, 1.0], [0.375, 0.375, 0.2, 0.2]]),
        "kinds": torch.tensor([0, 1]),
        "colors": torch.tensor([-1, 2]),
        "weights": torch.ones(2),
    }
    kinds = torch.full((1, 16, 3), -9.0)
    kinds[..., 0] = 9.0
    kinds[0, 5] = torch.tensor([-9.0, 9.0, -9.0])
    colors = torch.full((1, 16, 3), -9.0)
    colors[..., 2] = 9.0
    boxes = label["boxes"][0].expand(1, 16, 4).clone()
    boxes[0, 5] = label["boxes"][1]
    assert dense_loss(DenseAnswers(kinds, colors, boxes), [label], GRID).item() == pytest.approx(0, abs=1e-3)
    assert dense_loss(DenseAnswers(-kinds, colors, boxes), [label], GRID).item() > 5


def test_dense_loss_of_empty_images():
    """Images without any instance are all background."""
    label = {"boxes": torch.zeros(0, 4), **{name: torch.zeros(0) for name in ("kinds", "colors", "weights")}}
    answers = DenseAnswers(torch.zeros(2, 16, 3), torch.zeros(2, 16, 2), torch.rand(2, 16, 4))
    assert dense_loss(answers, [label, label], GRID).isfinite()


def test_every_weight_of_a_small_model_is_trained():
    """One step with all losses reaches every parameter, with finite gradients."""
    torch.manual_seed(0)
    weights = {"decoder": 1, "token": 2, "distill": 1, "pointer": 1, "heat_map": 1, "dense": 1, "turn": 1}
    weights["existence"] = 0.5
    config = SimVGConfig.line_small(image_size=64, vocab_size=50, num_decoder_layers=1, loss_weights=weights)
    model = SimVGForGrounding(config)
    ids = torch.randint(4, 50, (3, 5))
    labels = [{"boxes": torch.tensor([[0.5, 0.5, 0.2, 0.2]] * n).reshape(-1, 4)} for n in (1, 0, 2)]
    dense = [
        {
            "boxes": torch.tensor([[0.5, 0.5, 0.2, 0.2]]).expand(n, 4),
            "kinds": torch.ones(n).long(),
            "colors": torch.ones(n).long(),
            "weights": torch.ones(n),
            "turns": torch.ones(n, 4),
        }
        for n in (1, 0)
    ]
    index = torch.tensor([0, 0, 1])
    out = model(torch.randn(2, 3, 64, 64), ids, None, labels=labels, image_index=index, dense_labels=dense)
    out.loss.backward()
    assert set(out.loss_terms) == {*weights, "balance_weight"}
    assert out.loss.item() == pytest.approx(sum(v.item() for k, v in out.loss_terms.items() if k in weights), rel=1e-5)
    untrained = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert untrained == []
