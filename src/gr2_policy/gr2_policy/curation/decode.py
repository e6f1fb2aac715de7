"""Videos as streams of moments: a thumbnail of every picture, and a full picture at each tick of a fixed rate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import av
import numpy as np

from gr2_policy.curation.sources import Source
from gr2_policy.data.video import VideoError

THUMB = (64, 36)
"""Width and height [px] of thumbnails."""
LARGEST = 8192
"""Longest edge [px] that is decoded."""


@dataclass(frozen=True)
class Moment:
    """One picture of a video.

    Attributes:
        time: since the beginning of the source [s].
        thumb: (36, 64, 3) uint8 RGB.
        picture: (size, size, 3) uint8 RGB, the middle of it; None between ticks.
        ticks: number of ticks that this picture stands for: more than one in a video slower than the rate.
    """

    time: float
    thumb: np.ndarray
    picture: np.ndarray | None
    ticks: int


def moments(source: Source, fps: int, size: int) -> Iterator[Moment]:
    """All pictures of a source in order, as the ticks k / fps [s] find them: each takes the latest picture there is.

    Raises:
        VideoError: the file cannot be read, or not further than it was.
    """
    try:
        with av.open(source.path, metadata_errors="replace") as container:
            if not container.streams.video:
                raise VideoError(f"{source.path} holds no video")
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            yield from _decoded(container, stream, source, fps, size)
    except VideoError:
        raise
    except (av.FFmpegError, OSError, ValueError, ArithmeticError) as error:  # damaged headers lead to all of these
        cause = getattr(error, "strerror", None) or error
        raise VideoError(f"{source.path} cannot be read: {cause}") from error


def _decoded(
    container: av.container.InputContainer, stream: av.VideoStream, source: Source, fps: int, size: int
) -> Iterator[Moment]:
    base, rate = stream.time_base, stream.average_rate
    if base is None or not rate:
        raise VideoError(f"{source.path} gives no time base or frame rate")
    start = float((stream.start_time or 0) * base)
    if source.begin > 0.0:
        container.seek(int((source.begin + start) / base), stream=stream)
    period, tick, waiting = 1.0 / float(rate), 0, None
    for number, frame in enumerate(container.decode(stream)):
        if max(frame.width, frame.height) > LARGEST:
            raise VideoError(f"{source.path} is {frame.width}x{frame.height}, at most {LARGEST} px are decoded")
        time = (float(frame.pts * base) - start if frame.pts is not None else number * period) - source.begin
        if time < -0.25 * period:
            continue
        if source.end is not None and time > source.end - source.begin - 0.25 * period:
            break
        if waiting is not None:
            yield _moment(*waiting, until=time, tick=tick, fps=fps, size=size)
            tick = max(tick, _ticks_before(time, fps))
        waiting = (frame, max(time, 0.0))
    if waiting is not None:
        yield _moment(*waiting, until=waiting[1] + period, tick=tick, fps=fps, size=size)


def _ticks_before(time: float, fps: int) -> int:
    """Number of ticks 0, 1/fps, ... before a time."""
    return max(0, int(np.ceil(time * fps - 1e-6)))


def _moment(frame: av.VideoFrame, time: float, until: float, tick: int, fps: int, size: int) -> Moment:
    ticks = max(0, _ticks_before(until, fps) - tick)
    thumb = frame.reformat(width=THUMB[0], height=THUMB[1], format="rgb24", interpolation="AREA").to_ndarray()
    picture = _square(frame, size) if ticks else None
    return Moment(time, thumb, picture, ticks)


def _square(frame: av.VideoFrame, size: int) -> np.ndarray:
    """The central square, (size, size, 3)."""
    short = min(frame.width, frame.height)
    width = max(size, round(frame.width * size / short))
    height = max(size, round(frame.height * size / short))
    whole = frame.reformat(width=width, height=height, format="rgb24", interpolation="AREA").to_ndarray()
    top, left = (height - size) // 2, (width - size) // 2
    return np.ascontiguousarray(whole[top : top + size, left : left + size])
