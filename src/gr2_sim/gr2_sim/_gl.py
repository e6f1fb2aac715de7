"""Which OpenGL MuJoCo draws with. It is chosen once, before mujoco is imported: importing it binds the library."""

from __future__ import annotations

import ctypes
import os

HINT = (
    "cannot draw camera images: {cause}. Headless drawing needs EGL; on Debian and Ubuntu: "
    "apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri (or run without cameras)"
)


def egl_found() -> bool:
    """Whether the EGL library can be loaded."""
    try:
        ctypes.CDLL("libEGL.so.1")
    except OSError:
        return False
    return True


def choose_backend() -> None:
    """Draw headless with EGL unless the user chose otherwise; without EGL, let mujoco load without drawing."""
    os.environ.setdefault("MUJOCO_GL", "egl")
    if os.environ["MUJOCO_GL"] == "egl" and not egl_found():
        os.environ["MUJOCO_GL"] = "disable"
