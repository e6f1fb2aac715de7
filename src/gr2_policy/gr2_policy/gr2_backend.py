"""The GR-2 model behind the :class:`gr2_policy.policy.Policy` protocol: the policy named ``gr2``.

Its weights come from a folder with two checkpoints, ``policy/`` and ``tokenizer/``; without weights it runs untrained,
if it is told to.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch

from gr2_policy.model.acceleration import default_device, prepare_for_inference
from gr2_policy.model.checkpoint import TextEncoderMismatch, load_policy, load_tokenizer
from gr2_policy.model.config import ConfigError, ModelConfig, load_size
from gr2_policy.model.gr2 import GR2
from gr2_policy.model.streaming import Fork, Stream, StreamingConfig
from gr2_policy.model.text import TextEncoder, load_text_encoder
from gr2_policy.model.transforms import BadObservation, Normalization, Transforms
from gr2_policy.policy import ActionChunk, Frame, Observation, PolicyError, WarmUp

ROBOT = "gen3_2f85"
ACTION_SPACE = "tool_pose_base_link+gripper"
SHIPPED = "mini"  # folder of weights/
_WARM = "warm up"
_CALM = (
    0.4  # of the plain step sizes: with random weights successive poses of a chunk have nothing to do with each other
)


@dataclass(frozen=True)
class Options:
    """How the policy is made. As text, ``name=value``, in the node's parameter ``policy_options``.

    Attributes:
        checkpoint: folder with ``policy/`` and ``tokenizer/``; empty: the weights that ship.
        untrained: a size (nano, mini, S, B, L, XL) to run with random weights instead.
        device: ``auto`` (a GPU where there is one), or as torch names it: ``cpu``, ``cuda``, ``cuda:1``.
        precision: see :func:`gr2_policy.model.acceleration.prepare_for_inference`.
        threads: of torch on the CPU. One: more of them collapse beside any other load, and make the controller late.
        seed: of random weights, and of what is drawn at run time.
        sample: draw the latent of the action head instead of taking 0.
        keep: most frames that a new window of history begins with; fewer where the window holds no more.
        clip_folder: folder of the CLIP text model, for the sizes that take one.
    """

    checkpoint: str = ""
    untrained: str = ""
    device: str = "auto"
    precision: str = "auto"
    threads: int = 1
    seed: int = 0
    sample: bool = False
    keep: int = 1
    clip_folder: str = ""

    @staticmethod
    def parse(given: dict[str, object]) -> Options:
        """From text, strictly.

        Raises:
            ConfigError: a name is unknown, or a value is not of its type.
        """
        kinds = {item.name: type(item.default) for item in fields(Options)}
        values = {}
        for name, value in given.items():
            if name not in kinds:
                raise ConfigError(f"the policy gr2 has no option '{name}' (it has: {', '.join(kinds)})")
            try:
                values[name] = _typed(kinds[name], str(value))
            except ValueError as error:
                raise ConfigError(f"option {name} is '{value}', which is no {kinds[name].__name__}") from error
        return Options(**values)


def _typed(kind: type, text: str):  # type: ignore[no-untyped-def]
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(text)
        return text.lower() == "true"
    return kind(text)


class Gr2Policy:
    """See :class:`gr2_policy.policy.Policy`, and its abilities ``WarmsUp``, ``Commits``, ``Tidies`` and ``Imagines``.

    Args:
        stream: runs the model.
        model_id: who computes the chunks.

    Attributes:
        notice: what everybody should know about this policy; empty for nothing.
    """

    notice = ""
    privileged = False
    history = 0  # it keeps its own

    def __init__(self, stream: Stream, model_id: str) -> None:
        transforms = stream.transforms
        self.model_id = model_id
        self.robot_id = transforms.robot_id
        self.action_space = transforms.action_space
        self.chunk_dt = transforms.chunk_dt
        self.normalization_hash = transforms.hash()
        self.frame_dt = transforms.frame_dt
        self._views = transforms.views
        self._stream = stream

    def reset(self, instruction: str) -> None:
        """As in the protocol. Any instruction is followed as well as the model can."""
        self._stream.reset(instruction)

    def infer(self, observation: Observation) -> ActionChunk:
        """As in the protocol."""
        try:
            return self._stream.step(observation, observation.delay)
        except BadObservation as error:
            raise PolicyError(str(error)) from error

    def discard(self) -> None:
        """As in the protocol."""
        self._stream.discard()

    def tidy(self) -> None:
        """As in the protocol: a window that is full is begun anew."""
        self._stream.tidy()

    def warm_up(self, observation: Observation, imagine: bool) -> WarmUp:
        """As in the protocol: two windows of history are filled."""
        self._stream.reset(_WARM)
        took, worked = [], []
        count = 2 * self._stream.model.config.timesteps
        for index in range(count):
            begun, working = time.perf_counter(), time.thread_time()
            self.infer(replace(observation, stamp=observation.stamp + index * self.frame_dt, delay=2 * self.chunk_dt))
            took.append(time.perf_counter() - begun)
            worked.append(time.thread_time() - working)
        begun, working = time.perf_counter(), time.thread_time()
        if imagine:
            self.imagine(self.fork(), lambda: None)
        imagination = time.perf_counter() - begun if imagine else 0.0
        processor = float(np.median(worked[1:])), time.thread_time() - working
        self._stream.reset(_WARM)
        on_processor = self._stream.model.code_out.weight.device.type == "cpu"
        return WarmUp(took[0], float(np.median(took[1:])), imagination, processor if on_processor else None)

    def fork(self) -> Fork:
        """As in the protocol."""
        try:
            return self._stream.fork()
        except BadObservation as error:
            raise PolicyError(str(error)) from error

    def imagine(self, fork: object, between: Callable[[], None]) -> Frame:
        """As in the protocol."""
        assert isinstance(fork, Fork)
        return self._as_frame(fork.stamp + self.frame_dt, *self._stream.imagine_from(fork, between))

    def look(self, observation: Observation) -> Frame:
        """As in the protocol."""
        try:
            return self._as_frame(observation.stamp, *self._stream.look(observation))
        except BadObservation as error:
            raise PolicyError(str(error)) from error

    def _as_frame(self, stamp: float, tokens: np.ndarray, images: np.ndarray) -> Frame:
        return Frame(stamp, dict(zip(self._views, tokens, strict=True)), dict(zip(self._views, images, strict=True)))


def make_policy(**given: object) -> Gr2Policy:
    """The factory behind the entry point; see :class:`Options`.

    Raises:
        ConfigError: an option cannot be used, or the device is not there.
        CheckpointError: the weights are missing or refused.
        TextEncoderError: the text encoder is not there.
    """
    options = Options.parse(given)
    if options.checkpoint and options.untrained:
        raise ConfigError("checkpoint and untrained are both given; only one of them can be run")
    if options.threads < 1:
        raise ConfigError(f"option threads is {options.threads}, must be at least 1")
    torch.set_num_threads(options.threads)
    if options.untrained:
        model, transforms, text, model_id = _untrained(options)
    else:
        model, transforms, text, model_id = _trained(options)
    prepare_for_inference(model, _device(options.device), options.precision)
    keep = StreamingConfig.keep_at_most(options.keep, model.config.timesteps)
    streaming = StreamingConfig(keep=keep, sample=options.sample, seed=options.seed)
    policy = Gr2Policy(Stream(model, text, transforms, streaming), model_id)
    if options.untrained:
        policy.notice = f"RANDOM WEIGHTS: '{model_id}' has learned nothing; the arm will do nonsense, within its bounds"
    return policy


def _device(name: str) -> torch.device:
    try:
        return default_device() if name == "auto" else torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"option device is '{name}': {str(error).splitlines()[0]}") from error


def _untrained(options: Options) -> tuple[GR2, Transforms, TextEncoder, str]:
    config = _with_folder(load_size(options.untrained), options)
    if config.action is None:
        raise ConfigError(f"the size '{options.untrained}' has no action head")
    text = load_text_encoder(config.text)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        model = GR2(config).eval()
    plain = Normalization.plain(config.action.horizon)
    calm = replace(
        plain,
        step_positions=tuple(_CALM * step for step in plain.step_positions),
        step_rotations=tuple(_CALM * step for step in plain.step_rotations),
    )
    transforms = Transforms.of(config, calm, ROBOT, ACTION_SPACE)
    return model, transforms, text, f"gr2-{config.name}-UNTRAINED-seed{options.seed}"


def _trained(options: Options) -> tuple[GR2, Transforms, TextEncoder, str]:
    folder = Path(options.checkpoint).expanduser() if options.checkpoint else shipped_weights()
    tokenizer, _ = load_tokenizer(folder / "tokenizer")
    model, transforms, card = load_policy(folder / "policy", tokenizer)
    text = load_text_encoder(_with_folder(model.config, options).text)
    if text.identity != card.text_encoder:
        raise TextEncoderMismatch(
            f"{folder / 'policy'} was trained with the text encoder {card.text_encoder[:12]},"
            f" this one is {text.identity[:12]}"
        )
    if transforms.normalization is None:
        raise ConfigError(f"{folder / 'policy'} is a pre-training model: it has no action head")
    return model, transforms, text, f"gr2-{model.config.name}-{str(card.tensors['sha256'])[:12]}"


def _with_folder(config: ModelConfig, options: Options) -> ModelConfig:
    if not options.clip_folder:
        return config
    return replace(config, text=replace(config.text, folder=options.clip_folder))


def shipped_weights() -> Path:
    """The folder of the weights that ship with gr2.

    Raises:
        ConfigError: there are none, with what to do instead.
    """
    # without the variable: this file is in src/ or install/ of the checkout, or of the image, that holds weights/
    root = os.environ.get("GR2_ROOT")
    bases = [Path(root)] if root else list(Path(__file__).resolve().parents)
    looked = [base / "weights" / SHIPPED for base in bases]
    for folder in looked:
        if folder.is_dir():
            return folder
    where = str(looked[0]) if root else f"weights/{SHIPPED} of any folder above {__file__}"
    raise ConfigError(
        f"there are no weights in {where}."
        " Give the folder of some as checkpoint=FOLDER, or run random ones as untrained=mini"
    )
