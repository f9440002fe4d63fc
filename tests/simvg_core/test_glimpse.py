"""The second look around first boxes."""

import pytest
import torch

from simvg_core.configuration import SimVGConfig
from simvg_core.errors import ConfigurationError
from simvg_core.glimpse import LEAST_SPAN, MARGIN, Glimpse, in_one
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
    logits, second = glimpse(torch.randn(2, 4, 3, 32), boxes, torch.randn(2, 2, 24, 24))
    assert torch.equal(logits, torch.zeros(2, 4, 3, 2))
    torch.testing.assert_close(second, boxes)


def test_samples_come_from_around_the_box():
    """On a map whose channels are x and y, every sample reads its own place, row by row."""
    glimpse = Glimpse(_config())
    axis = (torch.arange(64) + 0.5) / 64
    fine = torch.stack([axis.expand(64, 64), axis[:, None].expand(64, 64)])[None]
    centre, size = torch.tensor([0.5, 0.4]), torch.tensor([0.3, 0.15])
    read = glimpse.samples(centre.expand(1, 1, 1, 2), (size * MARGIN).expand(1, 1, 1, 2), fine)
    x, y = read.reshape(2, 3, 3)
    steps = torch.tensor([-1.0, 0.0, 1.0]) * MARGIN / 3
    torch.testing.assert_close(x, (0.5 + steps * 0.3).expand(3, 3), atol=1e-4, rtol=0)
    torch.testing.assert_close(y, (0.4 + steps * 0.15)[:, None].expand(3, 3), atol=1e-4, rtol=0)


def test_a_first_box_without_size_is_still_looked_at():
    """A box of size zero gets the least span and can grow to a finite size."""
    glimpse = Glimpse(_config())
    torch.nn.init.constant_(glimpse.locate.bias, 1.0)
    fine = torch.randn(1, 2, 24, 24)
    _, second = glimpse(torch.zeros(1, 1, 1, 32), torch.tensor([[[[0.5, 0.5, 0.0, 0.0]]]]), fine)
    assert (second[..., 2:] > 0).all()
    assert ((second[..., :2] - 0.5).abs() <= LEAST_SPAN).all()


def test_two_layers_in_a_row_are_one_for_a_graph():
    """The product answers alike, and leaves the model's weights and their names as they were."""
    torch.manual_seed(0)
    model = SimVGForGrounding(_config()).eval()
    glimpse = model.token_branch.head.glimpse
    torch.nn.init.normal_(glimpse.locate.weight)
    given = torch.randn(2, 4, 3, 32), torch.rand(2, 4, 3, 4) * 0.5 + 0.2, torch.randn(2, 2, 24, 24)
    names, (_, plain) = set(model.state_dict()), glimpse(*given)
    with in_one(model):
        assert glimpse.both is not None
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
