"""The second look around first boxes."""

import pytest
import torch

from simvg_core.configuration import SimVGConfig
from simvg_core.errors import ConfigurationError
from simvg_core.folding import folding
from simvg_core.glimpse import HOPE, LEAST_HOPE, LEAST_SPAN, MARGIN, Glimpse, hope
from simvg_core.model import SimVGForGrounding

SETTINGS = {
    "attention": "standing",
    "num_queries": 3,
    "num_decoder_layers": 0,
    "box_head": "pointer",
    "patch_embedding": "convolutional",
    "patch_size": 16,
    "stem_widths": (8, 8, 8, 8),
    "glimpse_side": 3,
    "glimpse_channels": 2,
    "loss_weights": {"token": 1.0, "first": 1.0},
}


def _config(**changes):
    return SimVGConfig.tiny(**{**SETTINGS, **changes})


def test_an_untrained_glimpse_changes_nothing():
    """Start values leave logits and boxes as the pointer gave them."""
    torch.manual_seed(0)
    model = SimVGForGrounding(_config()).eval()
    glimpse = model.token_branch.head.glimpse
    boxes = torch.rand(2, 4, 3, 4) * 0.5 + 0.2
    first = torch.randn(2, 4, 3, 2)
    logits, second = glimpse(torch.randn(2, 4, 3, 32), first, boxes, torch.randn(2, 2, 24, 24))
    assert torch.equal(logits, first)
    torch.testing.assert_close(second, boxes)


def _sure_of(*chances):
    """Logits (1, 1, Q, 2) that say "object" with these probabilities."""
    half = torch.tensor(chances).logit() / 2
    return torch.stack([half, -half], dim=-1)[None, None]


def _disturbed():
    """A glimpse that changes every logit and box."""
    torch.manual_seed(0)
    glimpse = Glimpse(_config()).eval()
    for name in ("classify", "locate"):
        torch.nn.init.normal_(getattr(glimpse, name).weight)
    return glimpse


def test_an_answer_without_hope_is_left_as_it_is():
    """Beside a better one, a second look counts nothing below the lower bound, all above the upper one, and in part
    between."""
    glimpse, middle = _disturbed(), (LEAST_HOPE * HOPE) ** 0.5
    logits = _sure_of(0.9, LEAST_HOPE / 2, middle, HOPE * 2, LEAST_HOPE * 0.999)
    hidden, boxes = torch.randn(1, 1, 1, 32).expand(-1, -1, 5, -1), torch.full((1, 1, 5, 4), 0.4)
    second, places = glimpse(hidden, logits, boxes, torch.randn(1, 2, 24, 24))
    change, moved = (second - logits)[0, 0], (places - boxes)[0, 0]
    assert not change[[1, 4]].any()
    assert not moved[[1, 4]].any()
    assert change[0].abs().min() > 1e-3
    torch.testing.assert_close(change[3], change[0])
    torch.testing.assert_close(moved[3], moved[0])
    share = (change[2] / change[0]).mean().item()
    assert 0.4 < share < 0.6
    torch.testing.assert_close(moved[2], share * moved[0])


def test_the_best_answer_of_a_text_is_always_looked_at():
    """However little hope there is: it is the box that a text's score stands for."""
    share = hope(torch.cat([_sure_of(0.001, 0.0011, 0.0005), _sure_of(0.9, 0.001, 0.8)], dim=1))
    assert share.tolist() == [[[0, 1, 0], [1, 0, 1]]]


@pytest.mark.parametrize("hopeful", [(0, 0), (1, 7), (12, 3)])
def test_those_computed_are_what_all_would_be(hopeful):
    """On a CPU only some answers are computed, as many in each image: few or all of them."""
    glimpse = _disturbed()
    chances = torch.full((2, 12), LEAST_HOPE / 3)
    for image, count in enumerate(hopeful):
        chances[image, torch.randperm(12)[:count]] = 0.5
    half = (chances.logit().view(2, 4, 3) - torch.arange(3) * 0.01) / 2  # the first of equals is the best
    logits, hidden = torch.stack([half, -half], dim=-1), torch.randn(2, 4, 3, 32)
    boxes, fine = torch.rand(2, 4, 3, 4) * 0.5 + 0.2, torch.randn(2, 2, 24, 24)
    second, places = glimpse(hidden, logits, boxes, fine)
    every, everywhere = glimpse.train()(hidden, logits, boxes, fine)
    left = (hope(logits) == 0).unsqueeze(-1)
    hopeless = (chances < LEAST_HOPE).view(2, 4, 3)
    assert left.sum() == hopeless.sum() - hopeless.all(dim=-1).sum(), "of each such text the best is looked at"
    torch.testing.assert_close(second, torch.where(left, logits, every))
    torch.testing.assert_close(places, torch.where(left, boxes, everywhere))
    assert (every != logits).any(dim=-1).all(), "in training all answers learn"


def test_samples_come_from_around_the_box():
    """On a map whose channels are x and y, every sample reads its own place, row by row."""
    glimpse = Glimpse(_config())
    axis = (torch.arange(64) + 0.5) / 64
    fine = torch.stack([axis.expand(64, 64), axis[:, None].expand(64, 64)])[None]
    centre, size = torch.tensor([0.5, 0.4]), torch.tensor([0.3, 0.15])
    read = glimpse.samples(centre.expand(1, 1, 2), (size * MARGIN).expand(1, 1, 2), fine)
    x, y = read.reshape(2, 3, 3)
    steps = torch.tensor([-1.0, 0.0, 1.0]) * MARGIN / 3
    torch.testing.assert_close(x, (0.5 + steps * 0.3).expand(3, 3), atol=1e-4, rtol=0)
    torch.testing.assert_close(y, (0.4 + steps * 0.15)[:, None].expand(3, 3), atol=1e-4, rtol=0)


def test_a_first_box_without_size_is_still_looked_at():
    """A box of size zero gets the least span and can grow to a finite size."""
    glimpse = Glimpse(_config())
    torch.nn.init.constant_(glimpse.locate.bias, 1.0)
    fine = torch.randn(1, 2, 24, 24)
    _, second = glimpse(torch.zeros(1, 1, 1, 32), _sure_of(0.5), torch.tensor([[[[0.5, 0.5, 0.0, 0.0]]]]), fine)
    assert (second[..., 2:] > 0).all()
    assert ((second[..., :2] - 0.5).abs() <= LEAST_SPAN).all()


def test_two_layers_in_a_row_are_one_for_a_graph():
    """The product answers alike, and leaves the model's weights and their names as they were."""
    torch.manual_seed(0)
    model = SimVGForGrounding(_config()).eval()
    glimpse = model.token_branch.head.glimpse
    torch.nn.init.normal_(glimpse.locate.weight)
    boxes = torch.rand(2, 4, 3, 4) * 0.5 + 0.2
    given = torch.randn(2, 4, 3, 32), torch.randn(2, 4, 3, 2), boxes, torch.randn(2, 2, 24, 24)
    names, (_, plain) = set(model.state_dict()), glimpse(*given)
    with folding(model):
        assert glimpse.folded is not None
        _, together = glimpse(*given)
    torch.testing.assert_close(together, plain, atol=1e-6, rtol=0)
    assert set(model.state_dict()) == names
    assert torch.equal(glimpse(*given)[1], plain)


def test_no_queries_and_many_frames_are_answered() -> None:
    """A frame pass without standing queries gives empty answers."""
    model = SimVGForGrounding(_config()).eval()
    none = model.compile_queries(torch.zeros(0, 5, dtype=torch.long))
    out = model.ground_frames(torch.randn(2, 3, 96, 96), none)
    assert out.token_boxes.shape == (2, 0, 3, 4)


def test_every_weight_of_the_glimpse_learns():
    """The losses reach the fine map and all layers of the glimpse."""
    torch.manual_seed(0)
    model = SimVGForGrounding(_config())
    for name, parameter in model.named_parameters():
        if "glimpse" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    labels = [{"boxes": torch.tensor([[0.5, 0.5, 0.2, 0.2]])}, {"boxes": torch.zeros(0, 4)}]
    out = model(torch.randn(2, 3, 96, 96), torch.randint(4, 200, (2, 5)), labels=labels)
    assert {"token", "first"} <= set(out.loss_terms)
    out.loss.backward()
    silent = [
        n for n, p in model.named_parameters() if ("glimpse" in n or ".fine." in n) and not p.grad.abs().sum() > 0
    ]
    assert not silent


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"box_head": "mlp"}, id="no pointer"),
        pytest.param({"patch_embedding": "linear"}, id="no stem"),
        pytest.param({"loss_weights": {"token": 1.0}}, id="first answers untaught"),
        pytest.param({"stem_widths": (8, 8), "patch_size": 4}, id="stem too short"),
    ],
)
def test_a_glimpse_that_cannot_work_is_refused(changes):
    """What the glimpse needs is named."""
    with pytest.raises(ConfigurationError, match="glimpse_side"):
        _config(**changes)
