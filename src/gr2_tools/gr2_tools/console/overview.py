"""Everything the console knows at this moment, and how it is told to the page. No ROS in here: messages are looked at,
not imported, so tests hand in anything with the same fields.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from gr2_tools.console.events import Changes, EventLog
from gr2_tools.console.mode import STALE, Surroundings, controls, mode_of
from gr2_tools.console.telemetry import Curve, Latencies, Rate

EVENTS_SHOWN = 60
HISTORY_KEPT = 12
CHUNKS_KEPT = 8
CURVES = {
    "surprise_head": "surprise, head",
    "surprise_wrist": "surprise, wrist",
    "joint_tracking_error": "joint tracking error [mrad]",
    "position_error": "path error [mm]",
    "minimum_distance": "nearest pair [mm]",
}
STATE_LEVEL = {"STOPPED": "error", "DECELERATING": "warning", "TRACKING": "good", "HOLDING": "info", "IDLE": "info"}
_DIAGNOSTIC_LEVELS = ("info", "warning", "error", "warning")


@dataclass
class Said:
    """An instruction and what came of it."""

    time: float
    text: str
    result: str = ""


class Overview:
    """Collects messages; :meth:`frame` is what the page shows.

    Args:
        tasks: instructions to offer.
    """

    def __init__(self, tasks: Iterable[str] = ()) -> None:
        self.log = EventLog()
        self.rates: dict[str, Rate] = {}
        self.latencies = Latencies()
        self.curves = {name: Curve() for name in CURVES}
        self.tasks = list(tasks)
        self.graph = Surroundings()  # what the ROS graph shows, a second old at most
        self.status: Any = None
        self.outcome: Any = None
        self.instruction = ""
        self.policy: dict[str, str] = {}
        self._changes = Changes(self.log)
        self._history: deque[Said] = deque(maxlen=HISTORY_KEPT)
        self._chunks: deque[Any] = deque(maxlen=CHUNKS_KEPT)
        self._session: str | None = None
        self._done_after = 0.0
        self._unsettled = ""

    # --- what comes in; `arrival` is system time [s] ---

    def arrived(self, topic: str, stamp: int, arrival: float, sent: float) -> None:
        """Any message, before its content is looked at."""
        self.rates.setdefault(topic, Rate()).note(arrival)
        if topic.endswith("/image_raw"):
            self.latencies.image(stamp, arrival)
        elif topic == "/trajectory_chunk":
            self.latencies.chunk(stamp, arrival)
        elif topic == "/joint_commands":
            self.latencies.command(sent or arrival)

    def on_status(self, status: Any, arrival: float) -> None:
        """gr2_msgs/WbcStatus."""
        before, self.status = self.status, status
        time = seconds(status.header.stamp)
        for name in ("joint_tracking_error", "position_error", "minimum_distance"):
            value = float(getattr(status, name))
            if math.isfinite(value):
                self.curves[name].add(time, 1e3 * value)
        if before is None or before.state_name != status.state_name:
            level = STATE_LEVEL.get(status.state_name, "warning")
            self.log.repeatable(arrival, level, "controller", f"{status.state_name}: {status.reason}")
        refusals = dict(zip(status.refusal_names, (int(n) for n in status.refusal_counts), strict=False))
        self._changes.counters(arrival, "chunks refused", refusals, status.last_refusal)
        self._changes.counters(arrival, "controller ", {"QP failures": int(status.qp_failures)})
        self._changes.counters(arrival, "controller", {"bad messages": int(status.bad_messages)})
        if self._session is not None and status.session != self._session:
            self.log.repeatable(
                arrival, "info", "controller", f"session {status.session}" if status.session else "no policy session"
            )
        self._session = status.session

    def on_chunk(self, chunk: Any) -> None:
        """gr2_msgs/TrajectoryChunk; one that cannot be drawn is left out (the controller says why it refuses it)."""
        whole = len(chunk.positions) == 3 * chunk.horizon and math.isfinite(chunk.dt) and chunk.dt > 0.0
        if chunk.horizon and whole and np.isfinite(chunk.positions).all():
            self._chunks.append(chunk)
            self.policy["model"] = chunk.model_id

    def on_instruction(self, text: str, arrival: float) -> None:
        """What somebody said."""
        text = " ".join(text.split())[:200]
        self.instruction = text
        if self._history and not self._history[-1].result:
            self._history[-1].result = "replaced" if text else "withdrawn"
        if text:
            self._history.append(Said(arrival, text))
        self.log.repeatable(arrival, "operator", "instruction", f"“{text}”" if text else "withdrawn")

    def on_outcome(self, outcome: Any, arrival: float) -> None:
        """gr2_msgs/TaskOutcome."""
        before, self.outcome = self.outcome, outcome
        if not outcome.success or (before is not None and before.success and before.elapsed <= outcome.elapsed):
            return
        self._done_after = outcome.elapsed  # the referee's clock runs on
        text = f"done after {outcome.elapsed:.1f} s"
        self.log.repeatable(arrival, "good", "referee", f"“{outcome.instruction}” {text}")
        if self._history and self._history[-1].text == outcome.instruction:
            self._history[-1].result = text

    def on_surprise(self, surprise: Any) -> None:
        """gr2_msgs/Surprise."""
        curve = self.curves.get(f"surprise_{surprise.camera}")
        self._unsettled = "" if surprise.settled else "learning what is usual: too few comparisons yet"
        if curve is not None and surprise.settled and math.isfinite(surprise.score):
            curve.add(seconds(surprise.header.stamp), float(surprise.score))

    def on_diagnostics(self, name: str, level: int, message: str, values: Mapping[str, str], arrival: float) -> None:
        """One status of /diagnostics; level 0 ok, 1 warning, 2 error, 3 stale."""
        if name != "wbc: control":  # the controller's state, which its status tells sooner
            self._changes.condition(arrival, name, _DIAGNOSTIC_LEVELS[min(level, 3)], message)
        if name.endswith(": runtime"):
            self.policy["state"] = message
            for key in ("policy", "inference_p50_s", "inference_p99_s", "chunk_age_s"):
                if values.get(key):
                    self.policy[key] = values[key]

    # --- what is told ---

    def active_chunk(self, now: float) -> Any:
        """The chunk that the controller follows; the newest one where there is no controller; None if none is."""
        if self.fresh_status(now) is None:
            rate = self.rates.get("/trajectory_chunk")
            recent = rate is not None and (rate.age(now) or 0.0) < STALE
            return self._chunks[-1] if self._chunks and recent else None
        if self.status.state_name not in ("TRACKING", "DECELERATING"):
            return None
        wanted = int(self.status.active_sequence)
        return next((c for c in reversed(self._chunks) if int(c.sequence) == wanted), None)

    def fresh_status(self, now: float) -> Any:
        """The controller's status, unless it is too old to be true."""
        rate = self.rates.get("/wbc_status")
        age = rate.age(now) if rate is not None else None
        return self.status if age is not None and age < STALE else None

    def around(self, now: float) -> Surroundings:
        """What the graph shows, with what the controller says this moment."""
        status = self.fresh_status(now)
        if status is None:
            return replace(self.graph, armed=None, state="")
        return replace(self.graph, armed=bool(status.armed), state=str(status.state_name))

    def time(self) -> float | None:
        """Newest stamp [s]: simulation time, the bag's, or the system's."""
        return None if self.status is None else seconds(self.status.header.stamp)

    def frame(self, now: float) -> dict[str, Any]:
        """Everything but the pictures, ready for JSON."""
        around = self.around(now)
        mode = mode_of(around)
        time = self.time()
        return {
            "mode": {"name": mode.name, "text": mode.value},
            "time": time,
            "now": now,
            "wbc": self._wbc(now),
            "chunk": self._chunk(now),
            "rates": [
                [name, round(rate.hertz(now), 1), _rounded(rate.age(now)), rate.count]
                for name, rate in sorted(self.rates.items())
            ],
            "latencies": {
                name: None if found is None else [1e3 * found.p50, 1e3 * found.p99, found.count]
                for name, found in self.latencies.summary().items()
            },
            "policy": self.policy,
            "unsettled": self._unsettled,
            "instruction": self.instruction,
            "outcome": self._outcome(),
            "history": [asdict(said) for said in reversed(self._history)],
            "events": self.log.newest(EVENTS_SHOWN),
            "controls": {name: [c.enabled, c.why] for name, c in controls(around).items()},
            "curves": {name: curve.recent(time) if time is not None else [] for name, curve in self.curves.items()},
        }

    def _wbc(self, now: float) -> dict[str, Any]:
        rate = self.rates.get("/wbc_status")
        if rate is None or self.status is None:
            return {"state": "", "reason": "no controller has reported yet", "fresh": False}
        s, age = self.status, rate.age(now) or 0.0
        fresh = age < STALE
        numbers = {
            "remaining": s.chunk_remaining,
            "path_speed": s.path_speed_scale,
            "position_error": 1e3 * s.position_error,
            "orientation_error": math.degrees(s.orientation_error),
            "tracking_error": 1e3 * s.joint_tracking_error,
            "distance": 1e3 * s.minimum_distance,
            "cycle_p50": 1e3 * s.cycle_time_p50,
            "cycle_p99": 1e3 * s.cycle_time_p99,
        }
        return {
            "state": s.state_name,
            "reason": s.reason if fresh else f"silent for {age:.1f} s; last: {s.state_name}, {s.reason}",
            "fresh": fresh,
            "armed": bool(s.armed),
            "e_stop": bool(s.e_stop),
            "sequence": int(s.active_sequence),
            "pair": s.minimum_distance_pair,
            "constraints": int(s.active_constraints),
            "cycles": int(s.cycles),
            "missed": int(s.missed_cycles),
            "accepted": int(s.chunks_accepted),
            "refused": sum(int(n) for n in s.refusal_counts),
            "qp_failures": int(s.qp_failures),
        } | {name: _finite(value) for name, value in numbers.items()}

    def _chunk(self, now: float) -> dict[str, Any] | None:
        chunk = self.active_chunk(now)
        if chunk is None:
            return None
        return {"sequence": int(chunk.sequence), "model": chunk.model_id, "length": float(chunk.dt * chunk.horizon)}

    def _outcome(self) -> dict[str, Any] | None:
        outcome = self.outcome
        if outcome is None or not outcome.instruction:
            return None
        return {
            "instruction": outcome.instruction,
            "success": bool(outcome.success),
            "elapsed": _finite(self._done_after if outcome.success else outcome.elapsed),
            "detail": outcome.detail,
        }


def seconds(stamp: Any) -> float:
    """builtin_interfaces/Time -> [s]."""
    return float(stamp.sec) + 1e-9 * float(stamp.nanosec)


def _finite(value: float) -> float | None:
    """JSON knows no infinity."""
    return float(value) if math.isfinite(value) else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
