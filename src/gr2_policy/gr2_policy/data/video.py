"""Frames to video files and back (PyAV, which carries its own FFmpeg).

The default is lossless: H.264 in RGB at quantiser 0. What a policy is trained on is then, pixel by pixel, what it sees
when it runs, and the unchanging part of a static camera's picture costs almost nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np


class VideoError(ValueError):
    """A video file cannot be written or read. The message names it."""


@dataclass(frozen=True)
class VideoFormat:
    """How frames are stored.

    Attributes:
        quality: 0: lossless; otherwise the constant rate factor of H.264 (18 hardly visible, 28 visible).
        keyframe_every: frames; a random access decodes at most this many.
    """

    quality: int = 0
    keyframe_every: int = 10

    def __post_init__(self) -> None:
        if not 0 <= self.quality <= 51 or self.keyframe_every < 1:
            raise ValueError(f"quality must be 0 ... 51 and keyframe_every at least 1, got {self}")

    @property
    def codec(self) -> str:
        """FFmpeg's name of the encoder."""
        return "libx264rgb" if self.quality == 0 else "libx264"

    @property
    def pixel_format(self) -> str:
        """FFmpeg's name of the pixel format."""
        return "rgb24" if self.quality == 0 else "yuv420p"

    def options(self) -> dict[str, str]:
        """Options of the encoder. No B-frames: the order of frames is that of their times."""
        rate = {"qp": "0"} if self.quality == 0 else {"crf": str(self.quality)}
        return rate | {"preset": "veryfast", "g": str(self.keyframe_every), "bf": "0", "threads": "1"}


def write_video(path: Path, frames: Sequence[np.ndarray], fps: int, form: VideoFormat | None = None) -> None:
    """Write frames (height, width, 3) uint8 RGB to an MP4, aside and renamed.

    Raises:
        VideoError: no frames, sizes that differ, odd sizes with a lossy format, or a disk that does not take them.
    """
    form = form or VideoFormat()
    if not frames:
        raise VideoError(f"{path}: there are no frames to write")
    height, width = frames[0].shape[:2]
    if form.quality and (height % 2 or width % 2):
        raise VideoError(f"{path}: {width}x{height} frames cannot be stored with loss: the sides must be even")
    aside = path.with_name(path.name + ".tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with av.open(str(aside), "w", format="mp4") as output:
            stream = output.add_stream(form.codec, fps, options=form.options())
            assert isinstance(stream, av.VideoStream)
            stream.pix_fmt, stream.width, stream.height = form.pixel_format, width, height
            for frame in frames:
                if frame.shape != (height, width, 3) or frame.dtype != np.uint8:
                    raise VideoError(f"{path}: a frame has shape {frame.shape}, the first one ({height}, {width}, 3)")
                picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
                for packet in stream.encode(picture):
                    output.mux(packet)
            for packet in stream.encode():
                output.mux(packet)
        os.replace(aside, path)
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"{path} cannot be written: {error}") from error
    finally:
        aside.unlink(missing_ok=True)


def read_video(path: Path, first: int = 0, count: int | None = None) -> np.ndarray:
    """Frames (n, height, width, 3) uint8 RGB of a video, from the one of this number on.

    Raises:
        VideoError: it cannot be read, or ends before.
    """
    frames = list(_decode(path, first, count))
    if not frames or (count is not None and len(frames) < count):
        wanted = "some frames" if count is None else f"{count} frames"
        raise VideoError(f"{path} ends early: {wanted} from {first} on were asked for, {len(frames)} are there")
    return np.stack(frames)


def _decode(path: Path, first: int, count: int | None) -> Iterator[np.ndarray]:
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise VideoError(f"{path} holds no video")
            stream = container.streams.video[0]
            rate, base = stream.average_rate, stream.time_base
            if rate is None or base is None:
                raise VideoError(f"{path} gives no frame rate")
            if first:
                container.seek(int(first / rate / base), stream=stream)
            given = 0
            for frame in container.decode(stream):
                if frame.pts is None or round(frame.pts * base * rate) < first:
                    continue
                if count is not None and given >= count:
                    return
                yield frame.to_ndarray(format="rgb24")
                given += 1
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"{path} cannot be read: {error}") from error
