"""Layers laid out for a graph give what they gave."""

import pytest
import torch

from simvg_core import asking
from simvg_core.configuration import SimVGConfig
from simvg_core.folding import folding, in_rows, products
from simvg_core.model import SimVGForGrounding
from tests.simvg_core.test_glimpse import SETTINGS


@pytest.fixture
def model() -> SimVGForGrounding:
    """A small standing model with every part that can be folded, its weights disturbed."""
    torch.manual_seed(0)
    settings = {**SETTINGS, "num_token_mlp_layers": 1}
    return _disturbed(SimVGForGrounding(SimVGConfig.tiny(**settings)))


def _disturbed(model: SimVGForGrounding) -> SimVGForGrounding:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model.eval()


def test_products_are_the_layers_they_stand_for():
    """Two layers in a row, and one whose result is cut in two."""
    torch.manual_seed(0)
    first, second, x = torch.nn.Linear(5, 7), torch.nn.Linear(7, 4), torch.randn(2, 3, 5)
    one, two = products(lambda x: (second(first(x)), first(x)[..., :2]), 5)
    torch.testing.assert_close(one(x), second(first(x)), atol=1e-6, rtol=0)
    torch.testing.assert_close(two(x), first(x)[..., :2], atol=1e-6, rtol=0)


def test_a_folded_model_answers_alike_and_is_itself_again(model):
    """Frame, text and query pass; afterwards weights, their names and answers are what they were."""
    pixels, ids = torch.randn(2, 3, 96, 96), torch.randint(4, 200, (4, 5))

    def answer() -> asking.Asked:
        with torch.no_grad():
            return asking.ask(model, model.compile_queries(ids).texts, asking.see(model, pixels))

    names, plain = list(model.state_dict()), answer()
    with folding(model):
        folded = [name for name, module in model.named_modules() if getattr(module, "folded", None) is not None]
        inside = answer()
    layers = {str(number) for number in range(model.config.num_hidden_layers)}  # of the encoder
    assert {name.rpartition(".")[2] for name in folded} == {*layers, "token_branch", "head", "glimpse"}
    torch.testing.assert_close(inside.logits, plain.logits, atol=1e-5, rtol=0)
    torch.testing.assert_close(inside.boxes, plain.boxes, atol=1e-5, rtol=0)
    assert not torch.equal(inside.logits, plain.logits), "the folded layers were not used"
    assert list(model.state_dict()) == names
    assert torch.equal(answer().logits, plain.logits)


def test_a_folded_layer_takes_several_kinds_of_token():
    """As joint attention has them: each span goes through its own expert."""
    torch.manual_seed(0)
    model = _disturbed(SimVGForGrounding(SimVGConfig.tiny()))
    pixels, ids = torch.randn(2, 3, *[model.config.image_size] * 2), torch.randint(4, 200, (2, 5))
    with torch.no_grad():
        plain = model(pixels, ids).token_logits
        with folding(model):
            inside = model(pixels, ids).token_logits
    torch.testing.assert_close(inside, plain, atol=1e-5, rtol=0)
    assert not torch.equal(inside, plain), "the folded layers were not used"


def test_linear_layers_take_sequences_as_rows(model):
    """The frame pass is the same; layers forget it afterwards."""
    pixels = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        plain = asking.see(model, pixels).image
        with in_rows(model):
            rows = asking.see(model, pixels).image
    torch.testing.assert_close(rows, plain, atol=1e-6, rtol=0)
    assert not any("forward" in vars(module) for module in model.modules())
