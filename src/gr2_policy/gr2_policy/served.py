"""A policy in a process, and an environment, of its own: the policy named ``served``.

For a model whose libraries do not go together with ours. Its program is started with a pipe on either side and says one
line of JSON first: ``model_id, robot_id, action_space, chunk_dt, normalization_hash`` and ``cameras``. Then every line
of its input asks for a line of JSON:

    {"reset": "open the drawer"}
        -> {}
    {"infer": {"stamp", "tool_position", "tool_orientation", "gripper", "joint_positions", "images": {name: [h, w]}}}
        and behind that line the pixels of these images, h * w * 3 bytes each, in the order of the names
        -> {"positions": [[x, y, z] ...], "orientations": [[x, y, z, w] ...], "gripper": [...]}

An answer ``{"error": "words"}`` refuses. What it prints beside goes to the standard error stream.

    ./gr2 eval --policy served --option command="/path/to/python my_server.py"
"""

from __future__ import annotations

import json
import shlex
import subprocess
from typing import Any

import numpy as np

from gr2_policy.policy import ActionChunk, Observation, PolicyError

_ABOUT = ("model_id", "robot_id", "action_space", "chunk_dt", "normalization_hash", "cameras")
_END = 10.0  # [s] that a server has for ending once its input is closed


class ServedPolicy:
    """See :class:`gr2_policy.policy.Policy` and the module's docstring.

    Args:
        command: the program and its arguments.

    Raises:
        PolicyError: it cannot be started, or says nothing that can be used.
    """

    privileged = False
    history = 0

    def __init__(self, command: list[str]) -> None:
        if not command:
            raise PolicyError("the policy served needs the program that serves it: command=PROGRAM ARGUMENTS")
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        except OSError as error:
            raise PolicyError(f"{command[0]} cannot be started: {error.strerror}") from error
        about = self._answer()
        lacking = [name for name in _ABOUT if name not in about]
        if lacking:
            raise PolicyError(f"{command[0]} does not say its {', '.join(lacking)}")
        self.model_id, self.robot_id = str(about["model_id"]), str(about["robot_id"])
        self.action_space, self.chunk_dt = str(about["action_space"]), float(about["chunk_dt"])
        self.normalization_hash = str(about["normalization_hash"])
        self._cameras = [str(name) for name in about["cameras"]]

    def reset(self, instruction: str) -> None:
        """See Policy."""
        self._ask({"reset": instruction})

    def infer(self, observation: Observation) -> ActionChunk:
        """See Policy."""
        lacking = [name for name in self._cameras if name not in observation.images]
        if lacking:
            raise PolicyError(f"the observation has no image of {', '.join(lacking)}")
        images = [np.ascontiguousarray(observation.images[name]) for name in self._cameras]
        question = {
            "stamp": observation.stamp,
            "tool_position": list(map(float, observation.tool_position)),
            "tool_orientation": list(map(float, observation.tool_orientation)),
            "gripper": float(observation.gripper),
            "joint_positions": list(map(float, observation.joint_positions)),
            "images": {name: list(image.shape[:2]) for name, image in zip(self._cameras, images, strict=True)},
        }
        answer = self._ask({"infer": question}, b"".join(image.tobytes() for image in images))
        try:
            parts = [np.array(answer[name], float) for name in ("positions", "orientations", "gripper")]
        except (KeyError, TypeError, ValueError) as error:
            raise PolicyError(f"{self.model_id} answered with no chunk: {error!r}") from error
        return ActionChunk(self.chunk_dt, *parts)

    def close(self) -> None:
        """End the server."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ask(self, question: dict[str, Any], pixels: bytes = b"") -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n" + pixels)
            self._process.stdin.flush()
        except OSError as error:
            raise PolicyError(f"the server ended with code {self._process.poll()}") from error
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise PolicyError(f"the server ended with code {self._process.wait()}")
        try:
            answer = json.loads(line)
        except ValueError as error:
            raise PolicyError(f"the server said what is no JSON: {line[:80]!r}") from error
        if not isinstance(answer, dict):
            raise PolicyError(f"the server said what is no JSON object: {line[:80]!r}")
        if "error" in answer:
            raise PolicyError(str(answer["error"]))
        return answer


def make_served(command: str = "") -> ServedPolicy:
    """The factory behind the entry point.

    Raises:
        PolicyError: see :class:`ServedPolicy`.
    """
    return ServedPolicy(shlex.split(command))
