"""The generated files of this package: what they should hold, written, compared."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gr2_bringup.description.cell_model import CellModel
from gr2_bringup.description.srdf import srdf
from gr2_bringup.description.urdf import urdf_files
from gr2_bringup.description.world import world_files

FOLDERS = ("description/meshes", "worlds/meshes")
TOLERANCE = 2e-5
"""How far numbers may be from one another [m, rad]: libraries differ in the last digits, meshes are rounded."""
_NUMBER = re.compile(r"-?\d+\.?\d*(?:[eE][-+]?\d+)?")


def generated(cell: CellModel) -> dict[str, str]:
    """Content by path in the package."""
    files = {f"description/{path}": content for path, content in urdf_files(cell).items()}
    files["description/gen3_2f85.srdf"] = srdf(cell)
    return files | {f"worlds/{path}": content for path, content in world_files(cell).items()}


def write(package: Path, files: Mapping[str, str]) -> None:
    """Write all, each aside and then renamed, and remove meshes that are no more."""
    for path, content in files.items():
        target = package / path
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(target.name + ".new")
        aside.write_text(content, encoding="utf-8")
        aside.replace(target)
    for path in _superfluous(package, files):
        (package / path).unlink()


def compare(package: Path, files: Mapping[str, str]) -> list[str]:
    """One line for each file that is missing, superfluous or says something else."""
    found = [f"{path}: superfluous" for path in _superfluous(package, files)]
    for path, content in files.items():
        try:
            present = (package / path).read_text(encoding="utf-8")
        except FileNotFoundError:
            found.append(f"{path}: missing")
            continue
        if not same(present, content):
            found.append(f"{path}: not up to date")
    return found


def same(first: str, second: str) -> bool:
    """Whether two texts agree in all words, and in their numbers to TOLERANCE."""
    if first == second:
        return True
    if _NUMBER.sub("#", first) != _NUMBER.sub("#", second):
        return False
    numbers = [np.array(_NUMBER.findall(text), dtype=float) for text in (first, second)]
    return bool(np.all(np.abs(numbers[0] - numbers[1]) <= TOLERANCE * np.maximum(1.0, np.abs(numbers[0]))))


def _superfluous(package: Path, files: Mapping[str, str]) -> list[str]:
    present = [f"{folder}/{path.name}" for folder in FOLDERS for path in sorted((package / folder).glob("*"))]
    return [path for path in present if path not in files]
