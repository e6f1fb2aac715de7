"""One frame of a film: cameras with the chunk drawn into them, what was imagined beside them, state in words below.

Everything is drawn from the same description that the console's page gets (``Overview.frame``). No ROS in here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 1280, 720
CAMERA, IMAGINED = 480, 232  # [pixel] edges
BACK, PANEL, TEXT, QUIET = (20, 23, 28), (27, 32, 39), (221, 227, 234), (138, 149, 163)
AHEAD, DONE = (64, 196, 255), (70, 110, 140)
STATE = {
    "HOLDING": (47, 93, 138),
    "TRACKING": (29, 125, 74),
    "DECELERATING": (154, 106, 16),
    "STOPPED": (224, 36, 36),
}
CURVES = (
    ("surprise_head", "surprise, head", (64, 196, 255)),
    ("surprise_wrist", "surprise, wrist", (255, 176, 60)),
    ("joint_tracking_error", "joint error [mrad]", (47, 191, 113)),
    ("minimum_distance", "nearest pair [mm]", (250, 220, 90)),
)


@dataclass(frozen=True)
class Path:
    """A chunk as it appears in one camera: (k, 2) points across the image (0 ... 1), and how many are past."""

    points: np.ndarray
    done: int


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font: the same on every machine."""
    return ImageFont.load_default(size)


def compose(description: Mapping, pictures: Mapping[str, np.ndarray], paths: Mapping[str, Path]) -> Image.Image:
    """Draw a frame.

    Args:
        description: as ``Overview.frame`` gives it, with ``title`` and ``imagines``: whether there is imagination in
            this film; its place is left out where there is none.
        pictures: (h, w, 3) uint8 by name: head, wrist, head_imagined, wrist_imagined; any may be missing.
        paths: of the chunk, by camera.

    Returns:
        RGB, 1280 x 720.
    """
    film = Image.new("RGB", (WIDTH, HEIGHT), BACK)
    draw = ImageDraw.Draw(film)
    imagines = description.get("imagines", True)
    for column, name in enumerate(("head", "wrist")):
        left = column * CAMERA if imagines else (WIDTH // 2 - CAMERA) // 2 + column * (WIDTH // 2)
        _picture(film, pictures.get(name), left, 0, CAMERA)
        if name in paths and name in pictures:
            film.paste(_with_path(film.crop((left, 0, left + CAMERA, CAMERA)), paths[name]), (left, 0))
        draw.text((left + 10, 8), name, TEXT, font(18), stroke_width=2, stroke_fill=BACK)
        if not imagines:
            continue
        top = column * (IMAGINED + 8)
        _picture(film, pictures.get(f"{name}_imagined"), 2 * CAMERA + 44, top + 4, IMAGINED)
        label = f"{name}, imagined" if f"{name}_imagined" in pictures else f"{name}: nothing imagined yet"
        draw.text((2 * CAMERA + 52, top + 10), label, TEXT, font(15), stroke_width=2, stroke_fill=BACK)
    _state(draw, description)
    _curves(draw, description.get("curves", {}))
    return film


def _picture(film: Image.Image, pixels: np.ndarray | None, left: int, top: int, edge: int) -> None:
    film.paste(PANEL, (left, top, left + edge, top + edge))
    if pixels is None:
        return
    picture = Image.fromarray(pixels)
    scale = edge / max(picture.size)
    size = (round(picture.width * scale), round(picture.height * scale))
    picture = picture.resize(size, Image.Resampling.BILINEAR)
    film.paste(picture, (left + (edge - size[0]) // 2, top + (edge - size[1]) // 2))


def _with_path(camera: Image.Image, path: Path) -> Image.Image:
    """The chunk over a square camera image: what is past dim, what is ahead bright, its end as a dot."""
    draw = ImageDraw.Draw(camera)
    points = [tuple(point) if np.isfinite(point).all() else None for point in path.points * CAMERA]
    for index in range(1, len(points)):
        start, end = points[index - 1], points[index]
        if start is not None and end is not None:
            draw.line([start, end], DONE if index <= path.done else AHEAD, 3)
    last = points[-1] if points else None
    if last is not None:
        x, y = last
        draw.ellipse((x - 5, y - 5, x + 5, y + 5), AHEAD)
    return camera


def _state(draw: ImageDraw.ImageDraw, description: Mapping) -> None:
    top, wbc = CAMERA + 14, description["wbc"]
    name = wbc["state"] if wbc["fresh"] else "NO STATUS"
    width = draw.textlength(name, font(24)) + 28
    draw.rounded_rectangle((16, top, 16 + width, top + 38), 6, STATE.get(name, (58, 63, 71)))
    draw.text((30, top + 5), name, (255, 255, 255), font(24))
    draw.text((28 + width, top + 9), _cut(draw, wbc["reason"], 18, 940 - width), TEXT, font(18))
    said = description["instruction"]
    draw.text((16, top + 54), f"“{said}”" if said else "no instruction", TEXT if said else QUIET, font(26))
    outcome = description.get("outcome")
    if outcome and said:
        text, colour = outcome["detail"], QUIET
        if outcome["success"] and outcome["elapsed"] is not None:
            text, colour = f"done after {outcome['elapsed']:.1f} s", (47, 191, 113)
        draw.text((16, top + 92), _cut(draw, text, 18, 600), colour, font(18))
    lines = [f"{description['time']:.1f} s" if description["time"] is not None else ""]
    if wbc["fresh"] and wbc["remaining"] is not None and wbc["path_speed"] is not None:
        lines[0] += f"    chunk {wbc['sequence']}, {wbc['remaining']:.1f} s left"
        lines[0] += f"    speed {100 * wbc['path_speed']:.0f} %"
    lines.append(description.get("policy", {}).get("model", ""))
    for number, line in enumerate(lines):
        draw.text((16, top + 124 + 24 * number), line, QUIET, font(17))
    draw.text((16, HEIGHT - 28), description.get("title", ""), QUIET, font(14))


def _curves(draw: ImageDraw.ImageDraw, curves: Mapping[str, Sequence[tuple[float, float]]], span: float = 30.0) -> None:
    """Those that have data, one below the other, in the lower right corner."""
    shown = [(label, colour, curves[name]) for name, label, colour in CURVES if curves.get(name)][:3]
    if not shown:
        return
    left, right, top, bottom = 660, WIDTH - 16, CAMERA + 62, HEIGHT - 12
    each = (bottom - top) / len(shown)
    for number, (label, colour, points) in enumerate(shown):
        base = top + (number + 1) * each - 6
        height = each - 24
        low = min(0.0, min(value for _, value in points))
        scale = height / max(1e-6, max(value for _, value in points) - low)
        zero = base + low * scale
        draw.line([(left, zero), (right, zero)], (44, 51, 61))
        draw.text((left, base - each + 6), f"{label}  {points[-1][1]:.1f}", colour, font(14))
        line = [(right - ago / span * (right - left), zero - value * scale) for ago, value in points]
        if len(line) > 1:
            draw.line(line, colour, 2)


def _cut(draw: ImageDraw.ImageDraw, text: str, size: int, width: float) -> str:
    """Text that fits a width [pixel]."""
    while len(text) > 1 and draw.textlength(text, font(size)) > width:
        text = text[:-2].rstrip() + "…" if text.endswith("…") else text[:-1] + "…"
    return text
