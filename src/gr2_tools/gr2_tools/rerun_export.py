"""Convert a bag for Rerun (https://rerun.io): cameras, imagination, chunks, the tool's path, curves and events.

Needs rerun-sdk, which is large and not installed by default:  .venv/bin/pip install 'rerun-sdk>=0.23,<1'

examples:
  gr2 export runs/pick pick.rrd          then:  rerun pick.rrd
  gr2 record -o runs/pick --rerun        records, and converts when it has ended

exit codes:
  0  the file is there
  1  it could not be written
  2  the bag is unusable, or rerun-sdk is not installed
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from gr2_policy.runtime.image import BadImage, to_rgb
from gr2_tools.bag_reader import BagReader
from gr2_tools.bag_types import BagMessage
from gr2_tools.console.overview import seconds
from gr2_tools.console.pictures import jpeg
from gr2_tools.errors import BagError

INSTALL = ".venv/bin/pip install 'rerun-sdk>=0.23,<1'"
QUALITY = 90
AHEAD, TRAIL = (64, 196, 255), (255, 176, 60)
TRAIL_STEP = 0.004  # [m]
LEVELS = {"STOPPED": "ERROR", "DECELERATING": "WARN"}
STATUS_CURVES = ("position_error", "joint_tracking_error", "minimum_distance", "path_speed_scale", "cycle_time_p99")
NANO = 1_000_000_000


class RerunMissing(BagError):
    """rerun-sdk is not installed; the text holds the command that installs it."""


def load_rerun() -> Any:
    """The module ``rerun``.

    Raises:
        RerunMissing: it is not installed.
    """
    if importlib.util.find_spec("rerun") is None:
        raise RerunMissing(f"rerun-sdk is not installed (170 MB, so not by default). Install it with:  {INSTALL}")
    import rerun  # type: ignore[import-not-found]

    return rerun


class Writer:
    """Turns messages into Rerun's archetypes.

    Args:
        rerun: the module.
        recording: the stream to log to.
    """

    def __init__(self, rerun: Any, recording: Any) -> None:
        self._rr = rerun
        self._recording = recording
        self._trail: list[np.ndarray] = []
        self._state = ""
        self.notes: set[str] = set()
        self._by_topic: dict[str, Callable[[Any], None]] = {
            "/head_camera/image_raw": lambda m: self._image("cameras/head", m),
            "/wrist_camera/image_raw": lambda m: self._image("cameras/wrist", m),
            "/imagination/head": lambda m: self._image("imagination/head", m),
            "/imagination/wrist": lambda m: self._image("imagination/wrist", m),
            "/trajectory_chunk": self._chunk,
            "/robot_state": self._robot_state,
            "/joint_states": self._joints,
            "/wbc_status": self._status,
            "/imagination/surprise": self._surprise,
            "/instruction": lambda m: self._text("instruction", m.data or "(withdrawn)", "INFO"),
            "/sim/outcome": self._outcome,
        }
        self._done = False
        recording.log("world", rerun.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)

    @property
    def topics(self) -> set[str]:
        """What is converted."""
        return set(self._by_topic)

    def take(self, message: BagMessage) -> None:
        """Convert one message.

        Raises:
            BagError: it was recorded with a definition that lacks something.
        """
        content = message.portable()
        self._recording.set_time("log_time", timestamp=message.log_time / NANO)
        if hasattr(content, "header"):
            self._recording.set_time("stamp", duration=seconds(content.header.stamp))
        try:
            self._by_topic[message.topic](content)
        except AttributeError as error:
            raise BagError(f"{message.topic} was recorded with another definition: {error}") from error

    def _image(self, entity: str, m: Any) -> None:
        try:
            pixels = to_rgb(m.data, m.height, m.width, m.step, m.encoding)
        except BadImage as bad:
            self.notes.add(f"{entity}: {bad}")
            return
        encoded = jpeg(pixels, max(pixels.shape), QUALITY)
        self._recording.log(entity, self._rr.EncodedImage(contents=encoded, media_type="image/jpeg"))

    def _chunk(self, m: Any) -> None:
        points = np.asarray(m.positions, dtype=float).reshape(-1, 3)
        strips = [points] if len(points) > 1 else []
        self._recording.log("world/chunk", self._rr.LineStrips3D(strips, colors=[AHEAD] * len(strips), radii=0.003))

    def _robot_state(self, m: Any) -> None:
        p = m.tool_pose.position
        tool = np.array([p.x, p.y, p.z])
        self._recording.log("world/tool", self._rr.Points3D([tool], colors=[TRAIL], radii=0.01))
        self._recording.log("gripper/opening", self._rr.Scalars(float(m.gripper_opening)))
        if not self._trail or np.linalg.norm(tool - self._trail[-1]) > TRAIL_STEP:
            self._trail = [*self._trail[-200:], tool]
            if len(self._trail) > 1:
                strip = self._rr.LineStrips3D([np.array(self._trail)], colors=[TRAIL], radii=0.0015)
                self._recording.log("world/trail", strip)

    def _joints(self, m: Any) -> None:
        for name, position in zip(m.name, m.position, strict=False):
            self._recording.log(f"joints/{name}", self._rr.Scalars(float(position)))

    def _status(self, m: Any) -> None:
        for name in STATUS_CURVES:
            value = float(getattr(m, name))
            if np.isfinite(value):
                self._recording.log(f"controller/{name}", self._rr.Scalars(value))
        if m.state_name != self._state:
            self._state = m.state_name
            self._text("controller", f"{m.state_name}: {m.reason}", LEVELS.get(m.state_name, "INFO"))

    def _surprise(self, m: Any) -> None:
        self._recording.log(f"surprise/{m.camera}", self._rr.Scalars(float(m.score)))

    def _outcome(self, m: Any) -> None:
        if m.success and not self._done:
            self._text("referee", f"done: {m.instruction} ({m.detail})", "INFO")
        self._done = bool(m.success)

    def _text(self, source: str, text: str, level: str) -> None:
        self._recording.log("events", self._rr.TextLog(f"{source}: {text}", level=level))


def export(source: Path, target: Path) -> list[str]:
    """Convert a bag; the file has its name only when it is complete.

    Returns:
        notes: what could not be converted, in sentences.

    Raises:
        BagError: the bag cannot be read; RerunMissing: rerun-sdk is not installed.
        OSError: the file cannot be written.
    """
    rerun = load_rerun()
    aside = target.with_name(target.name + ".partial")
    with BagReader(source) as bag:
        recording = rerun.RecordingStream("gr2", recording_id=source.resolve().name)
        columns = (TextColumn("rerun"), BarColumn(), TextColumn("{task.percentage:.0f} %"), TimeRemainingColumn())
        try:
            aside.touch()  # rerun itself does not say why it cannot write
            recording.save(str(aside))
            writer = Writer(rerun, recording)
            names = writer.topics & {topic.name for topic in bag.topics}
            with Progress(*columns, console=Console(stderr=True)) as progress:
                work = progress.add_task("rerun", total=max(1, sum(t.count for t in bag.topics if t.name in names)))
                for message in bag.messages(names):
                    writer.take(message)
                    progress.advance(work)
            recording.flush()
            recording.disconnect()
            aside.rename(target)
        finally:
            aside.unlink(missing_ok=True)
        return sorted(writer.notes) + bag.notes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``gr2 export``."""
    parser.add_argument("bag", type=Path, help="bag folder, or a .mcap or .db3 file")
    parser.add_argument("output", type=Path, help="the file to make, e.g. out.rrd")


def run(args: argparse.Namespace) -> int:
    """Convert; see the module's docstring for the exit codes."""
    if args.output.suffix != ".rrd":
        print(f"gr2 export: {args.output}: Rerun's files are .rrd", file=sys.stderr)
        return 2
    return export_and_tell(args.bag, args.output)


def export_and_tell(bag: Path, output: Path) -> int:
    """Convert, and say how it went; the exit code."""
    try:
        notes = export(bag, output)
    except BagError as error:
        print(f"gr2 export: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"gr2 export: cannot write {output}: {error.strerror or error}", file=sys.stderr)
        return 1
    for note in notes:
        print(f"gr2 export: {note}", file=sys.stderr)
    print(f"rerun: {output}")
    return 0
