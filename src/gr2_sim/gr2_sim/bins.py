"""Bin picking: one instruction, many objects. Which objects lie in the right basket is drawn from the variant's name.

Settings (paper's names): seen, unseen, cluttered_seen, cluttered_unseen. Seen objects are those of group `bin` in
data/objects/bin.yaml with split train (55), unseen ones those with split test (67).
"""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np

from gr2_sim.cell import Cell, ObjectData, base_cell, catalogue
from gr2_sim.parts import DataError

BIN_TASK = "bin_pick"
BIN_SETTINGS = ("seen", "unseen", "cluttered_seen", "cluttered_unseen")
FEW, MANY = (5, 8), (12, 17)
"""How many objects there are, and how many in the cluttered settings."""


def bin_scene(setting: str, seed: int) -> str:
    """Name of the variant of one episode."""
    return f"bins~{setting}~{seed}"


def bin_objects(split: str) -> list[ObjectData]:
    """Objects of bin picking of a split, train (seen) or test (unseen)."""
    return [thing for thing in catalogue().values() if thing.group == "bin" and thing.split == split]


def bin_cell(name: str) -> Cell:
    """The variant of this name, ``bins~setting~number``.

    Raises:
        DataError: it is not of this form.
    """
    base, setting, *rest = name.split("~")
    if setting not in BIN_SETTINGS or len(rest) != 1 or not rest[0].isdigit():
        raise DataError(f"unknown variant '{name}'; expected bins~SETTING~NUMBER, settings: {', '.join(BIN_SETTINGS)}")
    random = np.random.default_rng([int(rest[0]), zlib.crc32(setting.encode())])
    cell = base_cell(base)
    things = bin_objects("test" if setting.endswith("unseen") else "train")
    low, high = MANY if setting.startswith("cluttered") else FEW
    chosen = random.permutation(len(things))[: int(random.integers(low, high + 1))]
    objects = {things[i].name: things[i] for i in chosen}
    return replace(cell, name=name, objects=objects, region=replace(cell.region, inside="right_basket"))
