"""What must come from the operating system: checked by using it, installed only where that is allowed.

Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class MissingPackages(RuntimeError):
    """The operating system lacks something; the message says what to install."""


@dataclass(frozen=True)
class Need:
    """One thing the operating system must provide.

    Attributes:
        what: in words, with what it is for.
        packages: Debian and Ubuntu packages that provide it.
        present: whether it is there.
    """

    what: str
    packages: tuple[str, ...]
    present: Callable[[], bool]


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _mesa_driver() -> bool:
    """EGL needs a driver behind it: a GPU's, or Mesa's software one."""
    if Path("/proc/driver/nvidia/version").exists() or Path("/dev/dri").exists():
        return True
    folders = (Path("/usr/lib"), Path("/usr/lib/x86_64-linux-gnu"))
    return any(
        next(folder.glob(pattern), None) is not None
        for folder in folders
        for pattern in ("dri/*swrast*", "dri/libdril_dri.so", "libgallium*.so")
    )


def _has_venv() -> bool:
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        return False
    return True


def _has_headers() -> bool:
    return Path(sysconfig.get_paths()["include"], "Python.h").exists()


NEEDS = (
    Need("a C++ compiler (builds the messages)", ("build-essential",), lambda: shutil.which("c++") is not None),
    Need("make (builds the messages)", ("make",), lambda: shutil.which("make") is not None),
    Need("cmake (builds the messages)", ("cmake",), lambda: shutil.which("cmake") is not None),
    Need("the Python headers (build the messages)", ("python3-dev",), _has_headers),
    Need("Python's venv module", ("python3-venv",), _has_venv),
    Need(
        "EGL (renders the cameras without a screen)",
        ("libegl1", "libegl-mesa0"),
        lambda: _loads("libEGL.so.1"),
    ),
    Need("OpenGL (renders the cameras)", ("libgl1",), lambda: _loads("libGL.so.1")),
    Need("an OpenGL driver (Mesa's, where there is no GPU)", ("libgl1-mesa-dri",), _mesa_driver),
)


def missing() -> list[Need]:
    return [need for need in NEEDS if not need.present()]


def ensure(say: Callable[[str], None]) -> None:
    """Make sure that everything needed is there; install it where this process may.

    Args:
        say: prints one line for the user.

    Raises:
        MissingPackages: something lacks and could not be installed.
    """
    lacking = missing()
    if not lacking:
        return
    packages = sorted({package for need in lacking for package in need.packages})
    for need in lacking:
        say(f"missing: {need.what}")
    if os.geteuid() == 0 and shutil.which("apt-get"):
        say(f"installing {' '.join(packages)} with apt-get …")
        env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", *packages]):
            done = subprocess.run(command, env=env, capture_output=True, text=True)
            if done.returncode != 0:
                raise MissingPackages(f"'{' '.join(command)}' failed: {done.stderr.strip()[-600:]}")
        lacking = missing()
        if not lacking:
            return
    names = "; ".join(need.what for need in lacking)
    raise MissingPackages(
        f"this machine lacks {names}.\n  On Debian or Ubuntu:  sudo apt install {' '.join(packages)}\n"
        "  then run the same command again."
    )
