"""Warm-up, latency, deadline, imagination and surprise of the node, with a policy that imagines darkness."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from std_msgs.msg import String


def seconds(message) -> float:  # type: ignore[no-untyped-def]
    return message.header.stamp.sec + message.header.stamp.nanosec * 1e-9


def close(messages: list, stamps: list[float]) -> np.ndarray:
    """Which messages have one of these stamps, to 10 µs."""
    return np.array([min(abs(seconds(message) - stamp) for stamp in stamps) < 1e-5 for message in messages])


def test_warm_up_is_measured_and_comes_before_the_handshake(bench: Any) -> None:
    bench.latched.publish(String(data="go"))
    bench.start(policy="seer")
    bench.until(lambda: bool(bench.chunks), "no chunks")
    text = bench.log.read_text()
    assert "warmed up: 0.500 s for the first inference, 0.250 s for later ones, 0.125 s to imagine an instant" in text
    assert "4.0 chunks per second at most, not 10.0" in text
    assert text.count("sees nothing but darkness") == 1


def test_what_the_processor_has_no_time_for_is_not_imagined(bench: Any) -> None:
    bench.latched.publish(String(data="go"))
    bench.start(policy="seer", policy_options="[instant=9.0]", imagination_rate=1.0)
    bench.until(lambda: len(bench.chunks) >= 12, "no chunks")
    reason = (
        "to imagine an instant takes 9.00 s of the processor, and 10.0 chunks per second leave 0.50 s of each;"
        " imagination_rate 0.04 would fit"
    )
    assert f"imagination is off: {reason}" in bench.log.read_text()
    assert bench.imagined == bench.surprises == []
    bench.until(lambda: bench.values.get("imagination") == reason, "the diagnostics do not say why")


def test_imagination_that_something_depends_on_comes_late_and_says_so(bench: Any) -> None:
    bench.latched.publish(String(data="go"))
    bench.start(policy="seer", policy_options="[instant=9.0]", imagination_rate=5.0, surprise_action="replan")
    bench.until(lambda: bool(bench.surprises), "no surprise")
    assert "imagination will come late: to imagine an instant takes 9.00 s" in bench.log.read_text()


def test_failed_warm_up_ends_the_node_with_one_line(bench: Any) -> None:
    bench.start(policy="seer", policy_options="[warm=false]")
    assert bench.process is not None
    bench.until(lambda: bench.process.poll() is not None, "the node does not end")
    assert bench.process.returncode == 1
    assert "failed to warm up: MemoryError: no room for darkness" in bench.log.read_text()
    assert bench.requests == []


def test_end_while_the_policy_loads_is_quick(bench: Any, tmp_path: Path) -> None:
    marker = tmp_path / "loading"
    bench.start(policy="slow", policy_options=f"[marker={marker}]")
    bench.until(marker.exists, "does not load")
    begun = time.monotonic()
    bench.stop()
    assert time.monotonic() - begun < 5.0


def test_imagined_frames_carry_the_time_they_predict(bench: Any) -> None:
    bench.latched.publish(String(data="go"))
    bench.start(policy="seer", imagination_rate=20.0)
    bench.until(lambda: len(bench.surprises) >= 4, "no surprise")
    image = bench.imagined[-1]
    assert (image.width, image.height, image.encoding) == (8, 8, "rgb8")
    assert image.header.frame_id == "wrist_optical"
    assert close(bench.imagined, [seconds(chunk) + 0.1 for chunk in bench.chunks]).any()
    assert {surprise.camera for surprise in bench.surprises} == {"head", "wrist"}
    assert close(bench.surprises, [seconds(image) for image in bench.imagined]).all()
    assert bench.surprises[0].horizon == pytest.approx(0.1)
    assert not bench.surprises[0].settled


def test_surprise_does_nothing_by_default(bench: Any) -> None:
    bench.latched.publish(String(data="go"))
    bench.start(policy="seer", imagination_rate=20.0)
    bench.until(lambda: any(surprise.settled for surprise in bench.surprises), "does not settle")
    bench.brightness = 200
    bench.until(lambda: any(surprise.score > 6.0 for surprise in bench.surprises), "no surprise")
    found = next(surprise for surprise in bench.surprises if surprise.score > 6.0)
    assert found.token_distance == 1.0
    assert found.pixel_distance == pytest.approx(200 / 255)
    bench.spin(0.5)
    assert all(chunk.horizon for chunk in bench.chunks)


def test_surprise_can_hold_until_the_world_is_as_expected(bench: Any) -> None:
    bench.latched.publish(String(data="go"))
    bench.start(policy="seer", imagination_rate=20.0, surprise_action="hold", surprise_calm=2)
    bench.until(lambda: any(surprise.settled for surprise in bench.surprises), "does not settle")
    bench.brightness = 200
    bench.until(lambda: bench.chunks[-1].horizon == 0, "no hold")
    count = len(bench.chunks)
    bench.until(lambda: any("surprised: holding" in problem for problem in bench.problems), "not in /diagnostics")
    assert len(bench.chunks) == count
    bench.brightness = 0
    bench.until(lambda: len(bench.chunks) > count, "does not go on")
    assert bench.chunks[count].horizon == 4
    bench.until(lambda: "the world is as expected again" in bench.log.read_text(), "not in the log")


def test_surprise_can_ask_for_a_new_plan(bench: Any) -> None:
    bench.latched.publish(String(data="go"))
    bench.start(policy="seer", imagination_rate=20.0, surprise_action="replan", replan_rate=2.0)
    bench.until(lambda: any(surprise.settled for surprise in bench.surprises), "does not settle")
    bench.brightness = 200
    bench.until(lambda: int(bench.values.get("surprise_replans", 0)) >= 3, "no replan")
    gaps = np.diff([seconds(chunk) for chunk in bench.chunks])
    assert gaps.min() < 0.35, "the chunks only come when they are due, every 0.5 s"


def test_impossible_surprise_action_is_one_line(bench: Any) -> None:
    bench.start(surprise_action="panic")
    assert bench.process is not None
    bench.until(lambda: bench.process.poll() is not None, "the node does not end")
    assert bench.process.returncode == 2
    assert "surprise_action is 'panic'; it may be none, replan, hold" in bench.log.read_text()


def test_late_chunks_are_dropped_and_counted(bench: Any) -> None:
    bench.latched.publish(String(data="go"))
    bench.start(deadline=1e-6)
    bench.until(lambda: int(bench.values.get("chunks_too_old", 0)) >= 2, "not counted")
    assert bench.chunks == []
    assert "a chunk was dropped: its image is" in bench.log.read_text()


def test_latency_is_in_the_diagnostics(bench: Any) -> None:
    bench.latched.publish(String(data="go"))
    bench.start()
    bench.until(lambda: int(bench.values.get("chunks", 0)) >= 3, "no chunks")
    p50 = {stage: float(bench.values[f"{stage}_p50_s"]) for stage in ("waiting", "inference", "publishing", "age")}
    assert 0.0 < p50["age"] < 1.0
    assert float(bench.values["age_p99_s"]) >= p50["age"]
    assert 0.0 < float(bench.values["delay_s"]) < 1.0


def test_when_time_is_set_back_the_policy_begins_anew(bench: Any) -> None:
    bench.latched.publish(String(data="go"))
    bench.start(policy="seer", deadline=100.0)
    bench.until(lambda: len(bench.chunks) >= 2, "no chunks")
    count = len(bench.chunks)
    bench.shift = -20.0
    bench.until(lambda: len(bench.chunks) > count + 2, "no chunks of the earlier time")
    assert seconds(bench.chunks[-1]) < seconds(bench.chunks[0])
