"""How a model runs on this machine: number format, packed weights, memory. One place for every such choice.

Nothing here changes what a model computes beyond rounding, or what it saves.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from simvg_core.branches import PointerHead
from simvg_core.errors import ConfigurationError
from simvg_core.join import Half, Join
from simvg_core.memory import keep_memory
from simvg_core.patches import ResidualBlock, Stage

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Execution:
    """Choices of a run.

    Attributes:
        dtype: "float32", or "bfloat16": matrix products in bfloat16; `cast_weights` says what else.
        cast_weights: with bfloat16, weights are cast once, and what lies between two products is in bfloat16 as well:
            half the memory, and no conversions. Without, weights stay as they are, every product casts its own, and
            sums and norms are in float32 (autocast). None: on any device but the CPU.
        packed: linear layers and convolutions run on weights laid out once for oneDNN, which uses the whole width of
            the processor's vector units where the default library does not, batch norms are part of the convolution
            before them; costs the memory of these weights once more. None: on a CPU that can (bfloat16 takes AVX-512),
            for models up to `PACKED_PARAMETERS`.
        keep_memory: freed memory stays with the process instead of going back to the system and coming again, page by
            page, with every frame. None: on a CPU with glibc.
        resize_on_device: frames go to the device as bytes and are resized there. None: on any device but the CPU.
    """

    dtype: str = "float32"
    cast_weights: bool | None = None
    packed: bool | None = None
    keep_memory: bool | None = None
    resize_on_device: bool | None = None

    # Parameters up to which packing is the default: 2 GB in float32.
    PACKED_PARAMETERS: ClassVar[int] = 500_000_000

    def __post_init__(self) -> None:
        if self.dtype not in ("float32", "bfloat16"):
            raise ConfigurationError(f'dtype {self.dtype!r} is not offered; use "float32" or "bfloat16".')

    def prepare(self, model: nn.Module, device: torch.device) -> nn.Module:
        """Moves a model to a device, ready for inference; returns it. Its weights, unless cast, and names stay as they
        are."""
        model = model.eval().to(device)
        if self.casts_weights(device):
            cast(model, torch.bfloat16)
        if device.type != "cpu":
            return model
        if self.dtype == "bfloat16" and not has_bfloat16(device):
            logger.warning("bfloat16 on a processor without instructions for it: float32 is several times faster here")
        if self.keep_memory is not False:
            keep_memory()
        size = sum(parameter.numel() for parameter in model.parameters())
        if self.packed or (self.packed is None and size <= self.PACKED_PARAMETERS):
            pack(model, torch.bfloat16 if self.dtype == "bfloat16" else torch.float32)
        return model

    def resizes_on(self, device: torch.device) -> bool:
        """Whether frames are resized on the device."""
        return device.type != "cpu" if self.resize_on_device is None else self.resize_on_device

    def casts_weights(self, device: torch.device) -> bool:
        """Whether weights are cast on the device."""
        wanted = device.type != "cpu" if self.cast_weights is None else self.cast_weights
        return wanted and self.dtype == "bfloat16"

    def precision(self, device: torch.device) -> contextlib.AbstractContextManager[Any]:
        """The context that model calls run in."""
        if self.dtype == "float32" or self.casts_weights(device):
            return contextlib.nullcontext()
        # The cache would hold on to weights that training changes; packed weights make it pointless.
        return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16; without them it is several times slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16"))


def cast(model: nn.Module, dtype: torch.dtype) -> None:
    """Casts a model's weights, but for those of batch norms: what they have counted needs all its digits."""
    for module in model.modules():
        if not isinstance(module, nn.BatchNorm2d):
            for own in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
                if own.is_floating_point():
                    own.data = own.data.to(dtype)


def pack(model: nn.Module, dtype: torch.dtype) -> int:
    """Gives every linear layer, and every convolution with a norm after it, a packed copy of its weights; returns how
    many, 0 where the processor has no way for it.

    Gradients take the plain weights.
    """
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return 0
    if dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return 0
    count = 0
    with torch.inference_mode(False), torch.no_grad():
        for module in model.modules():
            if type(module) is nn.Linear:
                module.forward = _Packed(module, dtype)  # type: ignore[assignment]  # torch calls the instance's
                count += 1
            elif isinstance(module, Join):
                module.run_first, module.run_second = (_Packed(module, dtype, half) for half in module.halves())
                count += 1
            elif isinstance(module, PointerHead) and dtype == torch.float32:
                module.multiply = _multiply
            elif isinstance(module, (Stage, ResidualBlock)):
                for convolution, norm in module.convolutions():
                    convolution.fused = _Fused(convolution, norm, dtype)  # type: ignore[assignment]  # no parameter
                    count += 1
    return count


def _plainly(x: Tensor, dtype: torch.dtype) -> bool:
    """Whether the plain weights are to be used: for a gradient, a graph, another device or number format."""
    return (
        torch.is_grad_enabled()
        or torch.compiler.is_compiling()
        or x.device.type != "cpu"
        or (torch.bfloat16 if torch.is_autocast_enabled("cpu") else x.dtype) != dtype
        or x.numel() == 0
    )


class _Packed:
    """Forward of one linear layer, or of one half of a `Join`, on packed weights, as long as they are the layer's and
    no gradient is wanted."""

    def __init__(self, layer: nn.Linear, dtype: torch.dtype, half: Half | None = None) -> None:
        self.layer, self.dtype = layer, dtype
        self.half = half or Half(slice(None), biased=True)
        self._source: Tensor | None = None
        self._version = -1

    def __call__(self, x: Tensor) -> Tensor:
        layer = self.layer
        if _plainly(x, self.dtype):
            return F.linear(x, *self.half.of(layer))
        if self._source is not layer.weight or self._version != layer.weight._version:
            self._lay_out()
        result: Tensor = torch.ops.mkldnn._linear_pointwise(x.to(self.dtype), self._weight, self._bias, "none", [], "")
        return result

    def __getstate__(self) -> dict[str, Any]:
        """Without what was laid out, which nothing can copy: a copy of a model lays its own weights out."""
        return {"layer": self.layer, "dtype": self.dtype, "half": self.half, "_source": None, "_version": -1}

    def _lay_out(self) -> None:
        weight, bias = self.half.of(self.layer)
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach().to(self.dtype).contiguous(), None)
        self._bias = None if bias is None else bias.detach().to(self.dtype)
        self._source, self._version = self.layer.weight, self.layer.weight._version


def _multiply(x: Tensor, y: Tensor) -> Tensor:
    """(B, L, M) by (B, M, N) by oneDNN, which on some processors takes half the time of the default library."""
    if _plainly(x, torch.float32):
        return x @ y
    run = torch.ops.mkldnn._linear_pointwise
    # anything but whole rows or columns takes oneDNN a thousand times as long
    weights = y.contiguous().mT if y.stride(-1) == 1 else y.mT.contiguous()
    return torch.stack([run(own, weight, None, "none", [], "") for own, weight in zip(x, weights, strict=True)])


class _Fused:
    """Convolution, batch norm, shortcut and ReLU in one step on packed weights, under the same conditions."""

    def __init__(self, convolution: nn.Conv2d, norm: nn.BatchNorm2d, dtype: torch.dtype) -> None:
        self.convolution, self.norm, self.dtype = convolution, norm, dtype
        self._laid_out: tuple[tuple[int, int], ...] = ()

    def __call__(self, x: Tensor, shortcut: Tensor | None) -> Tensor | None:
        """None: the plain way is to be taken."""
        if _plainly(x, self.dtype) or self.norm.training:
            return None
        if (now := tuple((id(part), part._version) for part in self._parts())) != self._laid_out:
            self._lay_out()
            self._laid_out = now
        run, x = torch.ops.mkldnn._convolution_pointwise, x.to(self.dtype)
        result: Tensor
        if shortcut is None:
            result = run(x, self._weight, self._bias, *self._shape, "relu", [], "")
        else:
            result = run.binary(
                x, shortcut.to(self.dtype), self._weight, self._bias, *self._shape, "add", 1.0, "relu", [], ""
            )
        return result

    def __getstate__(self) -> dict[str, Any]:
        """As of `_Packed`."""
        return {"convolution": self.convolution, "norm": self.norm, "dtype": self.dtype, "_laid_out": ()}

    def _parts(self) -> list[Tensor]:
        """All that the packed weights are made of."""
        norm = self.norm
        parts = [self.convolution.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var]
        return [part for part in parts if part is not None]

    def _lay_out(self) -> None:
        convolution, norm = self.convolution, self.norm
        assert norm.running_mean is not None and norm.running_var is not None, "a norm in use has seen training"
        weight, bias = fuse_conv_bn_weights(
            convolution.weight, None, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        self._shape = convolution.padding, convolution.stride, convolution.dilation, convolution.groups
        packed = torch.ops.mkldnn._reorder_convolution_weight
        self._weight = packed(weight.detach().to(self.dtype), *self._shape)
        self._bias = bias.detach().to(self.dtype)
