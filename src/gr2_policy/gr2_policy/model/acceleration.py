"""Makes a loaded model as fast as its device can run it. This is the one place that decides how.

What is chosen for each device, and the measurements behind it, are in docs/model.md, "Speed". Tokens hardly depend on
it: the image tokenizer's encoder runs in float32, as it did when the training data was tokenised. Only with bfloat16 on
a processor it does not, and one token in a hundred becomes another one, fewer than by noise of one grey level.
"""

from __future__ import annotations

import warnings
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from gr2_policy.model.config import ConfigError
from gr2_policy.model.gr2 import GR2
from gr2_policy.model.stepping import GraphStepper

PRECISIONS = ("auto", "float32", "bfloat16", "int8")
_WIDE = 512  # width of the trunk from which bfloat16 pays on a processor
_HALF_OUT = ("qkv", "0")  # layers whose output only feeds attention or the second layer of a feed-forward part


class UnsupportedPrecision(ConfigError):
    """A precision or device cannot be had. The message says which can."""


class QuantisedLinear(nn.Module):
    """A linear layer with int8 weights, one scale for each output, and inputs quantised as they come.

    Args:
        linear: what it stands in for.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight = linear.weight.detach().float()
        scales = (weight.abs().amax(dim=1) / 127.0).clamp(min=1e-12).double()
        zeros = torch.zeros(len(scales), dtype=torch.long)
        with warnings.catch_warnings():
            # quantised tensors are to go; the operators that take them have no successor that is as fast without VNNI
            warnings.filterwarnings("ignore", message=".*quantized tensor creation functions.*", category=UserWarning)
            quantised = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
        bias = None if linear.bias is None else linear.bias.detach().float()
        self._packed = torch.ops.quantized.linear_prepack(quantised, bias)
        # without VNNI two products are added in 16 bits, which only hold them if the inputs keep to 7
        self._narrow = not torch.cpu._is_vnni_supported()

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) float32 -> (..., out_features) float32."""
        return cast(Tensor, torch.ops.quantized.linear_dynamic(x, self._packed, self._narrow))


class MatrixUnitLinear(nn.Module):
    """A linear layer for a processor with a matrix unit (AMX): bfloat16 for many tokens, int8 for few.

    Many tokens are bound by arithmetic, where the unit is several times faster; the two tokens of a step of imagination
    are bound by reading the weights, and int8 has half as many bytes.

    Args:
        linear: what it stands in for.
        half: many tokens leave in bfloat16, for a next layer that takes it; else in float32.
    """

    FEW = 32  # tokens
    weight: Tensor
    bias: Tensor

    def __init__(self, linear: nn.Linear, half: bool) -> None:
        super().__init__()
        self.for_few = QuantisedLinear(linear)
        self.in_features, self.out_features, self._half = linear.in_features, linear.out_features, half
        self.register_buffer("weight", linear.weight.detach().bfloat16(), persistent=False)
        self.register_buffer("bias", linear.bias.detach().bfloat16(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        if x.numel() <= self.FEW * self.in_features:
            return cast(Tensor, self.for_few(x.float()))
        made = functional.linear(x.bfloat16(), self.weight, self.bias)
        return made if self._half else made.float()


def default_device() -> torch.device:
    """The first GPU, or the processor where there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def default_precision(model: GR2, device: torch.device) -> str:
    """What ``auto`` stands for: what was measured to be fastest at no loss that matters."""
    if device.type == "cuda":
        return "bfloat16"
    return "bfloat16" if has_matrix_unit() and model.config.trunk.width >= _WIDE else "int8"


def has_matrix_unit() -> bool:
    """Whether this processor multiplies bfloat16 matrices by itself (AMX)."""
    return bool(torch.cpu._is_amx_tile_supported())


def prepare_for_inference(
    model: GR2, device: torch.device | str = "auto", precision: str = "auto", compiled: bool = False
) -> GR2:
    """Move a model to its device and change it, in place, into what runs fastest there.

    Call it once after loading, before the first context is begun. The model then serves as before (``begin``, ``act``,
    ``imagine``, a :class:`gr2_policy.model.streaming.Stream`), but can be neither trained nor saved any more. The first
    frames are slow, because kernels are chosen then: act and imagine a few times before they count.

    The number of threads is the caller's: ``torch.set_num_threads(1)`` leaves the other core to the controller.

    Args:
        model: with the weights that it is to run with.
        device: ``cpu``, ``cuda``, ``cuda:1`` ...; ``auto`` is the first GPU, or the processor where there is none.
        precision: of the trunk and the action head: ``float32``; ``bfloat16`` (GPU, or a processor with AMX, there
            of the tokenizer's encoder, too); ``int8`` weights and products (processor only); ``auto``: the measured
            default, see :func:`default_precision`.
        compiled: GPU only: compile the step of imagination before it is recorded as a CUDA graph. Fewer kernels, but
            the first frame takes a minute.

    Returns:
        the same model.

    Raises:
        UnsupportedPrecision: the device is not there, or cannot run this precision.
    """
    if precision not in PRECISIONS:
        raise UnsupportedPrecision(f"there is no precision '{precision}' (there are: {', '.join(PRECISIONS)})")
    target = default_device() if device == "auto" else torch.device(device)
    if target.type == "cuda" and not torch.cuda.is_available():
        raise UnsupportedPrecision(f"the device {target} is not there: this torch finds no GPU")
    if precision == "auto":
        precision = default_precision(model, target)
    allowed = ["float32", "bfloat16"] if target.type == "cuda" else ["float32", "int8"]
    if target.type == "cpu" and has_matrix_unit():
        allowed.append("bfloat16")
    if precision not in allowed:
        raise UnsupportedPrecision(f"{precision} does not run on {target.type}; what does: {', '.join(allowed)}")
    model.eval().requires_grad_(False).to(target)
    model.tokenizer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    codes = model.tokenizer.codebook.lookup(torch.arange(model.config.tokenizer.codebook_size, device=target))
    if precision == "bfloat16" and target.type == "cuda":
        _to_bfloat16(model)
    model.embedding.tabulate(codes)
    if target.type == "cpu" and precision != "float32":
        for part in (model.trunk, model.action_head.decoder) if model.config.action else (model.trunk,):
            _replace_linears(part, precision)
    if precision == "bfloat16" and target.type == "cpu":
        model.tokenizer.serve_in(torch.bfloat16)
    if target.type == "cuda":
        layout = model.layout
        capacity = model.config.timesteps * layout.timestep
        model.stepper = GraphStepper(model.trunk, model.code_out, layout.views, capacity, compiled)
    return model


def _to_bfloat16(model: GR2) -> None:
    """All but the tokenizer."""
    for name, child in model.named_children():
        if name != "tokenizer":
            child.to(torch.bfloat16)


def _replace_linears(module: nn.Module, precision: str) -> None:
    """Replace all linear layers inside."""
    for name, child in module.named_children():
        if not isinstance(child, nn.Linear):
            _replace_linears(child, precision)
        elif precision == "int8":
            setattr(module, name, QuantisedLinear(child))
        else:
            setattr(module, name, MatrixUnitLinear(child, name in _HALF_OUT))


def step_bytes(model: GR2) -> int:
    """Bytes of weights that one step of imagination reads: trunk and code logits, as they are in memory."""
    total = 0
    for part in (model.trunk, model.code_out):
        total += sum(parameter.numel() * parameter.element_size() for parameter in part.parameters())
        for layer in part.modules():
            if isinstance(layer, QuantisedLinear):
                total += layer.out_features * (layer.in_features + 8)  # int8 weights; scale and bias of each output
    return total
