"""Make a film of a recorded run: both cameras with the chunk drawn into them, what was imagined, the state in words.

Works for any bag of the stack, from simulation or a real arm. The chunk is drawn where the bag tells where the camera
stood: by /camera_info with /tf_static, or by the simulated scene.

examples:
  gr2 film runs/pick pick.mp4
  gr2 film runs/pick pick.mp4 --rate 20 --start 3 --duration 10

exit codes:
  0  the film is there
  1  it could not be written
  2  the bag or an option is unusable
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any

import av
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from gr2_policy.runtime.image import BadImage, to_rgb
from gr2_sim.parts import DataError
from gr2_tools.bag_reader import BagReader
from gr2_tools.bag_types import BagMessage
from gr2_tools.camera_poses import SimulatedCameras, StaticTransforms
from gr2_tools.console.overview import Overview, seconds
from gr2_tools.errors import BagError
from gr2_tools.film_layout import HEIGHT, WIDTH, Path, compose
from gr2_tools.projection import pinhole

PICTURES = {
    "/head_camera/image_raw": "head",
    "/wrist_camera/image_raw": "wrist",
    "/imagination/head": "head_imagined",
    "/imagination/wrist": "wrist_imagined",
}
INFOS = {"/head_camera/camera_info": "head", "/wrist_camera/camera_info": "wrist"}
TOPICS = {
    *PICTURES,
    *INFOS,
    "/wbc_status",
    "/trajectory_chunk",
    "/instruction",
    "/sim/outcome",
    "/sim/truth",
    "/imagination/surprise",
    "/joint_states",
    "/tf_static",
}
NANO = 1_000_000_000


class Shown:
    """The run as it was at one moment of the bag; messages go in, frames come out."""

    def __init__(self, title: str, imagines: bool) -> None:
        self.overview = Overview()
        self.notes: set[str] = set()
        self._about = {"title": title, "imagines": imagines}
        self._newest: dict[str, Any] = {}
        self._transforms = StaticTransforms()
        self._simulated: SimulatedCameras | None = None

    def take(self, message: BagMessage) -> None:
        """One message of the bag, by the definition in the bag: films outlive changes of messages.

        Raises:
            BagError: it was recorded with a definition that lacks something.
        """
        try:
            self._take(message, message.portable())
        except AttributeError as error:
            raise BagError(f"{message.topic} was recorded with another definition: {error}") from error

    def _take(self, message: BagMessage, content: Any) -> None:
        topic, arrival = message.topic, message.log_time / NANO
        stamp = content.header.stamp if hasattr(content, "header") else None
        nanoseconds = 0 if stamp is None else stamp.sec * NANO + stamp.nanosec
        self.overview.arrived(topic, nanoseconds, arrival, arrival)
        self._newest[topic] = content
        if topic == "/wbc_status":
            self.overview.on_status(content, arrival)
        elif topic == "/trajectory_chunk":
            self.overview.on_chunk(content)
        elif topic == "/instruction":
            self.overview.on_instruction(content.data, arrival)
        elif topic == "/sim/outcome":
            self.overview.on_outcome(content, arrival)
        elif topic == "/imagination/surprise":
            self.overview.on_surprise(content)
        elif topic == "/tf_static":
            self._transforms.add(content)

    def frame(self, now: float) -> np.ndarray:
        """(720, 1280, 3) uint8 RGB at a log time [s]."""
        description = self.overview.frame(now) | self._about
        pictures = {}
        for topic, name in PICTURES.items():
            image = self._newest.get(topic)
            if image is None:
                continue
            try:
                pictures[name] = to_rgb(image.data, image.height, image.width, image.step, image.encoding)
            except BadImage as bad:
                self.notes.add(f"{topic}: {bad}")
        return np.asarray(compose(description, pictures, self._paths(now)))

    def _paths(self, now: float) -> dict[str, Path]:
        chunk = self.overview.active_chunk(now)
        if chunk is None:
            return {}
        points = np.asarray(chunk.positions, dtype=float).reshape(-1, 3)
        elapsed = (self.overview.time() or 0.0) - seconds(chunk.header.stamp)
        found = {}
        for topic, name in INFOS.items():
            info = self._newest.get(topic)
            if info is None:
                continue
            pose = self._pose(name, info.header.frame_id)
            if pose is None:
                self.notes.add(f"the bag does not tell where {info.header.frame_id} stands: no chunk in its picture")
                continue
            try:
                found[name] = Path(pinhole(info, *pose).project(points), int(elapsed / chunk.dt))
            except ValueError as error:
                self.notes.add(f"{topic}: {error}")
        return found

    def _pose(self, camera: str, frame: str) -> tuple[np.ndarray, np.ndarray] | None:
        told = self._transforms.pose(frame)
        truth, joints = self._newest.get("/sim/truth"), self._newest.get("/joint_states")
        if told is not None or truth is None:
            return told
        if self._simulated is None or self._simulated.scene != truth.scene:
            try:
                self._simulated = SimulatedCameras(truth.scene)
            except DataError as error:
                self.notes.add(str(error))
                return None
        if joints is not None:
            self._simulated.move(dict(zip(joints.name, joints.position, strict=False)))
        return self._simulated.pose(camera)


def frames(bag: BagReader, rate: float, start: float, duration: float) -> Iterator[tuple[Shown, int]]:
    """The run at each moment that is filmed: (what is shown, log time [ns]).

    Args:
        rate: frames per second of the bag.
        start, duration: [s] what part of the bag; duration 0 for all of the rest.
    """
    imagines = any(topic.name.startswith("/imagination/") and topic.count for topic in bag.topics)
    title = bag.path.name if bag.path.name != "bag" else bag.path.absolute().parent.name
    shown = Shown(title, imagines)
    first = bag.start + round(start * NANO)
    last = min(bag.end, first + round(duration * NANO)) if duration else bag.end
    step, due = round(NANO / rate), first
    for message in bag.messages(TOPICS & {t.name for t in bag.topics}, None, last + 1):
        while message.log_time > due:
            yield shown, due
            due += step
        shown.take(message)
    yield shown, due


def make_film(source: FilePath, target: FilePath, rate: float, start: float, duration: float) -> list[str]:
    """Film a bag; the file has its name only when it is complete.

    Returns:
        notes: what could not be shown, in sentences.

    Raises:
        BagError: the bag cannot be read, or has nothing to film.
        OSError: the film cannot be written.
    """
    aside = target.with_name(target.name + ".partial")
    with BagReader(source) as bag:
        if not bag.end or not {t.name for t in bag.topics if t.count} & (set(PICTURES) | {"/wbc_status"}):
            raise BagError(f"{source} has neither camera images nor the controller's status: there is nothing to film")
        length = (bag.end - bag.start) / NANO
        if start >= length:
            raise BagError(f"--start {start:g}: the bag is only {length:.1f} s long")
        span = min(length - start, duration or length)
        columns = (TextColumn("film"), BarColumn(), TextColumn("{task.percentage:.0f} %"), TimeRemainingColumn())
        notes: set[str] = set()
        try:
            with (
                av.open(str(aside), "w", format="mp4") as film,
                Progress(*columns, console=Console(stderr=True)) as progress,
            ):
                work = progress.add_task("film", total=max(1, round(span * rate)))
                stream = film.add_stream("libx264", rate=round(rate))
                stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
                stream.options = {"crf": "20", "preset": "veryfast"}
                for shown, moment in frames(bag, rate, start, duration):
                    picture = av.VideoFrame.from_ndarray(shown.frame(moment / NANO), format="rgb24")
                    film.mux(stream.encode(picture))
                    notes = shown.notes
                    progress.advance(work)
                film.mux(stream.encode())
            aside.rename(target)
        finally:
            aside.unlink(missing_ok=True)
        return sorted(notes) + bag.notes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``gr2 film``."""
    parser.add_argument("bag", type=FilePath, help="bag folder, or a .mcap or .db3 file")
    parser.add_argument("film", type=FilePath, help="the film to make, e.g. out.mp4")
    parser.add_argument("--rate", type=int, default=10, help="frames per second (default: %(default)s)")
    parser.add_argument("--start", type=float, default=0.0, metavar="S", help="begin S seconds into the bag")
    parser.add_argument("--duration", type=float, default=0.0, metavar="S", help="film S seconds of it (default: all)")


def run(args: argparse.Namespace) -> int:
    """Make it; see the module's docstring for the exit codes."""
    problem = ""
    if args.film.suffix != ".mp4":
        problem = f"{args.film}: films are .mp4"
    elif not 1 <= args.rate <= 60:
        problem = f"--rate {args.rate}: 1 to 60 frames per second"
    elif args.start < 0.0 or args.duration < 0.0:
        problem = "--start and --duration must not be negative"
    if problem:
        print(f"gr2 film: {problem}", file=sys.stderr)
        return 2
    try:
        notes = make_film(args.bag, args.film, float(args.rate), args.start, args.duration)
    except BagError as error:
        print(f"gr2 film: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"gr2 film: cannot write {args.film}: {error.strerror or error}", file=sys.stderr)
        return 1
    for note in notes:
        print(f"gr2 film: {note}", file=sys.stderr)
    print(f"film: {args.film}")
    return 0
