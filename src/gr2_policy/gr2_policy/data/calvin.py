"""Imports a split of the CALVIN dataset (Mees et al. 2022): frames as npz files, and which belong to a sentence.

What is easily done wrong, and how it is done here:

* ``robot_obs[14]``, the last number, is the gripper's last *action* (-1 closes, +1 opens), ``robot_obs[6]`` its width
  [m]; LIBERO's signs are the opposite. States hold the measured width, actions the command, both 0 open ... 1 closed.
* Angles are extrinsic x-y-z Euler angles, R = Rz Ry Rx, near half a turn about x: they are made quaternions before
  anything is subtracted.
* ``actions`` are absolute poses of the tool; ``rel_actions`` are scaled differences to the *running target*, not to the
  measured pose, and are not used.
* Start and end of a sentence are both included. Frames are 1/30 s apart.
* ``auto_lang_ann.npy`` is a pickled dictionary. Pickles can run any code and are refused here; the error
  names a one-line way to make a JSON file of it where that is acceptable.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np

from gr2_policy.data.episode import BadEpisode, Episode

FPS = 30
ROBOT_ID = "calvin_panda"
GRIPPER_WIDTH = 0.08
"""Width of the open gripper [m]."""
ANNOTATIONS = "lang_annotations/auto_lang_ann.json"
VIEWS = {"head": "rgb_static", "wrist": "rgb_gripper"}

_PICKLED = "lang_annotations/auto_lang_ann.npy"
_HOW = (
    "python -c \"import json, numpy as np; d = np.load('{source}', allow_pickle=True).item(); "
    "json.dump({{'ann': d['language']['ann'], 'task': d['language']['task'], "
    "'indx': [[int(a), int(b)] for a, b in d['info']['indx']]}}, open('{target}', 'w'))\""
)


class Calvin:
    """A split of CALVIN, its episodes those that have a sentence.

    Args:
        folder: with ``episode_*.npz`` and ``lang_annotations``.

    Raises:
        BadEpisode: it is not one, or its annotations are still a pickle.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / ANNOTATIONS
        if not path.exists() and (folder / _PICKLED).exists():
            how = _HOW.format(source=folder / _PICKLED, target=path)
            raise BadEpisode(
                f"{folder / _PICKLED} is a pickle, which can run any code when it is read, and is refused. "
                f"If you trust it, make {path.name} of it yourself:\n{how}"
            )
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            self._sentences = [str(text) for text in data["ann"]]
            self._tasks = [str(task) for task in data["task"]]
            self._spans = [(int(first), int(last)) for first, last in data["indx"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadEpisode(f"{path} cannot be used: {error!r}") from error
        if not len(self._sentences) == len(self._tasks) == len(self._spans):
            raise BadEpisode(f"{path}: 'ann', 'task' and 'indx' differ in length")

    def __len__(self) -> int:
        return len(self._spans)

    def read(self, number: int) -> Episode:
        """The frames that belong to a sentence.

        Raises:
            BadEpisode: a frame is missing or damaged.
        """
        first, last = self._spans[number]
        if last <= first:
            raise BadEpisode(f"sentence {number} has no frames: {first} ... {last}")
        frames = [self._frame(index) for index in range(first, last + 1)]
        observed = np.stack([frame["robot_obs"] for frame in frames]).astype(float)
        commanded = np.stack([frame["actions"] for frame in frames]).astype(float)
        closing = 1.0 - observed[:, 6] / GRIPPER_WIDTH
        states = np.column_stack([observed[:, :3], quaternions(observed[:, 3:6]), closing.clip(0.0, 1.0)])
        grips = np.where(commanded[:, 6] < 0.0, 1.0, 0.0)
        return Episode(
            instruction=self._sentences[number],
            task=self._tasks[number],
            seed=-1,
            stamps=np.arange(first, last + 1) / FPS,
            images={view: np.stack([frame[key] for frame in frames]) for view, key in VIEWS.items()},
            states=states,
            actions=np.column_stack([commanded[:, :3], quaternions(commanded[:, 3:6]), grips]),
            joints=observed[:, 7:14],
            success_frame=len(frames) - 1,
            notes={"source": "CALVIN", "first": first, "last": last},
        )

    def _frame(self, index: int) -> dict[str, np.ndarray]:
        path = self.folder / f"episode_{index:07d}.npz"
        shapes = {"robot_obs": (15,), "actions": (7,)}
        try:
            with np.load(path, allow_pickle=False) as file:
                frame = {key: file[key] for key in (*VIEWS.values(), *shapes)}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise BadEpisode(f"{path} cannot be used: {error}") from error
        for key, shape in shapes.items():
            if frame[key].shape != shape:
                raise BadEpisode(f"{path}: {key} has shape {frame[key].shape}, expected {shape}")
        return frame


def quaternions(angles: np.ndarray) -> np.ndarray:
    """Extrinsic x-y-z Euler angles (n, 3) [rad] to unit quaternions (n, 4) x y z w, without jumps of sign."""
    x, y, z = (angles / 2.0).T
    cx, sx, cy, sy, cz, sz = np.cos(x), np.sin(x), np.cos(y), np.sin(y), np.cos(z), np.sin(z)
    found = np.column_stack(
        [
            sx * cy * cz - cx * sy * sz,
            cx * sy * cz + sx * cy * sz,
            cx * cy * sz - sx * sy * cz,
            cx * cy * cz + sx * sy * sz,
        ]
    )
    signs = np.cumprod(np.concatenate([[1.0], np.where((found[1:] * found[:-1]).sum(axis=1) < 0.0, -1.0, 1.0)]))
    return found * signs[:, None]
