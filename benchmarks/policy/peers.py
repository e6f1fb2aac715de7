"""GPT-2 of the transformers library at equal size, and LeRobot's ACT in an environment and a process of its own."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import torch
from benchmarks.policy.ceilings import clock

from gr2_policy.model.config import ModelConfig
from gr2_policy.model.tokens import Layout

_HERE = Path(__file__).parent


class PeerFailed(RuntimeError):
    """A peer could not be installed or run. The message says why."""


class GenerateGPT2:
    """``GPT2LMHeadModel.generate`` with its cache: same layers, width, heads, vocabulary and tokens before.

    Args:
        config: of our model.
        layout: of its tokens.
        sequences: generated side by side.

    Attributes:
        tokens, token_cpu: times of one token so far, divided by the number of sequences [s].
    """

    def __init__(self, config: ModelConfig, layout: Layout, device: torch.device, sequences: int) -> None:
        from transformers import GPT2Config, GPT2LMHeadModel

        trunk = config.trunk
        gpt2 = GPT2Config(
            vocab_size=config.tokenizer.codebook_size,
            n_positions=config.timesteps * layout.timestep,
            n_embd=trunk.width,
            n_layer=trunk.layers,
            n_head=trunk.heads,
            bos_token_id=0,
            eos_token_id=None,
            pad_token_id=0,
        )
        torch.manual_seed(0)
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        self._model = GPT2LMHeadModel(gpt2).eval().to(device, dtype)
        before = (config.timesteps - 1) * layout.observed
        self._prompt = torch.randint(gpt2.vocab_size, (sequences, before), device=device)
        self._device = device
        self.tokens: list[float] = []
        self.token_cpu: list[float] = []

    @torch.inference_mode()
    def generate(self, count: int) -> None:
        """So many tokens after the prompt and the first, which are not counted."""
        stamps: list[tuple[float, float]] = []

        def stamp(tokens: torch.Tensor, _scores: object, **_: object) -> torch.Tensor:
            stamps.append((clock(self._device), time.thread_time()))
            return torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)  # never stop

        self._model.generate(
            self._prompt,
            attention_mask=torch.ones_like(self._prompt),
            max_new_tokens=count + 1,
            do_sample=False,
            use_cache=True,
            stopping_criteria=[stamp],
        )
        for earlier, later in itertools.pairwise(stamps):
            self.tokens.append((later[0] - earlier[0]) / len(self._prompt))
            self.token_cpu.append((later[1] - earlier[1]) / len(self._prompt))


class Act:
    """LeRobot's ACT as it comes (51.6M parameters, chunks of 100), with two cameras, on the processor.

    Args:
        root: the checkout, for the peer's environment.
        side: of the images [pixel].
        threads: of torch.

    Raises:
        PeerFailed: it could not be installed or started.
    """

    def __init__(self, root: Path, side: int, threads: int) -> None:
        self.chunks: list[float] = []
        self.chunk_cpu: list[float] = []
        command = [str(environment(root)), str(_HERE / "act_worker.py"), str(side), str(threads)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_clean(threads)
        )
        self.parameters = int(self._ask("parameters")["parameters"])

    def step(self) -> None:
        """One observation to one chunk."""
        answer = self._ask("chunk")
        self.chunks.append(answer["wall"])
        self.chunk_cpu.append(answer["cpu"])

    def close(self) -> None:
        """End its process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30.0)

    def _ask(self, question: str) -> dict[str, float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(question + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise PeerFailed(f"ACT ended with code {self._process.wait(30.0)}; --no-peers measures without it")
        answer: dict[str, float] = json.loads(line)
        return answer


def environment(root: Path) -> Path:
    """The Python of the peer's environment; made on first use, and again when the pinned versions change.

    Raises:
        PeerFailed: it could not be made.
    """
    from gr2_bringup.bootstrap import TORCH_CPU_INDEX, reachable

    requirements = _HERE / "peers.txt"
    folder = root / ".bench" / "policy"
    python, stamp = folder / "bin" / "python", folder / "peers.sha256"
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"making the peer's environment in {folder} (once; some minutes, 1.5 GB) ...", file=sys.stderr, flush=True)
    index = ["--extra-index-url", TORCH_CPU_INDEX] if reachable(TORCH_CPU_INDEX) else []
    install = ["install", "--disable-pip-version-check", "--no-deps", "--no-compile", *index, "-r", str(requirements)]
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [str(python), "-m", "pip", *install],
    ):
        # output is shown as it comes; it belongs to progress, not to the figures
        if subprocess.run(command, stdout=sys.stderr.fileno(), env=_clean(1), check=False).returncode:
            raise PeerFailed(f"'{' '.join(command)}' failed; --no-peers measures without ACT")
    stamp.write_text(wanted)
    return python


def _clean(threads: int) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return kept | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
