"""A prepared model says what the plain one says, within stated bounds."""

from __future__ import annotations

import copy
import importlib.util

import pytest
import torch
from torch import nn

from gr2_policy.model.acceleration import (
    MatrixUnitLinear,
    QuantisedLinear,
    UnsupportedPrecision,
    _to_bfloat16,
    default_precision,
    has_matrix_unit,
    prepare_for_inference,
    step_bytes,
)
from gr2_policy.model.config import load_size
from gr2_policy.model.gr2 import GR2, Batch
from gr2_policy.model.stepping import GraphStepper, StaticStepper
from gr2_policy.model.text import TextFeatures

_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def _chunk(model: GR2, batch: Batch, prefix: int = 0) -> torch.Tensor:
    assert batch.state is not None
    assert batch.actions is not None
    device = model.code_out.weight.device
    context = model.begin(batch.text)
    model.observe(context, batch.tokens[:, :1].to(device), batch.state[:, :1].to(device))
    committed = batch.actions[:, 1, :prefix].to(device) if prefix else None
    return model.act(context, batch.tokens[:, 1:2].to(device), batch.state[:, 1:2].to(device), committed).cpu()


def _imagined(model: GR2, batch: Batch, frames: int = 2) -> torch.Tensor:
    assert batch.state is not None
    device = model.code_out.weight.device
    context = model.begin(batch.text)
    model.observe(context, batch.tokens[:, :1].to(device), batch.state[:, :1].to(device))
    return model.imagine(context, frames).cpu()


def test_float32_is_what_it_was(model: GR2, batch: Batch) -> None:
    prepared = prepare_for_inference(copy.deepcopy(model), "cpu", "float32")
    torch.testing.assert_close(_chunk(prepared, batch, 2), _chunk(model, batch, 2), atol=1e-5, rtol=1e-4)
    assert torch.equal(_imagined(prepared, batch), _imagined(model, batch))
    assert not any(parameter.requires_grad for parameter in prepared.parameters())


@pytest.mark.parametrize("size", ["nano", "mini"])
def test_int8_actions_differ_by_little(size: str, batch: Batch) -> None:
    """Bound: a root mean square of 3 % of a step's own size, on random weights."""
    torch.manual_seed(0)
    model = GR2(load_size(size)).eval()
    if size == "mini":
        assert model.config.action is not None
        tokens = torch.randint(1024, (2, 2, 2, 64), generator=torch.Generator().manual_seed(2))
        chunks = torch.randn(2, 2, model.config.action.horizon, 7, generator=torch.Generator().manual_seed(2))
        batch = Batch(batch.text, tokens, batch.state, chunks)
    plain = _chunk(model, batch)
    prepared = prepare_for_inference(model, "cpu", "int8")
    assert isinstance(prepared.trunk.blocks[0].attention.qkv, QuantisedLinear)
    error = (_chunk(prepared, batch) - plain)[..., :6]
    assert 0.0 < float(error.square().mean().sqrt()) < 0.03 * float(plain[..., :6].square().mean().sqrt())


def test_a_quantised_layer_is_within_half_a_step() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(64, 32)
    with torch.no_grad():
        linear.weight[3] = 0.0
    x = torch.randn(3, 5, 64)
    wanted, got = linear(x), QuantisedLinear(linear)(x)
    assert got.shape == wanted.shape
    assert (got - wanted).norm() < 0.02 * wanted.norm()
    torch.testing.assert_close(got[..., 3], wanted[..., 3], atol=1e-6, rtol=0.0)  # a row of zeros has no scale


def test_tokens_never_depend_on_the_precision(model: GR2, images: torch.Tensor) -> None:
    before = model.tokenizer.encode(images)
    identity = model.tokenizer.identity()
    prepared = prepare_for_inference(model, "cpu", "int8")
    assert torch.equal(prepared.tokenizer.encode(images), before)
    assert prepared.tokenizer.identity() == identity


def test_a_pretraining_model_is_prepared_too(batch: Batch) -> None:
    model = GR2(load_size("nano").for_pretraining()).eval()
    context = prepare_for_inference(model, "cpu", "int8").begin(batch.text)
    assert model.observe(context, batch.tokens[:, :1, :1]).shape == (2, 0, 64)
    assert model.imagine(context).shape == (2, 1, 1, 16)


def test_int8_reads_a_quarter_of_the_weights(model: GR2) -> None:
    before = step_bytes(model)
    assert before == 4 * sum(p.numel() for part in (model.trunk, model.code_out) for p in part.parameters())
    assert step_bytes(prepare_for_inference(model, "cpu", "int8")) < 0.45 * before


def test_what_cannot_be_had_is_refused_by_name(model: GR2) -> None:
    with pytest.raises(UnsupportedPrecision, match="float8"):
        prepare_for_inference(model, "cpu", "float8")
    if not has_matrix_unit():
        with pytest.raises(UnsupportedPrecision, match="float32, int8"):
            prepare_for_inference(model, "cpu", "bfloat16")
    if not torch.cuda.is_available():
        with pytest.raises(UnsupportedPrecision, match="no GPU"):
            prepare_for_inference(model, "cuda")
    assert default_precision(model, torch.device("cuda")) == "bfloat16"


def test_a_matrix_unit_is_used_where_it_pays(
    model: GR2, batch: Batch, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A processor without one runs bfloat16 too, only slowly: the numbers can be tested anywhere."""
    cpu = torch.device("cpu")
    monkeypatch.setattr("gr2_policy.model.acceleration.has_matrix_unit", lambda: False)
    assert default_precision(model, cpu) == "int8"
    monkeypatch.setattr("gr2_policy.model.acceleration.has_matrix_unit", lambda: True)
    assert default_precision(model, cpu) == "int8"  # too narrow
    monkeypatch.setattr("gr2_policy.model.acceleration._WIDE", 64)
    assert default_precision(model, cpu) == "bfloat16"
    plain, tokens = _chunk(model, batch, 2), model.tokenizer.encode(images)
    identity = model.tokenizer.identity()
    prepared = prepare_for_inference(model, cpu)
    error = (_chunk(prepared, batch, 2) - plain)[..., :6]
    assert 0.0 < float(error.square().mean().sqrt()) < 0.05 * float(plain[..., :6].square().mean().sqrt())
    assert _imagined(prepared, batch).shape == (2, 2, 2, 16)
    assert float((prepared.tokenizer.encode(images) == tokens).float().mean()) > 0.9
    assert prepared.tokenizer.identity() == identity


def test_many_tokens_and_few_go_different_ways() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(64, 32)
    layer = MatrixUnitLinear(linear, half=True)
    few, many = torch.randn(2, 1, 64), torch.randn(2, 40, 64)
    assert torch.equal(layer(few), QuantisedLinear(linear)(few))
    assert layer(many).dtype == torch.bfloat16
    assert MatrixUnitLinear(linear, half=False)(many).dtype == torch.float32
    assert (layer(many).float() - linear(many)).norm() < 0.01 * linear(many).norm()


def _static(model: GR2, compiled: bool = False) -> StaticStepper:
    capacity = model.config.timesteps * model.layout.timestep
    return StaticStepper(model.trunk, model.code_out, model.layout.views, capacity, compiled)


def test_steps_of_one_shape_generate_the_same(model: GR2, batch: Batch) -> None:
    wanted = _imagined(model, batch)
    chunk = _chunk(model, batch)
    model.stepper = _static(model)
    assert torch.equal(_imagined(model, batch), wanted)
    assert torch.equal(_imagined(model, batch), wanted)
    assert torch.equal(_chunk(model, batch), chunk)


def test_bfloat16_differs_by_little(model: GR2, batch: Batch) -> None:
    """As a GPU runs it, but for the recording; states, prefixes and text arrive in float32 as ever."""
    plain = _chunk(model, batch, 2)
    before = model.tokenizer.codebook.codes.dtype
    _to_bfloat16(model)
    model.embedding.tabulate(model.tokenizer.codebook.lookup(torch.arange(64)))
    model.stepper = _static(model)
    error = (_chunk(model, batch, 2) - plain)[..., :6]
    assert 0.0 < float(error.square().mean().sqrt()) < 0.05 * float(plain[..., :6].square().mean().sqrt())
    assert _imagined(model, batch).shape == (2, 2, 2, 16)
    assert model.tokenizer.codebook.codes.dtype == before == torch.float32


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_compiled_steps_generate_the_same(model: GR2, batch: Batch) -> None:
    wanted = _imagined(model, batch)
    model.stepper = _static(model, compiled=True)
    assert torch.equal(_imagined(model, batch), wanted)


def test_imagination_can_be_given_up(model: GR2, batch: Batch) -> None:
    class Enough(Exception):
        pass

    calls = []

    def between() -> None:
        calls.append(1)
        if len(calls) == 5:
            raise Enough

    wanted = _imagined(model, batch)
    context = model.begin(batch.text)
    model.observe(context, batch.tokens[:, :1], batch.state[:, :1])  # type: ignore[index]
    length = context.cache.length
    with pytest.raises(Enough):
        model.imagine(context, 1, between=between)
    assert context.cache.length == len(context.slots) == length
    assert torch.equal(model.imagine(context, 2), wanted)


@_gpu
def test_on_a_gpu(batch: Batch) -> None:
    """Never run on the project's own machines, which have none."""
    torch.manual_seed(0)
    model = GR2(load_size("nano")).eval()
    assert batch.state is not None
    assert batch.actions is not None
    text = TextFeatures(batch.text.features[:1], batch.text.known[:1])
    one = Batch(text, batch.tokens[:1], batch.state[:1], batch.actions[:1])
    chunk, wanted = _chunk(model, one), _imagined(model, one)
    prepared = prepare_for_inference(copy.deepcopy(model), "cuda", "float32")
    assert isinstance(prepared.stepper, GraphStepper)
    torch.testing.assert_close(_chunk(prepared, one), chunk, atol=1e-3, rtol=1e-3)
    assert torch.equal(_imagined(prepared, one), wanted)
    if importlib.util.find_spec("triton"):
        assert _imagined(prepare_for_inference(model, "cuda", "bfloat16", compiled=True), one).shape == wanted.shape
