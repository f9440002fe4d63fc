"""How a model runs: packed weights and number formats change the speed, never the answer beyond rounding."""

import copy

import pytest
import torch
from torch import nn

from simvg_core.branches import PointerHead
from simvg_core.configuration import SimVGConfig
from simvg_core.errors import ConfigurationError
from simvg_core.execution import Execution, pack
from simvg_core.join import Join
from simvg_core.memory import few_heaps, keep_memory
from simvg_core.patches import Stage


def _layers():
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(24, 40), nn.GELU(), nn.Linear(40, 8, bias=False)).eval()


def test_packed_layers_give_the_same_numbers_and_keep_names_and_weights():
    """Only the way to the result changes."""
    plain, packed = _layers(), _layers()
    assert pack(packed, torch.float32) == 2
    x = torch.randn(5, 24)
    with torch.inference_mode():
        torch.testing.assert_close(packed(x), plain(x), atol=1e-5, rtol=1e-5)
        assert packed(x[:0]).shape == (0, 8)
    assert list(packed.state_dict()) == list(plain.state_dict())


def test_packed_layers_follow_their_weights():
    """Weights that are loaded or trained after packing are the ones that count."""
    packed = _layers()
    pack(packed, torch.float32)
    x = torch.randn(5, 24)
    with torch.inference_mode():
        before = packed(x)
    with torch.no_grad():
        packed[0].weight.mul_(2)
    changed = _layers()
    with torch.no_grad():
        changed[0].weight.mul_(2)
    with torch.inference_mode():
        torch.testing.assert_close(packed(x), changed(x), atol=1e-5, rtol=1e-5)
        assert not torch.allclose(packed(x), before)


def _stem():
    """A stem whose norms have seen something."""
    torch.manual_seed(3)
    stem = nn.Sequential(Stage(3, 8, residual=False), Stage(8, 16, residual=True)).train()
    with torch.no_grad():
        for _ in range(3):
            stem(torch.randn(4, 3, 32, 32) * 2 + 1)
    return stem.eval()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_convolutions_take_their_norms_in(layout):
    """Batch norm, shortcut and ReLU are part of the convolution, and the numbers are the same; so are names and
    weights."""
    plain, packed = _stem(), _stem()
    assert pack(packed, torch.float32) == 4
    x = torch.randn(2, 3, 32, 32).contiguous(memory_format=layout)
    with torch.inference_mode():
        torch.testing.assert_close(packed(x), plain(x), atol=1e-5, rtol=1e-5)
        assert packed(x[:0]).shape == (0, 16, 8, 8)
    assert list(packed.state_dict()) == list(plain.state_dict())


@pytest.mark.parametrize("changed", ["0.0.weight", "1.3.second_norm.running_var", "1.1.bias"])
def test_convolutions_follow_weights_and_statistics(changed):
    """What is loaded or trained after packing counts, of the norms too."""
    plain, packed = _stem(), _stem()
    pack(packed, torch.float32)
    x = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        before = packed(x)
    with torch.no_grad():
        for stem in (plain, packed):
            stem.state_dict()[changed].add_(0.5)
    with torch.inference_mode():
        torch.testing.assert_close(packed(x), plain(x), atol=1e-5, rtol=1e-5)
        assert not torch.allclose(packed(x), before, atol=1e-3)


def test_packed_convolutions_can_be_trained():
    """In training the norms take the batch's own statistics, and gradients flow."""
    plain, packed = _stem().train(), _stem().train()
    pack(packed, torch.float32)
    x = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(packed(x), plain(x))
    packed(x).sum().backward()
    assert packed[0][0].weight.grad is not None
    with torch.inference_mode():
        torch.testing.assert_close(packed(x), plain(x))


def test_gradients_flow_through_packed_layers():
    """A packed model can still be trained or explained."""
    packed = _layers()
    pack(packed, torch.float32)
    packed(torch.randn(5, 24)).sum().backward()
    assert packed[0].weight.grad is not None


def test_bfloat16_products_run_only_where_they_were_asked_for():
    """A model packed for bfloat16 still gives float32 results outside its context."""
    execution = Execution(dtype="bfloat16", packed=True)
    model = execution.prepare(_layers(), torch.device("cpu"))
    x, exact = torch.randn(5, 24), _layers()
    with torch.inference_mode():
        torch.testing.assert_close(model(x), exact(x), atol=1e-5, rtol=1e-5)
        with execution.precision(torch.device("cpu")):
            half = model(x)
        assert half.dtype == torch.bfloat16
        torch.testing.assert_close(half.float(), exact(x), atol=0.03, rtol=0.05)
    stem, pixels = execution.prepare(_stem(), torch.device("cpu")), torch.randn(2, 3, 32, 32)
    with torch.inference_mode(), execution.precision(torch.device("cpu")):
        assert stem(pixels).dtype == torch.bfloat16
        torch.testing.assert_close(stem(pixels).float(), _stem()(pixels).float(), atol=0.1, rtol=0.1)


def test_cast_weights_need_no_context():
    """The model itself is in bfloat16, batch norms apart; packed layers take what they are given."""
    execution = Execution(dtype="bfloat16", cast_weights=True, packed=True)
    model, stem = (execution.prepare(make(), torch.device("cpu")) for make in (_layers, _stem))
    norms = {name for name, module in stem.named_modules() if isinstance(module, nn.BatchNorm2d)}
    kinds = {name: own.dtype for name, own in stem.named_parameters()}
    assert {kind for name, kind in kinds.items() if name.rpartition(".")[0] in norms} == {torch.float32}
    assert {kind for name, kind in kinds.items() if name.rpartition(".")[0] not in norms} == {torch.bfloat16}
    x, pixels = torch.randn(5, 24), torch.randn(2, 3, 32, 32)
    with torch.inference_mode(), execution.precision(torch.device("cpu")):
        assert not torch.is_autocast_enabled("cpu")
        for half, exact, given in ((model, _layers(), x), (stem, _stem(), pixels)):
            found = half(given.bfloat16())
            assert found.dtype == torch.bfloat16
            torch.testing.assert_close(found.float(), exact(given).float(), atol=0.1, rtol=0.1)


def test_bfloat16_on_a_processor_without_it_works_and_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """Slowly, with the layers as they are; the log says what is faster."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False})
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    execution = Execution(dtype="bfloat16")
    assert pack(_layers(), torch.bfloat16) == 0
    model = execution.prepare(_layers(), torch.device("cpu"))
    assert "float32 is several times faster here" in caplog.text
    x = torch.randn(5, 24)
    exact = _layers()(x).detach()
    with torch.inference_mode(), execution.precision(torch.device("cpu")):
        torch.testing.assert_close(model(x).float(), exact, atol=0.03, rtol=0.05)


def test_kept_memory_is_said_where_the_allocator_can():
    """The answer is known and stays the same in a process."""
    assert keep_memory() is keep_memory()
    assert few_heaps() is few_heaps()


def test_unknown_number_formats_are_refused():
    """The message names what is offered."""
    with pytest.raises(ConfigurationError, match="dtype 'float16' is not offered"):
        Execution(dtype="float16")


def test_halves_of_a_joined_layer_are_packed_each_by_itself():
    """What a text says and what a frame shows go through one layer's halves at different times."""
    torch.manual_seed(5)
    plain, packed = Join(16), Join(16)
    packed.load_state_dict(plain.state_dict())
    assert pack(packed, torch.float32) == 1
    x, y = torch.randn(3, 7, 16), torch.randn(3, 7, 16)
    with torch.inference_mode():
        whole = nn.functional.linear(torch.cat([x, y], dim=-1), plain.weight, plain.bias)
        for layer in (plain, packed):
            torch.testing.assert_close(layer.first(x) + layer.second(y), whole, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(layer(torch.cat([x, y], dim=-1)), whole, atol=1e-5, rtol=1e-5)
    assert list(packed.state_dict()) == ["weight", "bias"]


def test_a_packed_model_that_has_run_can_be_copied():
    """A copy follows its own weights, and the numbers stay the same."""
    torch.manual_seed(7)
    model = nn.Sequential(Stage(3, 8, residual=True), nn.Linear(8, 5)).eval()
    pack(model, torch.float32)
    x = torch.randn(2, 3, 8, 8)

    def run(own):
        with torch.inference_mode():
            return own[1](own[0](x).flatten(2).transpose(1, 2))

    before = run(model)
    other = copy.deepcopy(model)
    torch.testing.assert_close(run(other), before)
    with torch.no_grad():
        other[1].weight.zero_()
    assert torch.equal(run(other), other[1].bias.expand_as(before))
    torch.testing.assert_close(run(model), before)


@pytest.mark.parametrize("rows", [1, 3])
def test_products_of_a_packed_pointer_head_are_the_plain_ones(rows):
    """Keys and values are cut from one tensor: neither their rows nor their columns lie side by side."""
    torch.manual_seed(6)
    head = PointerHead(SimVGConfig(head_size=16, image_size=64, patch_size=16, box_head="pointer"))
    pack(head, torch.float32)
    keys, values = torch.randn(rows, 16, 32).chunk(2, dim=-1)
    x, weights = torch.randn(rows, 9, 16), torch.rand(rows, 9, 16)
    with torch.inference_mode():
        for left, right in ((x, keys.transpose(1, 2)), (weights, values)):
            torch.testing.assert_close(head.multiply(left, right), left @ right, atol=1e-5, rtol=1e-5)
    left, right = weights.requires_grad_(), values
    head.multiply(left, right).sum().backward()
    assert left.grad is not None
