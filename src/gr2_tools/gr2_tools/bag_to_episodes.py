"""Recordings of a running stack become episodes: one for each instruction in a bag.

Frames are the head camera's images; what belongs to each is found by stamp, as the running policy finds it, so an
episode holds exactly what the policy saw. Nothing is resampled: frames that are missing, late or too far from what was
measured beside them are reported, and past a bound the episode is rejected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gr2_policy import conversions
from gr2_policy.data.episode import Episode
from gr2_policy.instruction import clean
from gr2_policy.runtime.image import BadImage
from gr2_policy.runtime.observation_buffer import StateSample
from gr2_tools.bag_reader import BagReader
from gr2_tools.errors import BagError

INSTRUCTION, STATE, GRIPPER, CHUNK, OUTCOME = (
    "/instruction",
    "/robot_state",
    "/gripper_command",
    "/trajectory_chunk",
    "/sim/outcome",
)


@dataclass(frozen=True)
class Alignment:
    """How far apart things may be.

    Attributes:
        cameras: views and their topics; the first sets the pace.
        every: only each so-many-th frame is taken.
        camera_skew: between the images of one instant [s].
        state_skew: between image and robot state [s].
        jitter: of the time between frames, as a share of it, that is not worth a word.
        longest_gap: between frames, in periods; longer, and the episode is rejected.
        most_missing: share of the frames without a partner; more, and the episode is rejected.
        shortest: frames of an episode.
    """

    cameras: tuple[tuple[str, str], ...] = (("head", "/head_camera/image_raw"), ("wrist", "/wrist_camera/image_raw"))
    every: int = 1
    camera_skew: float = 0.02
    state_skew: float = 0.05
    jitter: float = 0.2
    longest_gap: float = 2.5
    most_missing: float = 0.05
    shortest: int = 10


@dataclass
class Conversion:
    """What became of a bag.

    Attributes:
        fps: of its frames; 0 if there are none.
        episodes: what it holds.
        reports: gaps, skews and rejections, in words.
        rejected: number of instructions whose recording cannot be used.
    """

    fps: int = 0
    episodes: list[Episode] = field(default_factory=list)
    reports: list[str] = field(default_factory=list)
    rejected: int = 0


class _Unusable(Exception):
    """An episode is rejected; the text says why."""


@dataclass
class _Take:
    """All that was recorded while one instruction held, in the order of the recording."""

    instruction: str
    images: dict[str, list[tuple[float, np.ndarray]]]
    states: list[StateSample] = field(default_factory=list)
    closed: list[tuple[float, float]] = field(default_factory=list)
    grips: list[tuple[int, float]] = field(default_factory=list)
    chunks: dict[int, Any] = field(default_factory=dict)
    succeeded: float | None = None


def convert(path: Path, alignment: Alignment | None = None) -> Conversion:
    """The episodes of a bag.

    Raises:
        NotABag: the file cannot be read.
        BagError: it lacks a topic that is needed.
    """
    alignment = alignment or Alignment()
    result = Conversion()
    takes = _read(path, alignment, result)
    rates = [_rate(take, alignment) for take in takes]
    known = [rate for rate in rates if rate]
    result.fps = round(float(np.median(known))) if known else 0
    for number, take in enumerate(takes):
        name = f"{path.name}, instruction {number + 1} '{take.instruction}'"
        try:
            episode = _assemble(take, alignment, result, name)
        except _Unusable as reason:
            result.rejected += 1
            result.reports.append(f"{name}: rejected: {reason}")
            continue
        result.episodes.append(episode)
    return result


def _read(path: Path, alignment: Alignment, result: Conversion) -> list[_Take]:
    topics = {topic: view for view, topic in alignment.cameras}
    with BagReader(path) as bag:
        have = {topic.name for topic in bag.topics}
        lacking = [topic for topic in (INSTRUCTION, STATE, *topics) if topic not in have]
        if lacking:
            raise BagError(f"{path} has no {', '.join(lacking)}: it cannot become demonstrations")
        takes: list[_Take] = []
        take: _Take | None = None
        for item in bag.messages([INSTRUCTION, STATE, GRIPPER, CHUNK, OUTCOME, *topics]):
            message = item.message()
            if item.topic == INSTRUCTION:
                text = clean(message.data)
                if take is None or text != take.instruction:
                    take = _Take(text, {view: [] for view in topics.values()}) if text else None
                    takes += [take] if take else []
                continue
            if take is not None:
                _sort(take, item.topic, topics, message, item.log_time, result)
        result.reports += [f"{path.name}: {note}" for note in bag.notes]
    return takes


def _sort(take: _Take, topic: str, views: dict[str, str], message: Any, log_time: int, result: Conversion) -> None:
    """Put a message where it belongs."""
    try:
        if topic in views:
            stamp, picture = conversions.image(message, None)
            take.images[views[topic]].append((stamp, picture))
            if topic == next(iter(views)):
                take.grips.append((log_time, np.nan))  # a mark: the command in force at this frame
        elif topic == STATE:
            state = conversions.robot_state(message)
            take.states.append(state)
            take.closed.append((state.stamp, float(bool(message.gripper_closed))))
        elif topic == GRIPPER:
            take.grips.append((log_time, float(message.data)))
        elif topic == CHUNK and message.horizon:
            take.chunks[_nanoseconds(conversions.seconds(message.header.stamp))] = message
        elif (
            topic == OUTCOME and message.success and take.succeeded is None and message.instruction == take.instruction
        ):
            take.succeeded = conversions.seconds(message.header.stamp)
    except (BadImage, ValueError) as error:
        result.reports.append(f"'{take.instruction}': a message of {topic} was left out: {error}")


def _rate(take: _Take, alignment: Alignment) -> float:
    stamps = [stamp for stamp, _ in next(iter(take.images.values()))][:: alignment.every]
    return 1.0 / float(np.median(np.diff(stamps))) if len(stamps) > 2 else 0.0


def _assemble(take: _Take, alignment: Alignment, result: Conversion, name: str) -> Episode:
    lead, *others = [view for view, _ in alignment.cameras]
    frames = take.images[lead][:: alignment.every]
    if len(frames) < alignment.shortest:
        raise _Unusable(f"{len(frames)} frames of '{lead}', at least {alignment.shortest} are needed")
    stamps = np.array([stamp for stamp, _ in frames])
    partners: dict[str, list[int]] = {}
    sources = [(view, [s for s, _ in take.images[view]], alignment.camera_skew) for view in others]
    sources.append(("state", [state.stamp for state in take.states], alignment.state_skew))
    whole = np.ones(len(frames), bool)
    for source, times, bound in sources:
        if not times:
            raise _Unusable(f"nothing of '{source}' was recorded")
        nearest = _nearest(np.array(times), stamps)
        skew = np.abs(np.array(times)[nearest] - stamps)
        far = skew > bound
        if far.any():
            worst = f"up to {1e3 * skew.max():.0f} ms, allowed are {1e3 * bound:.0f} ms"
            result.reports.append(
                f"{name}: {int(far.sum())} of {len(frames)} frames are too far from '{source}' ({worst})"
            )
        whole &= ~far
        partners[source] = nearest.tolist()
    missing = 1.0 - float(whole.mean())
    if missing > alignment.most_missing:
        raise _Unusable(f"{100 * missing:.0f} % of the frames have no partner within the bounds")
    chosen = np.flatnonzero(whole)
    _check_gaps(stamps[chosen], 1.0 / result.fps, alignment, result, name)
    return _episode(take, result.fps, lead, others, partners, chosen.tolist(), alignment.every)


def _check_gaps(stamps: np.ndarray, period: float, alignment: Alignment, result: Conversion, name: str) -> None:
    steps = np.diff(stamps)
    if not (steps > 0.0).all():
        raise _Unusable(f"stamps do not increase: {1e3 * steps.min():.0f} ms from one frame to the next")
    late = np.abs(steps - period) > alignment.jitter * period
    if late.any():
        result.reports.append(
            f"{name}: {int(late.sum())} of {len(steps)} steps are not {1e3 * period:.0f} ms long,"
            f" but {1e3 * steps.min():.0f} … {1e3 * steps.max():.0f} ms"
        )
    if steps.max() > alignment.longest_gap * period:
        raise _Unusable(f"a gap of {1e3 * steps.max():.0f} ms, {steps.max() / period:.1f} periods")


def _episode(
    take: _Take,
    fps: int,
    lead: str,
    others: Sequence[str],
    partners: dict[str, list[int]],
    chosen: Sequence[int],
    every: int,
) -> Episode:
    """The last frame only tells where the arm went: it has no action of its own."""
    grips = _grips(take)[::every] if any(not np.isnan(value) for _, value in take.grips) else None
    states = np.stack([_pose(take.states[partners["state"][i]]) for i in chosen])
    commands = np.array([take.closed[partners["state"][i]][1] for i in chosen])
    if grips is not None:
        commands = np.array([grips[i] for i in chosen])
    actions = np.column_stack([states[1:, :7], commands[1:]])
    images = {lead: np.stack([take.images[lead][i * every][1] for i in chosen[:-1]])}
    for view in others:
        images[view] = np.stack([take.images[view][partners[view][i]][1] for i in chosen[:-1]])
    stamps = np.array([take.images[lead][i * every][0] for i in chosen])
    success = -1
    if take.succeeded is not None:
        success = min(int(np.searchsorted(stamps, take.succeeded)), len(actions) - 1)
    return Episode(
        instruction=take.instruction,
        task="",
        seed=-1,
        stamps=stamps[:-1],
        images=images,
        states=states[:-1],
        actions=actions,
        joints=np.stack([take.states[partners["state"][i]].joint_positions for i in chosen[:-1]]),
        chunks=_chunks(take, stamps[:-1], 1.0 / fps),
        success_frame=success,
    )


def _grips(take: _Take) -> list[float]:
    """The gripper command in force at each frame; before the first one, the gripper is where it was."""
    force = take.closed[0][1] if take.closed else 0.0
    found = []
    for _, value in take.grips:
        if np.isnan(value):
            found.append(force)
        else:
            force = value
    return found


def _chunks(take: _Take, stamps: np.ndarray, period: float) -> np.ndarray | None:
    """The chunk computed from each frame; None unless every frame has one, with poses a period apart."""
    found = [take.chunks[key] for stamp in stamps if (key := _nanoseconds(stamp)) in take.chunks]
    if len(found) < len(stamps) or any(abs(chunk.dt - period) > 1e-6 for chunk in found):
        return None
    if len({int(chunk.horizon) for chunk in found}) != 1:
        return None
    return np.stack(
        [
            np.column_stack(
                [np.reshape(chunk.positions, (-1, 3)), np.reshape(chunk.orientations, (-1, 4)), chunk.gripper]
            )
            for chunk in found
        ]
    )


def _pose(state: StateSample) -> np.ndarray:
    return np.array([*state.tool_position, *state.tool_orientation, state.gripper])


def _nearest(times: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    order = np.argsort(times, kind="stable")
    after = np.searchsorted(times[order], wanted).clip(1, max(len(times) - 1, 1))
    if len(times) == 1:
        return np.zeros(len(wanted), int)
    before = after - 1
    nearer = np.abs(times[order][before] - wanted) <= np.abs(times[order][after] - wanted)
    return order[np.where(nearer, before, after)]


def _nanoseconds(stamp: float) -> int:
    return round(stamp * 1e9)
