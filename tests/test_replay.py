"""A recorded run, replayed into a fresh policy, gives the same chunks."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from gr2_msgs.msg import TrajectoryChunk

from gr2_bringup import stack


def chunks_of(messages) -> dict[int, np.ndarray]:  # type: ignore[no-untyped-def]
    """Stamp [ns] -> all numbers of the chunk."""
    found = {}
    for message in messages:
        if message.horizon == 0:
            continue
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        found[stamp] = np.concatenate(
            [np.array(message.positions), np.array(message.orientations), np.array(message.gripper, dtype=float)]
        )
    return found


def test_replayed_run_reproduces_its_chunks(start, domain: int, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    from gr2_tools.bag_reader import BagReader

    done = subprocess.run(
        [sys.executable, "-m", "gr2_bringup.cli", "sim", "--headless", "--instruction", "put the red block in the bin",
         "--seed", "3", "--domain", str(domain), "--runs", str(tmp_path),
         "--image-width", "128", "--image-height", "128"],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"^bag:\s+(\S+)$", done.stdout, re.M)
    assert found
    bag = Path(found.group(1))
    with BagReader(bag) as reader:
        recorded = chunks_of(m.message() for m in reader.messages(topics=["/trajectory_chunk"]))
    assert len(recorded) > 20

    values = stack.defaults(stack.SIMULATION) | {"image_width": 128, "image_height": 128}
    policy = next(n for n in stack.simulation(values) if n.name == "policy")
    offline = stack.Node(policy.package, policy.executable, policy.name, (), {**policy.parameters, "handshake": False})
    running = start(nodes=[offline])
    replayed: list[TrajectoryChunk] = []
    running.director.node.create_subscription(TrajectoryChunk, "/trajectory_chunk", replayed.append, 50)
    running.wait(lambda: running.director.node.count_publishers("/trajectory_chunk") > 0, 30.0, "policy not up")
    player = subprocess.Popen(
        [sys.executable, "-m", "gr2_bringup.cli", "replay", str(bag), "--exclude", "/trajectory_chunk",
         "--clock", "200", "--wait", "3"],
        env=running.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    running.wait(lambda: player.poll() is not None, 120.0, "the player does not end")
    running.director.spin(1.0)
    assert player.returncode == 0, player.stdout.read() if player.stdout else ""
    again = chunks_of(replayed)
    common = recorded.keys() & again.keys()
    equal = [stamp for stamp in common if np.allclose(recorded[stamp], again[stamp], atol=1e-6)]
    print(
        f"chunks: {len(recorded)} recorded, {len(again)} replayed, {len(common)} of the same images, {len(equal)} equal"
    )
    assert len(common) >= 0.9 * len(recorded)
    assert len(equal) >= 0.98 * len(common)
