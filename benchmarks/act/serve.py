"""Serve a trained ACT to gr2's policy ``served``. Run by the peer's own Python: ``serve.py FOLDER [THREADS]``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # whatever the libraries print goes to the other stream
sys.path[:0] = [str(_HERE.parent / "policy"), str(_HERE.parents[1] / "src" / "gr2_policy"), str(_HERE)]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from lerobot_act import CAMERAS, STATE, WORDS, make_act  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from train import SETTINGS, pixels  # noqa: E402

from gr2_policy.model.config import from_dict  # noqa: E402
from gr2_policy.model.transforms import Transforms  # noqa: E402


class Server:
    """ACT with one chunk for each observation."""

    def __init__(self, folder: Path) -> None:
        self.about = json.loads((folder / "act.json").read_text())
        data = self.about["data"]
        self.transforms = from_dict(Transforms, data["transforms"])
        self.words = np.load(folder / "words.npy")
        self.policy = make_act(data["side"], self.words.shape[1], chunk_size=data["horizon"], **SETTINGS).eval()
        self.policy.load_state_dict(load_file(folder / self.about["file"]))
        self.asked = 0

    def hello(self) -> dict:
        """What the client wants to know."""
        transforms = self.transforms
        return {
            "model_id": f"lerobot-act-{self.about['step']}-steps",
            "robot_id": transforms.robot_id,
            "action_space": transforms.action_space,
            "chunk_dt": transforms.chunk_dt,
            "normalization_hash": transforms.hash(),
            "cameras": list(transforms.views),
        }

    def reset(self, instruction: str) -> dict:
        """Take the known instruction that shares most words with this one: ACT knows no others."""
        wanted = set(instruction.lower().split())
        known = [set(words.lower().split()) for words in self.about["data"]["instructions"]]
        self.asked = int(np.argmax([len(wanted & words) / len(wanted | words) for words in known]))
        return {}

    @torch.inference_mode()
    def infer(self, seen: dict, images: dict[str, np.ndarray]) -> dict:
        """One chunk."""
        position, orientation = np.array(seen["tool_position"]), np.array(seen["tool_orientation"])
        small = [self.transforms.resize(images[view])[None] for view in self.transforms.views]
        batch = {name: pixels(image) for name, image in zip(CAMERAS, small, strict=True)}
        batch[STATE] = self.transforms.state(position, orientation, seen["gripper"])[None]
        batch[WORDS] = torch.from_numpy(self.words[self.asked])[None]
        actions = self.policy.predict_action_chunk(batch)[0]
        chunk = self.transforms.chunk(actions, position, orientation)
        return {
            "positions": chunk.positions.tolist(),
            "orientations": chunk.orientations.tolist(),
            "gripper": chunk.gripper.tolist(),
        }


def main(folder: Path, threads: int) -> None:
    """Answer until the input ends."""
    torch.set_num_threads(threads)
    server, asked = Server(folder), sys.stdin.buffer

    def say(words: dict) -> None:
        print(json.dumps(words), file=_answers, flush=True)

    say(server.hello())
    for line in iter(asked.readline, b""):
        question = json.loads(line)
        if "reset" in question:
            say(server.reset(question["reset"]))
            continue
        seen = question["infer"]
        sizes = {name: (int(h), int(w)) for name, (h, w) in seen["images"].items()}
        images = {n: np.frombuffer(asked.read(h * w * 3), np.uint8).reshape(h, w, 3) for n, (h, w) in sizes.items()}
        try:
            say(server.infer(seen, images))
        except ValueError as error:
            say({"error": str(error)})


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
