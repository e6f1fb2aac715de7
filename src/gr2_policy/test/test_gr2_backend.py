"""The policy named gr2: how it is made, what it refuses, and that it is what its model is."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from gr2_policy import gr2_backend  # noqa: E402
from gr2_policy.gr2_backend import Gr2Policy, Options, make_policy, shipped_weights  # noqa: E402
from gr2_policy.model import geometry  # noqa: E402
from gr2_policy.model.checkpoint import (  # noqa: E402
    CARD,
    BadCard,
    HashMismatch,
    MissingFile,
    PickleRefused,
    TextEncoderMismatch,
    TokenizerMismatch,
    Truncated,
    WrongVersion,
    save_policy,
    save_tokenizer,
)
from gr2_policy.model.config import ConfigError, load_size  # noqa: E402
from gr2_policy.model.gr2 import GR2  # noqa: E402
from gr2_policy.model.text import load_text_encoder  # noqa: E402
from gr2_policy.model.transforms import Normalization, Transforms  # noqa: E402
from gr2_policy.policy import (  # noqa: E402
    Commits,
    Imagines,
    Observation,
    Policy,
    PolicyError,
    WarmsUp,
    available_policies,
)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def observation(index: int, dt: float = 0.2) -> Observation:
    random = np.random.default_rng(index)
    return Observation(
        stamp=100.0 + dt * index,
        instruction="open the drawer",
        images={view: random.integers(0, 255, (48, 64, 3)).astype(np.uint8) for view in ("head", "wrist")},
        tool_position=np.array([0.4, 0.0, 0.3]) + 0.01 * random.standard_normal(3),
        tool_orientation=np.array([1.0, 0.0, 0.0, 0.0]),
        gripper=float(index % 2),
        joint_positions=np.zeros(7),
        delay=0.25,
    )


@pytest.fixture
def nano() -> Gr2Policy:
    policy = make_policy(untrained="nano")
    policy.reset("open the drawer")
    return policy


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A checkpoint of an untrained nano."""
    torch.manual_seed(3)
    config = load_size("nano")
    model = GR2(config).eval()
    assert config.action is not None
    transforms = Transforms.of(config, Normalization.plain(config.action.horizon), "gen3_2f85", "tool")
    save_tokenizer(tmp_path / "tokenizer", model.tokenizer)
    save_policy(tmp_path / "policy", model, transforms, load_text_encoder(config.text).identity)
    return tmp_path


def test_it_is_installed_and_has_all_abilities(nano: Gr2Policy) -> None:
    assert "gr2" in available_policies()
    for ability in (Policy, WarmsUp, Commits, Imagines):
        assert isinstance(nano, ability)
    assert (nano.robot_id, nano.action_space, nano.chunk_dt) == ("gen3_2f85", "tool_pose_base_link+gripper", 0.1)
    assert len(nano.normalization_hash) == 64


def test_untrained_weights_are_said_aloud(nano: Gr2Policy) -> None:
    assert "UNTRAINED" in nano.model_id
    assert "RANDOM WEIGHTS" in nano.notice


def test_same_seed_same_chunks() -> None:
    def chunks(seed: int) -> np.ndarray:
        policy = make_policy(untrained="nano", seed=str(seed))
        policy.reset("open the drawer")
        return np.stack([policy.infer(observation(index)).positions for index in range(4)])

    assert np.array_equal(chunks(0), chunks(0))
    assert not np.array_equal(chunks(0), chunks(1))


@pytest.mark.parametrize("size", ["nano", "mini"])
def test_untrained_chunks_stay_within_what_the_controller_accepts(size: str) -> None:
    """Half a metre and 1.5 rad from pose to pose, 0.25 m and 1 rad from the arm to the pose that is due."""
    policy = make_policy(untrained=size)
    policy.reset("open the drawer")
    for index in range(12):
        seen = observation(index)
        chunk = policy.infer(seen)
        assert np.linalg.norm(np.diff(chunk.positions, axis=0), axis=1).max() < 0.4
        turned = geometry.multiply(geometry.conjugate(chunk.orientations[:-1]), chunk.orientations[1:])
        assert np.linalg.norm(geometry.logarithm(turned), axis=1).max() < 1.2
        assert np.linalg.norm(chunk.positions[:3] - seen.tool_position, axis=1).max() < 0.2
        assert np.allclose(np.linalg.norm(chunk.orientations, axis=1), 1.0)
        assert ((chunk.gripper >= 0.0) & (chunk.gripper <= 1.0)).all()


def test_checkpoint_is_what_was_saved(weights: Path) -> None:
    policy = make_policy(checkpoint=str(weights), precision="float32", device="cpu")
    card = json.loads((weights / "policy" / CARD).read_text())
    assert policy.model_id == f"gr2-nano-{card['tensors']['sha256'][:12]}"
    assert policy.notice == ""
    policy.reset("open the drawer")
    first = policy.infer(observation(0)).positions
    other = make_policy(untrained="nano", seed="0", precision="float32", device="cpu")
    other.reset("open the drawer")
    assert not np.allclose(first, other.infer(observation(0)).positions)


def test_chunks_join_by_what_is_committed_unless_it_is_discarded(nano: Gr2Policy) -> None:
    before = nano.infer(observation(0))
    after = nano.infer(observation(1))
    np.testing.assert_allclose(after.positions[:2], before.positions[2:4], atol=1e-6)
    nano.discard()
    free = nano.infer(observation(2))
    assert np.abs(free.positions[:2] - after.positions[2:4]).max() > 1e-4


def test_warm_up_leaves_no_trace(nano: Gr2Policy) -> None:
    expected = [nano.infer(observation(index)).positions for index in range(3)]
    took = nano.warm_up(replace(observation(50), instruction=""), imagine=True)
    assert took.first > 0.0
    assert took.imagination > 0.0
    assert took.processor is not None
    assert 0.0 < took.processor[0] < took.processor[1] < 2.0 * took.imagination
    nano.reset("open the drawer")
    assert np.array_equal(expected, [nano.infer(observation(index)).positions for index in range(3)])


def test_imagination_does_not_touch_control_even_in_the_midst_of_it(nano: Gr2Policy) -> None:
    """Between two tokens of an imagined frame control infers; both give what they give alone."""
    alone = [nano.infer(observation(index)).positions for index in range(4)]
    nano.reset("open the drawer")
    nano.infer(observation(0))
    imagined_alone = nano.imagine(nano.fork(), lambda: None)

    nano.reset("open the drawer")
    chunks = [nano.infer(observation(0)).positions]
    steps = 0

    def between() -> None:
        nonlocal steps
        steps += 1
        if steps in (2, 5, 9):
            chunks.append(nano.infer(observation(len(chunks))).positions)

    beside = nano.imagine(nano.fork(), between)
    assert steps == load_size("nano").tokenizer.tokens + 1  # the decoder is a step of its own
    chunks += [nano.infer(observation(index)).positions for index in range(len(chunks), 4)]
    assert np.array_equal(alone, chunks)
    assert beside.stamp == pytest.approx(100.2)
    for camera in ("head", "wrist"):
        assert beside.images[camera].shape == (32, 32, 3)
        assert np.array_equal(beside.tokens[camera], imagined_alone.tokens[camera])
        assert np.array_equal(beside.images[camera], imagined_alone.images[camera])


def test_look_tokenises_as_control_does(nano: Gr2Policy) -> None:
    seen = nano.look(observation(7))
    assert seen.stamp == observation(7).stamp
    assert set(seen.tokens) == {"head", "wrist"}
    again = nano.look(observation(7))
    assert np.array_equal(seen.tokens["wrist"], again.tokens["wrist"])
    assert seen.images["head"].shape == (32, 32, 3)


def test_bad_observations_are_policy_errors(nano: Gr2Policy) -> None:
    with pytest.raises(PolicyError, match="nothing was seen"):
        nano.fork()
    nano.infer(observation(1))
    with pytest.raises(PolicyError, match="not newer"):
        nano.infer(observation(0))
    with pytest.raises(PolicyError, match="no image of wrist"):
        nano.look(replace(observation(2), images={"head": np.zeros((8, 8, 3), np.uint8)}))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"colour": "red"}, "has no option 'colour'"),
        ({"untrained": "huge"}, "there is no size 'huge'"),
        ({"untrained": "nano", "seed": "one"}, "seed is 'one', which is no int"),
        ({"untrained": "nano", "sample": "maybe"}, "sample is 'maybe', which is no bool"),
        ({"untrained": "nano", "threads": "0"}, "threads is 0"),
        ({"untrained": "nano", "checkpoint": "x"}, "both given"),
        ({"untrained": "nano", "device": "toaster"}, "device is 'toaster'"),
        ({"untrained": "nano", "precision": "int3"}, "no precision 'int3'"),
        ({"untrained": "nano", "keep": "-1"}, "-1 kept"),
    ],
)
def test_impossible_options_are_named(given: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make_policy(**given)


def test_absent_gpu_is_named() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one here")
    with pytest.raises(ValueError, match="cuda"):
        make_policy(untrained="nano", device="cuda")


def test_no_weights_ship_yet_or_they_load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GR2_ROOT", str(tmp_path))
    monkeypatch.setattr(gr2_backend, "__file__", str(tmp_path / "a" / "b" / "c" / "d.py"))
    with pytest.raises(ConfigError, match=r"no weights in .*checkpoint=FOLDER, or .*untrained=mini"):
        make_policy()
    (tmp_path / "weights" / "mini").mkdir(parents=True)
    assert shipped_weights() == tmp_path / "weights" / "mini"
    monkeypatch.delenv("GR2_ROOT")  # as installed on a ROS machine: found from where this module lies
    assert shipped_weights() == tmp_path / "weights" / "mini"


def tensors(folder: Path) -> Path:
    return next(folder.glob("*.safetensors"))


def change_card(folder: Path, **changes: object) -> None:
    path = folder / CARD
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def break_nothing_there(weights: Path) -> None:
    (weights / "policy" / CARD).unlink()
    tensors(weights / "policy").unlink()


def break_truncate(weights: Path) -> None:
    path = tensors(weights / "policy")
    path.write_bytes(path.read_bytes()[:-100])


def break_flip(weights: Path) -> None:
    path = tensors(weights / "policy")
    data = bytearray(path.read_bytes())
    data[-10] ^= 1
    path.write_bytes(data)


def break_card(weights: Path) -> None:
    change_card(weights / "policy", licence="none of your business")


def break_version(weights: Path) -> None:
    change_card(weights / "policy", version=99)


def break_pickle(weights: Path) -> None:
    break_nothing_there(weights)
    (weights / "policy" / "policy.pt").write_bytes(pickle.dumps({"weights": [1.0]}))


def break_tokenizer(weights: Path) -> None:
    torch.manual_seed(4)
    save_tokenizer(weights / "tokenizer", GR2(load_size("nano")).tokenizer)


@pytest.mark.parametrize(
    ("damage", "refusal"),
    [
        (break_nothing_there, MissingFile),
        (break_truncate, Truncated),
        (break_flip, HashMismatch),
        (break_card, BadCard),
        (break_version, WrongVersion),
        (break_pickle, PickleRefused),
        (break_tokenizer, TokenizerMismatch),
    ],
)
def test_damaged_checkpoints_are_refused_by_name(weights: Path, damage, refusal: type[Exception]) -> None:  # type: ignore[no-untyped-def]
    damage(weights)
    with pytest.raises(refusal, match=str(weights)):
        make_policy(checkpoint=str(weights))


def test_another_text_encoder_is_refused(weights: Path) -> None:
    torch.manual_seed(3)
    config = load_size("nano")
    model = GR2(config).eval()
    transforms = Transforms.of(config, Normalization.plain(8), "gen3_2f85", "tool")
    save_policy(weights / "policy", model, transforms, "another")
    with pytest.raises(TextEncoderMismatch, match="another"):
        make_policy(checkpoint=str(weights))


def test_options_are_text_with_types() -> None:
    options = Options.parse({"seed": "7", "sample": "True", "checkpoint": "/w"})
    assert (options.seed, options.sample, options.checkpoint) == (7, True, "/w")
