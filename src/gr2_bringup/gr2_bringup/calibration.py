"""Check the cameras' calibration: the file, how far it is from the drawing, and whether it agrees with what was seen.

examples:
  ./gr2 calibration calibration.yaml                       the file makes sense, and the camera sees the table
  ./gr2 calibration calibration.yaml --seen seen.yaml      measured pixels agree with it, to 3 pixels

A calibration names for each camera its image's frame_id, the frame it is fixed to, its pose there (x right, y down,
z forward) and its intrinsics. What was seen is a list of joint positions, a point, and the pixel it appeared at; how to
take it: docs/real_arm.md. Exit code 0: sound, 1: not, 2: a wrong call.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from gr2_wbc.robot import Robot
from gr2_wbc.robots import load_robot
from gr2_wbc.rotation import matrix_of

CAMERAS = ("head", "wrist")
FEWEST = 6  # observations of a camera
TABLE = np.array([0.45, 0.0, 0.0])  # [m] a place on the table that both are there to see


class BadCalibration(ValueError):
    """A file is not usable; the message names it, the entry, and what is wrong."""


@dataclass(frozen=True, eq=False)
class Camera:
    """One camera.

    Attributes:
        frame: frame_id of its images.
        parent: frame of the robot that it is fixed to.
        position: (3,) in the parent [m].
        quaternion: (4,) x y z w, of the optical frame in the parent.
        size: width and height [pixel].
        matrix: (3, 3) intrinsics [pixel].
        distortion: (k,) k1 k2 p1 p2 k3 of the model plumb_bob; may be empty.
    """

    frame: str
    parent: str
    position: np.ndarray
    quaternion: np.ndarray
    size: tuple[int, int]
    matrix: np.ndarray
    distortion: np.ndarray

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Where points (n, 3) in the parent [m] appear, (n, 2) [pixel]; NaN behind the camera."""
        local = (points - self.position) @ matrix_of(self.quaternion)
        with np.errstate(divide="ignore", invalid="ignore"):
            x, y = (local[:, :2] / np.where(local[:, 2:] > 1e-3, local[:, 2:], np.nan)).T
        k1, k2, p1, p2, k3 = np.pad(self.distortion, (0, 5 - len(self.distortion)))
        square = x * x + y * y
        radial = 1.0 + square * (k1 + square * (k2 + square * k3))
        bent = np.stack(
            (
                x * radial + 2.0 * p1 * x * y + p2 * (square + 2.0 * x * x),
                y * radial + p1 * (square + 2.0 * y * y) + 2.0 * p2 * x * y,
                np.ones_like(x),
            )
        )
        return (self.matrix @ bent)[:2].T


@dataclass(frozen=True, eq=False)
class Seen:
    """One observation.

    Attributes:
        joints: (n,) positions of the arm [rad].
        frame: in which the point is given: the base frame, or one that the arm moves (a mark on the fingers).
        point: (3,) [m].
        pixel: (2,) where the camera saw it.
    """

    joints: np.ndarray
    frame: str
    point: np.ndarray
    pixel: np.ndarray


def load(path: Path, robot: Robot) -> dict[str, Camera]:
    """Read a calibration.

    Raises:
        BadCalibration: it cannot be read, or an entry is missing or makes no sense.
    """
    entries = _mapping(path)
    unknown = set(entries) - set(CAMERAS)
    if unknown or not entries:
        raise BadCalibration(f"{path}: cameras are {', '.join(CAMERAS)}, it has {sorted(map(str, entries)) or 'none'}")
    return {str(name): _camera(f"{path}: {name}", entry, robot) for name, entry in entries.items()}


def load_seen(path: Path, robot: Robot) -> dict[str, list[Seen]]:
    """Read what was seen, by camera.

    Raises:
        BadCalibration: it cannot be read, or an entry is missing or makes no sense.
    """
    found: dict[str, list[Seen]] = {}
    for name, entries in _mapping(path).items():
        if not isinstance(entries, list):
            raise BadCalibration(f"{path}: {name}: expected a list of observations")
        found[str(name)] = []
        for number, entry in enumerate(entries):
            where = f"{path}: {name}, observation {number}"
            if not isinstance(entry, dict):
                raise BadCalibration(f"{where}: expected joints, frame, point, pixel")
            seen = Seen(
                _numbers(where, entry, "joints", robot.dof),
                _frame(where, entry, "frame", robot),
                _numbers(where, entry, "point", 3),
                _numbers(where, entry, "pixel", 2),
            )
            found[str(name)].append(seen)
    return found


def errors(camera: Camera, seen: list[Seen], robot: Robot) -> np.ndarray:
    """Distance (n,) [pixel] between where each point was seen and where the calibration puts it; NaN: not in view."""
    found = []
    for one in seen:
        in_base = robot.frame_pose(one.frame, one.joints).act(one.point)
        in_parent = robot.frame_pose(camera.parent, one.joints).actInv(in_base)
        found.append(float(np.linalg.norm(camera.pixels(in_parent[None])[0] - one.pixel)))
    return np.array(found)


def problems(cameras: Mapping[str, Camera], robot: Robot) -> list[str]:
    """What cannot be right, in words: a camera that does not see the table with the arm in its ready configuration."""
    found = []
    ready = robot.configurations["ready"]
    for name, camera in cameras.items():
        point = robot.frame_pose(camera.parent, ready).actInv(TABLE)
        pixel = camera.pixels(point[None])[0]
        if not (np.isfinite(pixel).all() and (pixel >= 0.0).all() and (pixel <= camera.size).all()):
            place = "behind it" if np.isnan(pixel).any() else f"at pixel {pixel[0]:.0f}, {pixel[1]:.0f}"
            found.append(
                f"{name} camera: with the arm in 'ready', the middle of the table is {place}: is the pose that of the "
                f"optical frame (x right, y down, z forward) in {camera.parent}?"
            )
    return found


def _mapping(path: Path) -> dict[str, object]:
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise BadCalibration(f"{path}: {error}") from error
    if not isinstance(entries, dict):
        raise BadCalibration(f"{path}: expected cameras by name")
    return entries


def _camera(where: str, entry: object, robot: Robot) -> Camera:
    if not isinstance(entry, dict):
        raise BadCalibration(f"{where}: expected frame, parent, position, quaternion, size, intrinsics")
    quaternion = _numbers(where, entry, "quaternion", 4)
    norm = float(np.linalg.norm(quaternion))
    if abs(norm - 1.0) > 1e-3:
        raise BadCalibration(f"{where}: quaternion has norm {norm:.4f}, expected 1 (x y z w)")
    size, focal = _numbers(where, entry, "size", 2), _numbers(where, entry, "intrinsics", 4)
    if not (size >= 16.0).all() or not (0.2 * size.max() < focal[:2]).all() or not (focal[:2] < 5.0 * size.max()).all():
        raise BadCalibration(f"{where}: intrinsics fx fy cx cy = {focal.tolist()} do not fit size {size.tolist()}")
    if not ((focal[2:] > 0.0) & (focal[2:] < size)).all():
        raise BadCalibration(f"{where}: principal point {focal[2:].tolist()} is outside the image {size.tolist()}")
    bent = np.array(entry.get("distortion", []), dtype=float)
    if bent.ndim != 1 or len(bent) > 5 or not np.isfinite(bent).all():
        raise BadCalibration(f"{where}: distortion has {bent.size} numbers, at most 5 are known (k1 k2 p1 p2 k3)")
    frame = entry.get("frame")
    if not isinstance(frame, str) or not frame:
        raise BadCalibration(f"{where}: frame is {frame!r}, expected the frame_id of the images")
    return Camera(
        frame,
        _frame(where, entry, "parent", robot),
        _numbers(where, entry, "position", 3),
        quaternion / norm,
        (int(size[0]), int(size[1])),
        np.array([[focal[0], 0.0, focal[2]], [0.0, focal[1], focal[3]], [0.0, 0.0, 1.0]]),
        bent,
    )


def _numbers(where: str, entry: Mapping[str, object], name: str, count: int) -> np.ndarray:
    try:
        values = np.array(entry[name], dtype=float)
    except (KeyError, TypeError, ValueError) as error:
        raise BadCalibration(f"{where}: {name} is missing or holds no numbers") from error
    if values.shape != (count,) or not np.isfinite(values).all():
        raise BadCalibration(f"{where}: {name} is {values.tolist()}, expected {count} finite numbers")
    return values


def _frame(where: str, entry: Mapping[str, object], name: str, robot: Robot) -> str:
    frame = str(entry.get(name, ""))
    try:
        robot.frame_on_joint(frame)
    except KeyError as error:
        raise BadCalibration(f"{where}: {name} is '{frame}', which is no frame of {robot.robot_id}") from error
    return frame


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``gr2 calibration``."""
    parser.add_argument("file", type=Path, help="the calibration")
    parser.add_argument("--seen", type=Path, help="what the cameras saw")
    parser.add_argument("--limit", type=float, default=3.0, help="largest root mean square [pixel] (default: 3)")
    parser.add_argument("--robot", default="gen3_2f85", help="name or YAML file of the robot (default: gen3_2f85)")


def run(args: argparse.Namespace) -> int:
    """Check; see the module's docstring for the exit codes."""
    robot = load_robot(args.robot)
    try:
        cameras = load(args.file, robot)
        seen = load_seen(args.seen, robot) if args.seen else {}
    except BadCalibration as error:
        print(f"gr2 calibration: {error}", file=sys.stderr)
        return 2
    found = problems(cameras, robot)
    for name, observations in seen.items():
        if name not in cameras:
            found.append(f"{name} camera: was seen with, but is not in {args.file}")
            continue
        away = errors(cameras[name], observations, robot)
        rms = float(np.sqrt(np.mean(away**2))) if len(away) else float("nan")
        worst_away = max(away, default=0.0)
        print(f"{name} camera: {len(away)} observations, {rms:.2f} pixel root mean square, worst {worst_away:.2f}")
        if len(away) < FEWEST:
            found.append(f"{name} camera: {len(away)} observations are too few, take {FEWEST} or more, far apart")
        elif not rms <= args.limit:
            worst = int(np.argmax(np.where(np.isnan(away), np.inf, away)))
            found.append(
                f"{name} camera: {rms:.2f} pixels are more than {args.limit:g}; observation {worst} is the worst. One "
                "bad: a slip. All bad: the camera has moved, or the pose is of another frame: calibrate anew"
            )
    for problem in found:
        print(f"gr2 calibration: {problem}", file=sys.stderr)
    if not found:
        print(f"{args.file}: sound ({', '.join(cameras)})")
    return int(bool(found))
