"""The policy gr2 inside the node: it runs a checkpoint, and refuses a damaged one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from lifecycle_msgs.srv import ChangeState, GetState
from std_msgs.msg import String

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of an untrained nano."""
    import torch

    from gr2_policy.model.checkpoint import save_policy, save_tokenizer
    from gr2_policy.model.config import load_size
    from gr2_policy.model.gr2 import GR2
    from gr2_policy.model.text import load_text_encoder
    from gr2_policy.model.transforms import Normalization, Transforms

    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    config = load_size("nano")
    model = GR2(config).eval()
    transforms = Transforms.of(config, Normalization.plain(8), "gen3_2f85", "tool_pose_base_link+gripper")
    save_tokenizer(folder / "tokenizer", model.tokenizer)
    save_policy(folder / "policy", model, transforms, load_text_encoder(config.text).identity)
    return folder


def test_gr2_runs_a_checkpoint(bench: Any, weights: Path) -> None:
    bench.latched.publish(String(data="go"))
    bench.start(policy="gr2", policy_options=f"[checkpoint={weights}]", imagination_rate=10.0)
    bench.until(lambda: len(bench.chunks) >= 2 and bool(bench.imagined), "no chunks or no imagination", 120.0)
    assert len(bench.requests[0].normalization_hash) == 64
    assert bench.chunks[0].model_id.startswith("gr2-nano-")
    assert bench.chunks[0].horizon == 8
    assert bench.imagined[0].width == 32


def test_damaged_checkpoint_leaves_the_node_unconfigured_and_says_why(
    bench: Any, weights: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "damaged"
    shutil.copytree(weights, copy)
    tensors = next((copy / "policy").glob("*.safetensors"))
    tensors.write_bytes(tensors.read_bytes()[:-8])
    bench.start(policy="gr2", policy_options=f"[checkpoint={copy}]", autostart=False)
    request = ChangeState.Request()
    request.transition.id = 1  # configure
    client = bench.node.create_client(ChangeState, "/policy/change_state")
    bench.until(client.service_is_ready, "no /policy/change_state")
    future = client.call_async(request)
    bench.until(future.done, "configure does not answer", 120.0)
    assert not future.result().success
    answer = bench.call(GetState, "/policy/get_state", GetState.Request())
    assert answer.current_state.label == "unconfigured"
    bench.until(lambda: any(tensors.name in problem for problem in bench.problems), "not in /diagnostics")
    assert bench.requests == []
    assert f"{tensors.name} has" in bench.log.read_text()
