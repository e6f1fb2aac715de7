"""The cell as data: what there is, how it looks, where it stands. Read from the YAML files in data/."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from gr2_sim.parts import DataError, Part

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Grasp:
    """How an object is taken: lengths in m, angles in rad; see data/objects.yaml."""

    width: float
    height: float
    turns: int
    yaw: float


@dataclass(frozen=True)
class ObjectData:
    """A thing that moves freely; see data/objects.yaml."""

    name: str
    label: str
    rest_height: float
    footprint: float
    mass: float
    grasp: Grasp
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Slider:
    """The moving part of a fixture: a sliding joint [m], its friction [N], stiffness [N/m] and preload [N]."""

    joint: str
    axis: tuple[float, float, float]
    range: tuple[float, float]
    damping: float
    friction: float
    mass: float
    parts: tuple[Part, ...]
    stiffness: float = 0.0
    preload: float = 0.0


@dataclass(frozen=True)
class FixtureData:
    """A thing that stands fixed, with its place in the scene; see data/fixtures.yaml and data/scenes/."""

    name: str
    label: str
    extent: tuple[tuple[float, float], tuple[float, float]]
    measures: Mapping[str, float]
    parts: tuple[Part, ...]
    slider: Slider | None
    position: tuple[float, float]
    yaw: float
    spread: tuple[float, float]
    turn: float


@dataclass(frozen=True)
class Region:
    """Where objects are laid out: ranges of x and y [m], largest turn [rad], gap between footprints [m]."""

    x: tuple[float, float]
    y: tuple[float, float]
    turn: float
    gap: float


@dataclass(frozen=True)
class Cell:
    """One scene, complete."""

    name: str
    objects: Mapping[str, ObjectData]
    fixtures: Mapping[str, FixtureData]
    region: Region
    reach: tuple[float, float]
    cameras: Mapping[str, Mapping[str, Any]]
    table: Mapping[str, Any]
    background: Mapping[str, Any]
    lighting: Mapping[str, Any]
    textures: Mapping[str, Mapping[str, Any]]
    materials: Mapping[str, Mapping[str, Any]]
    arm_style: Mapping[str, tuple[Part, ...]]

    def fixture_with(self, measure: str) -> FixtureData:
        """The fixture that has this measure (a cell has one of each kind).

        Raises:
            DataError: none has.
        """
        for fixture in self.fixtures.values():
            if measure in fixture.measures:
                return fixture
        raise DataError(f"scene '{self.name}': no fixture has the measure '{measure}'")


def read_yaml(name: str) -> dict[str, Any]:
    """Content of a data file, without entries whose name begins with an underscore.

    Raises:
        DataError: the file is missing or not a YAML mapping.
    """
    try:
        content = yaml.safe_load((DATA / name).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise DataError(f"{name}: {error}") from None
    if not isinstance(content, dict):
        raise DataError(f"{name}: expected a mapping, found {type(content).__name__}")
    return {key: value for key, value in content.items() if not key.startswith("_")}


def available_scenes() -> list[str]:
    """Names of the scenes in data/scenes, sorted."""
    return sorted(path.stem for path in (DATA / "scenes").glob("*.yaml"))


def _fixture(name: str, data: Mapping[str, Any], place: Mapping[str, Any]) -> FixtureData:
    slider = data.get("slider")
    return FixtureData(
        name=name,
        label=data["label"],
        extent=(tuple(data["extent"][0]), tuple(data["extent"][1])),
        measures=data["measures"],
        parts=tuple(data["parts"]),
        slider=Slider(**{**slider, "parts": tuple(slider["parts"])}) if slider else None,
        position=tuple(place["position"]),
        yaw=place["yaw"],
        spread=tuple(place["spread"]),
        turn=place["turn"],
    )


@lru_cache
def load_cell(scene: str = "table") -> Cell:
    """Read a scene and all it names.

    Raises:
        DataError: the scene is unknown, or a file names something that does not exist.
    """
    if scene not in available_scenes():
        raise DataError(f"unknown scene '{scene}'; known: {', '.join(available_scenes())}")
    place = read_yaml(f"scenes/{scene}.yaml")
    objects, fixtures, looks = read_yaml("objects.yaml"), read_yaml("fixtures.yaml"), read_yaml("looks.yaml")
    cameras = read_yaml("cameras.yaml")
    layout = place["objects"]
    try:
        return Cell(
            name=scene,
            objects={
                name: ObjectData(name=name, **{**objects[name], "grasp": Grasp(**objects[name]["grasp"])})
                for name in layout["names"]
            },
            fixtures={name: _fixture(name, fixtures[name], where) for name, where in place["fixtures"].items()},
            region=Region(tuple(layout["x"]), tuple(layout["y"]), layout["turn"], layout["gap"]),
            reach=tuple(place["reach"]),
            cameras={name: cameras[name] for name in place["cameras"]},
            table=place["table"],
            background=looks["backgrounds"][place["background"]],
            lighting=looks["lightings"][place["lighting"]],
            textures=looks["textures"],
            materials=looks["materials"],
            arm_style={link: tuple(parts) for link, parts in read_yaml("arm_style.yaml").items()},
        )
    except (KeyError, TypeError) as error:
        raise DataError(f"scenes/{scene}.yaml: {error} is missing or misspelt in the data files") from None
