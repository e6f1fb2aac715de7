"""What the console makes of messages: state, latencies, events, modes. Messages are anything with the same fields."""

import json
import math
from types import SimpleNamespace as Message

import pytest

from gr2_tools.console.events import Changes, EventLog
from gr2_tools.console.mode import Mode, Surroundings, controls, mode_of
from gr2_tools.console.overview import Overview
from gr2_tools.console.telemetry import Curve, Latencies, Rate, percentiles

SIMULATION = Surroundings(
    status_sources=("wbc",),
    joint_sources=("sim",),
    services=("/wbc/reset", "/wbc/move_to", "/sim/reset", "/policy/change_state"),
    instruction_listeners=("policy",),
    armed=True,
    state="HOLDING",
)


def stamp(seconds: float) -> Message:
    return Message(sec=int(seconds), nanosec=round(seconds % 1.0 * 1e9))


def status(time: float = 1.0, **given: object) -> Message:
    fields = {
        "header": Message(stamp=stamp(time)),
        "state_name": "TRACKING",
        "reason": "following",
        "armed": True,
        "e_stop": False,
        "session": "s",
        "active_sequence": 5,
        "chunk_remaining": 0.8,
        "path_speed_scale": 1.0,
        "position_error": 0.001,
        "orientation_error": 0.01,
        "joint_tracking_error": 0.002,
        "minimum_distance": math.inf,
        "minimum_distance_pair": "",
        "active_constraints": 0,
        "cycles": 1000,
        "missed_cycles": 3,
        "cycle_time_p50": 0.0004,
        "cycle_time_p99": 0.0009,
        "chunks_accepted": 7,
        "refusal_names": ["stale", "not_finite"],
        "refusal_counts": [0, 0],
        "last_refusal": "",
        "qp_failures": 0,
        "bad_messages": 0,
    }
    return Message(**(fields | given))


def chunk(sequence: int, time: float = 1.0) -> Message:
    return Message(
        header=Message(stamp=stamp(time)), sequence=sequence, horizon=16, dt=0.1, model_id="m", positions=[0.0] * 48
    )


def seen(overview: Overview, time: float = 1.0, arrival: float = 100.0, **given: object) -> None:
    overview.arrived("/wbc_status", 0, arrival, arrival)
    overview.on_status(status(time, **given), arrival)


def test_rate_and_age() -> None:
    rate = Rate()
    assert rate.hertz(0.0) == 0.0
    assert rate.age(0.0) is None
    for i in range(30):
        rate.note(10.0 + 0.1 * i)
    assert rate.hertz(13.0) == pytest.approx(10.0)
    assert rate.age(13.0) == pytest.approx(0.1)
    assert rate.hertz(20.0) == 0.0, "what was long ago is no rate"


def test_latencies_follow_an_image_to_the_command() -> None:
    latencies = Latencies()
    latencies.image(1000, 5.0)
    latencies.image(1000, 5.3)  # the other camera: the first of the two counts
    latencies.command(5.05)  # of the chunk before
    latencies.chunk(1000, 5.12)
    latencies.command(5.10)  # was on its way already
    latencies.command(5.123)
    latencies.command(5.128)
    latencies.chunk(777, 6.0)  # of an image that was never seen
    found = latencies.summary()
    first, second = found["image → chunk"], found["chunk → command"]
    assert first is not None
    assert second is not None
    assert (first.p50, first.count) == (pytest.approx(0.12), 1)
    assert (second.p50, second.count) == (pytest.approx(0.003), 1)


def test_percentiles() -> None:
    assert percentiles([]) is None
    found = percentiles([float(i) for i in range(101)])
    assert found is not None
    assert (found.p50, found.p99, found.count) == (50.0, 99.0, 101)


def test_curve_is_bounded_keeps_peaks_and_begins_anew_when_time_jumps_back() -> None:
    curve = Curve(span=10.0, points=20)
    for i in range(10_000):
        curve.add(0.01 * i, 9.0 if i == 9_700 else 1.0)
    points = curve.recent(100.0)
    assert len(points) <= 21
    assert max(value for _, value in points) == 9.0
    curve.add(1.0, 2.0)
    assert curve.recent(1.0) == [(0.0, 2.0)]


def test_state_is_told_and_not_when_it_is_old() -> None:
    overview = Overview()
    assert overview.frame(100.0)["wbc"]["fresh"] is False
    seen(overview)
    frame = overview.frame(100.2)
    assert (frame["wbc"]["state"], frame["wbc"]["fresh"], frame["time"]) == ("TRACKING", True, 1.0)
    assert frame["wbc"]["distance"] is None
    json.dumps(frame, allow_nan=False)
    seen(overview, position_error=math.nan, chunk_remaining=math.inf)
    json.dumps(overview.frame(100.2), allow_nan=False)
    late = overview.frame(105.0)["wbc"]
    assert late["fresh"] is False
    assert "silent for 5.0 s" in late["reason"]


def test_only_the_chunk_that_is_followed_is_shown() -> None:
    overview = Overview()
    overview.on_chunk(chunk(4))
    overview.on_chunk(chunk(5))
    overview.on_chunk(chunk(6))  # not taken up (yet): the controller follows 5
    seen(overview)
    assert overview.active_chunk(100.1).sequence == 5
    seen(overview, state_name="HOLDING")
    assert overview.active_chunk(100.1) is None
    alone = Overview()  # chunks replayed without a controller
    alone.on_chunk(chunk(9))
    alone.arrived("/trajectory_chunk", 0, 100.0, 100.0)
    assert alone.active_chunk(100.1).sequence == 9
    assert alone.active_chunk(110.0) is None


def test_chunks_that_cannot_be_drawn_are_left_out() -> None:
    overview = Overview()
    for wrong in ({"positions": [0.0] * 47}, {"positions": [math.nan] * 48}, {"dt": 0.0}, {"horizon": 0}):
        overview.on_chunk(Message(**{**vars(chunk(5)), **wrong}))
    seen(overview)
    assert overview.active_chunk(100.1) is None


def test_instructions_and_what_came_of_them() -> None:
    overview = Overview()
    overview.on_instruction("lift  the mug", 1.0)
    outcome = {"instruction": "lift the mug", "detail": "lifted"}
    overview.on_outcome(Message(success=False, elapsed=1.0, **outcome), 2.0)
    overview.on_outcome(Message(success=True, elapsed=3.2, **outcome), 4.0)
    overview.on_outcome(Message(success=True, elapsed=9.9, **outcome), 9.0)
    overview.on_instruction("open the drawer", 10.0)
    overview.on_instruction("", 11.0)
    frame = overview.frame(11.0)
    assert [(said["text"], said["result"]) for said in frame["history"]] == [
        ("open the drawer", "withdrawn"),
        ("lift the mug", "done after 3.2 s"),
    ]
    assert frame["outcome"]["elapsed"] == 3.2, "not the referee's clock, which runs on"


def test_events_are_changes() -> None:
    overview = Overview()
    for i in range(5):
        seen(overview, arrival=100.0 + i)
    seen(overview, state_name="STOPPED", reason="e-stop")
    seen(overview, state_name="STOPPED", reason="e-stop", refusal_counts=[2, 0], last_refusal="stamp is 3 s old")
    texts = [(event["level"], event["text"]) for event in overview.log.newest(10)]
    assert texts == [
        ("warning", "stale +2 (2 in all): stamp is 3 s old"),
        ("error", "STOPPED: e-stop"),
        ("good", "TRACKING: following"),
    ]


def test_health_reports_are_logged_when_they_change() -> None:
    log = EventLog()
    changes = Changes(log)
    for number, level, text in [
        (0, "info", "fine"),
        (1, "warning", "late by 3 ms"),
        (2, "warning", "late by 7 ms"),
        (3, "info", "fine"),
        (4, "warning", "late by 9 ms"),
        (5, "info", "fine"),
        (7, "info", "fine"),
        (8, "warning", "late by 2 ms"),
        (9, "error", "dead"),
    ]:
        changes.condition(float(number), "sim", level, text)
    told = [(event["time"], event["text"]) for event in reversed(log.newest(9))]
    assert told == [(1.0, "late by 3 ms"), (7.0, "fine"), (8.0, "late by 2 ms"), (9.0, "dead")]


def test_modes() -> None:
    assert mode_of(Surroundings()) is Mode.WAITING
    assert mode_of(SIMULATION) is Mode.SIMULATION
    assert mode_of(Surroundings(status_sources=("gr2_player",), joint_sources=("gr2_player",))) is Mode.REPLAY
    assert mode_of(Surroundings(status_sources=("rosbag2_player",))) is Mode.REPLAY
    real = {"status_sources": ("wbc",), "joint_sources": ("joint_state_broadcaster",)}
    assert mode_of(Surroundings(**real, armed=True)) is Mode.ARMED
    assert mode_of(Surroundings(**real, armed=False)) is Mode.DRY_RUN
    assert mode_of(Surroundings(**real, armed=None)) is Mode.UNKNOWN


def allowed(around: Surroundings) -> set[str]:
    return {name for name, control in controls(around).items() if control.enabled}


def test_controls_by_mode() -> None:
    everything = {"stop", "record", "instruct", "home", "scene", "policy"}
    assert allowed(SIMULATION) == everything
    stopped = Surroundings(**{**vars(SIMULATION), "state": "STOPPED"})
    assert allowed(stopped) == everything - {"instruct", "home"} | {"reset"}
    replay = Surroundings(status_sources=("gr2_player",), services=SIMULATION.services, state="STOPPED")
    assert allowed(replay) == {"stop", "record"}
    assert allowed(Surroundings()) == {"stop"}


def test_what_moves_a_real_arm_needs_armed() -> None:
    real = {**vars(SIMULATION), "joint_sources": ("kortex",), "services": ("/wbc/reset", "/wbc/move_to")}
    dry = controls(Surroundings(**{**real, "armed": False}))
    assert not dry["instruct"].enabled
    assert not dry["home"].enabled
    assert "armed:=true" in dry["instruct"].why
    armed = controls(Surroundings(**{**real, "armed": True}))
    assert armed["instruct"].enabled
    assert armed["home"].enabled
    assert armed["scene"].why == "simulation only"
    silent = controls(Surroundings(**{**real, "armed": None, "state": ""}))
    assert silent["stop"].enabled
    assert not silent["instruct"].enabled
    assert not silent["home"].enabled
    assert "armed" in silent["instruct"].why


def test_surprise_is_shown_from_when_it_means_something() -> None:
    overview = Overview()
    fields = {"camera": "head", "score": 0.0, "settled": False}
    overview.on_surprise(Message(header=Message(stamp=stamp(1.0)), **fields))
    seen(overview)
    assert overview.frame(100.1)["curves"]["surprise_head"] == []
    assert "too few" in overview.frame(100.1)["unsettled"]
    overview.on_surprise(Message(header=Message(stamp=stamp(1.0)), **(fields | {"score": 2.0, "settled": True})))
    assert overview.frame(100.1)["curves"]["surprise_head"] == [(0.0, 2.0)]
    assert overview.frame(100.1)["unsettled"] == ""
