"""Who acts in a clip: a hand or another end of an arm, drawn from data/hands.yaml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gr2_sim.cell import read_yaml
from gr2_sim.parts import DataError, Part

DATA = "hands.yaml"
GRIPPER_BODIES = ("palm", "right_crank", "right_finger", "left_crank", "left_finger")
ARM_BODIES = ("forearm", "upper_arm")


@dataclass(frozen=True)
class Embodiment:
    """One that acts.

    Attributes:
        name: its entry in the data.
        parts: looks of each body.
        materials: colours of its own materials, as entries of looks.yaml.
        own_gripper: the gripper's own looks show.
        lengths: of forearm and upper arm [m].
        wrist: (3,) where the forearm begins, in the gripper's frame [m].
        shoulder: (3,) where the arm ends [m], in base_link.
        subject: what it is called.
    """

    name: str
    parts: Mapping[str, tuple[Part, ...]]
    materials: Mapping[str, Mapping[str, Any]]
    own_gripper: bool
    lengths: tuple[float, float]
    wrist: np.ndarray
    shoulder: np.ndarray
    subject: str


def names() -> list[str]:
    """All embodiments there are."""
    return sorted(read_yaml(DATA)["embodiments"])


def draw(random: np.random.Generator) -> Embodiment:
    """One at random, with its side, its colours and its place at the table.

    Raises:
        DataError: an entry of the data is wrong.
    """
    data = read_yaml(DATA)
    entries = data["embodiments"]
    name = _weighted(sorted(entries), [entries[key]["weight"] for key in sorted(entries)], random)
    entry = entries[name]
    try:
        colours = data["colours"][entry["colours"]]
        left = bool(entry.get("mirror")) and bool(random.random() < 0.5)
        known = {*GRIPPER_BODIES, *ARM_BODIES}
        if strange := set(entry["parts"]) - known:
            raise DataError(f"hands: '{name}' has looks for {', '.join(sorted(strange))}; bodies: {', '.join(known)}")
        hand, arm = colours["skins"][int(random.integers(len(colours["skins"])))]
        sleeve = colours["sleeves"][int(random.integers(len(colours["sleeves"])))]
        seat = _weighted(data["seats"], [seat["weight"] for seat in data["seats"]], random)
        shoulder = np.asarray(seat["at"]) + random.uniform(-1.0, 1.0, 3) * np.asarray(seat["spread"])
        subject = entry["subject"][int(random.integers(len(entry["subject"])))]
        return Embodiment(
            name=name,
            parts={body: tuple(mirrored(part) if left else part for part in p) for body, p in entry["parts"].items()},
            materials={key: _coat(colour) for key, colour in (("hand", hand), ("arm", arm), ("sleeve", sleeve))},
            own_gripper=bool(entry.get("own")),
            lengths=(float(entry["arm"][0]), float(entry["arm"][1])),
            wrist=np.array([0.0, 0.0, float(entry.get("wrist", 0.0))]),
            shoulder=shoulder,
            subject=subject.format(side="left" if left else "right"),
        )
    except (KeyError, TypeError) as error:
        raise DataError(f"hands: '{name}': {error} is missing or wrong") from None


def _coat(colour: Sequence[float]) -> Mapping[str, Any]:
    return {"colour": list(colour), "specular": 0.15, "shininess": 0.25}


def mirrored(part: Part) -> Part:
    """A part of the other hand: y is turned round."""
    changed = dict(part)
    for key in ("at", "from", "to"):
        if key in part:
            x, y, z = part[key]
            changed[key] = [x, -y, z]
    return changed


def _weighted(items: Sequence[Any], weights: Sequence[float], random: np.random.Generator) -> Any:
    shares = np.asarray(weights, dtype=float)
    return items[int(random.choice(len(items), p=shares / shares.sum()))]
