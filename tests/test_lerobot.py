"""Our datasets under the real lerobot package, in the environment that ``./gr2 bench policy`` makes for its peers."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from gr2_policy.data.episode import Episode
from gr2_policy.data.writer import DatasetWriter

PYTHON = Path(
    os.environ.get(
        "GR2_LEROBOT_PYTHON", Path(os.environ.get("GR2_ROOT", ".")).resolve() / ".bench" / "policy" / "bin" / "python"
    )
)
# torchvision's compiled parts do not fit every torch: the operators that are not needed are left out, and frames are
# decoded by PyAV; all else is lerobot's own.
_SCRIPT = """
import sys
import av, numpy as np, torch
describe = torch.library.register_fake
torch.library.register_fake = lambda name, *a, **k: (
    (lambda f: f) if isinstance(name, str) and name.startswith("torchvision::") else describe(name, *a, **k))
import lerobot.datasets.lerobot_dataset as module

def decode(path, stamps, tolerance, backend=None):
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    times = np.array([float(frame.pts * frame.time_base) for frame in frames])
    nearest = [int(np.abs(times - stamp).argmin()) for stamp in stamps]
    assert max(abs(times[i] - t) for i, t in zip(nearest, stamps)) < tolerance
    pictures = np.stack([frames[i].to_ndarray(format="rgb24") for i in nearest])
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255

module.decode_video_frames = decode
data = module.LeRobotDataset("local/gr2", root=sys.argv[1], delta_timestamps={"action": [0.0, 0.1, 0.2]})
item = data[int(sys.argv[3])]
np.savez(sys.argv[2], frames=len(data), episodes=data.num_episodes, fps=data.fps, task=item["task"],
         head=(item["observation.images.head"] * 255).round().numpy().astype("uint8"),
         state=item["observation.state"], action=item["action"], pad=item["action_is_pad"],
         mean=data.meta.stats["observation.state"]["mean"])
"""


@pytest.mark.skipif(not PYTHON.exists(), reason=f"there is no {PYTHON}; ./gr2 bench policy makes it")
def test_lerobot_reads_what_we_write(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    episodes = []
    for seed, length in enumerate((8, 6)):
        states = random.normal(size=(length, 8))
        states[:, 3:7] /= np.linalg.norm(states[:, 3:7], axis=1, keepdims=True)
        images = {view: random.integers(0, 256, (length, 32, 32, 3), dtype=np.uint8) for view in ("head", "wrist")}
        words = f"do thing {seed}"
        stamps = 0.1 * np.arange(length)
        episodes.append(Episode(words, "", seed, stamps, images, states, states[::-1].copy(), np.zeros((length, 7))))
    writer = DatasetWriter(tmp_path / "set", 10, "gen3_2f85")
    writer.append(episodes[:1])
    writer.append(episodes[1:])
    command = [str(PYTHON), "-c", _SCRIPT, str(tmp_path / "set"), str(tmp_path / "seen.npz"), "12"]
    kept = ("PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
    env = {key: value for key, value in os.environ.items() if key not in kept} | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    seen = np.load(tmp_path / "seen.npz")
    assert (int(seen["frames"]), int(seen["episodes"]), int(seen["fps"]), str(seen["task"])) == (
        14,
        2,
        10,
        "do thing 1",
    )
    second = episodes[1]
    np.testing.assert_array_equal(seen["head"].transpose(1, 2, 0), second.images["head"][4])
    np.testing.assert_allclose(seen["state"], second.states[4].astype(np.float32))
    np.testing.assert_allclose(seen["action"][:2], second.actions[4:].astype(np.float32))
    np.testing.assert_array_equal(seen["pad"], [False, False, True])
    both = np.concatenate([episode.states for episode in episodes]).astype(np.float32)
    np.testing.assert_allclose(seen["mean"], both.mean(axis=0), rtol=1e-4, atol=1e-6)
