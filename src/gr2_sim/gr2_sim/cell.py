"""The cell as data: what there is, how it looks, where it stands. Read from the YAML files in data/."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from gr2_sim.fixture_makers import make_fixture
from gr2_sim.makers import make
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
    """A thing that moves freely; see data/objects.yaml.

    `half` are half the edges of the box around it, `measures` what skills and conditions go by, `split` is train or
    test (held out), `stands_for` the objects that a held-out one takes the place of. `asset` is its entry in the
    data, `name` what it is in the scene; `group` says if it is only for bin picking or chains.
    """

    name: str
    label: str
    rest_height: float
    footprint: float
    mass: float
    grasp: Grasp
    parts: tuple[Part, ...]
    half: tuple[float, float, float] | None = None
    measures: Mapping[str, float] = field(default_factory=dict)
    maker: str = ""
    colour: str = ""
    group: str = ""
    split: str = "train"
    stands_for: tuple[str, ...] = ()
    asset: str = ""


@dataclass(frozen=True)
class Slider:
    """The moving part of a fixture: a sliding joint [m], its friction [N], stiffness [N/m] and preload [N].

    With `type` hinge it turns about `axis` through `anchor`: [rad], [Nm], [Nm/rad].
    """

    joint: str
    axis: tuple[float, float, float]
    range: tuple[float, float]
    damping: float
    friction: float
    mass: float
    parts: tuple[Part, ...]
    stiffness: float = 0.0
    preload: float = 0.0
    type: str = "slide"
    anchor: tuple[float, float, float] = (0.0, 0.0, 0.0)


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
    asset: str = ""
    split: str = "train"
    stands_for: str = ""


@dataclass(frozen=True)
class Granules:
    """Little balls in a scene: their names, and the objects they may be in at the start."""

    names: tuple[str, ...]
    vessels: tuple[str, ...]


@dataclass(frozen=True)
class Region:
    """Where objects are laid out: ranges of x and y [m], largest turn [rad], gap between footprints [m].

    With `inside` they are dropped into this fixture instead and come to rest as they may.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    turn: float
    gap: float
    inside: str = ""


@dataclass(frozen=True)
class Cell:
    """One scene, complete.

    `name` says all there is to it: the scene's name, for a variant also of which setting (see settings.py); `base` is
    the scene's name alone. `seats` maps each cap to the container it sits on. `scenery` is looked at, never moved.
    """

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
    base: str = ""
    seats: Mapping[str, str] = field(default_factory=dict)
    granules: Granules = Granules((), ())
    scenery: tuple[Part, ...] = ()
    environment: str = ""

    @property
    def joints(self) -> Mapping[str, FixtureData]:
        """Fixtures by the name of their joint."""
        return {f.slider.joint: f for f in self.fixtures.values() if f.slider}

    def has(self, name: str) -> bool:
        """Whether there is an object, fixture or joint of this name."""
        return name in self.objects or name in self.fixtures or name in self.joints

    def seat_height(self, cap: str) -> float:
        """Height [m] of a cap's centre above that of the container it sits on."""
        return float(self.objects[self.seats[cap]].measures["neck_top"] + self.objects[cap].measures["under"])

    def fixture_of(self, joint: str) -> FixtureData:
        """The fixture that a joint belongs to.

        Raises:
            DataError: there is none.
        """
        if joint not in self.joints:
            raise DataError(f"scene '{self.name}' has no joint '{joint}'; it has: {', '.join(self.joints) or 'none'}")
        return self.joints[joint]


@lru_cache
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


def read_merged(name: str) -> dict[str, Any]:
    """Entries of data/NAME.yaml and of all files in the folder data/NAME.

    Raises:
        DataError: a file is wrong, or two files have an entry of the same name.
    """
    entries = dict(read_yaml(f"{name}.yaml"))
    for path in sorted((DATA / name).glob("*.yaml")):
        for key, entry in read_yaml(f"{name}/{path.name}").items():
            if key in entries:
                raise DataError(f"{name}/{path.name}: '{key}' is described twice")
            entries[key] = entry
    return entries


def available_scenes() -> list[str]:
    """Names of the scenes in data/scenes, sorted."""
    return sorted(path.stem for path in (DATA / "scenes").glob("*.yaml"))


@lru_cache
def catalogue() -> Mapping[str, ObjectData]:
    """All objects there are, by name.

    Raises:
        DataError: an entry is wrong.
    """
    return {name: _object(name, entry) for name, entry in read_merged("objects").items()}


def _object(name: str, entry: Mapping[str, Any]) -> ObjectData:
    own = dict(entry)
    common: dict[str, Any] = {"maker": own.get("make", ""), "colour": own.get("material", "")}
    common |= {key: own.pop(key) for key in ("label", "split", "group") if key in own}
    common["stands_for"] = tuple(own.pop("stands_for", ()))
    fields = make(name, own) if "make" in own else {**own, "parts": tuple(own["parts"])}
    try:
        return ObjectData(name=name, asset=name, **common, **{**fields, "grasp": Grasp(**fields["grasp"])})
    except (KeyError, TypeError) as error:
        raise DataError(f"objects: '{name}': {error}") from None


def place_fixture(name: str, entry: Mapping[str, Any], place: Mapping[str, Any]) -> FixtureData:
    """A fixture as the data describe it, at a place as scenes describe it."""
    own = dict(entry)
    label, split, stands_for = own.pop("label"), own.pop("split", "train"), own.pop("stands_for", "")
    data = make_fixture(name, own) if "make" in own else own
    slider = data.get("slider")
    return FixtureData(
        name=name,
        label=label,
        extent=(tuple(data["extent"][0]), tuple(data["extent"][1])),
        measures=data["measures"],
        parts=tuple(data["parts"]),
        slider=Slider(**{**slider, "parts": tuple(slider["parts"])}) if slider else None,
        position=tuple(place["position"]),
        yaw=place.get("yaw", 0.0),
        spread=tuple(place.get("spread", (0.012, 0.012))),
        turn=place.get("turn", 0.06),
        asset=name,
        split=split,
        stands_for=stands_for,
    )


def named(entries: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The entry of this name, with its name."""
    return {**entries[name], "name": name}


@lru_cache
def base_cell(scene: str) -> Cell:
    """Read a scene and all it names.

    Raises:
        DataError: the scene is unknown, or a file names something that does not exist.
    """
    if scene not in available_scenes():
        raise DataError(f"unknown scene '{scene}'; known: {', '.join(available_scenes())}")
    place, fixtures, looks = read_yaml(f"scenes/{scene}.yaml"), read_merged("fixtures"), read_yaml("looks.yaml")
    cameras, layout = read_yaml("cameras.yaml"), place["objects"]
    try:
        grains = place.get("granules", {})
        names = tuple(f"{grains['name']}_{i}" for i in range(grains["count"])) if grains else ()
        instead = place.get("instead", {})
        names_of_all = (*layout["names"], *place.get("seats", {}))
        objects = {name: replace(catalogue()[instead.get(name, name)], name=name) for name in names_of_all}
        objects |= {name: replace(catalogue()[grains["name"]], name=name) for name in names}
        return Cell(
            name=scene,
            base=scene,
            objects=objects,
            fixtures={name: place_fixture(name, fixtures[name], where) for name, where in place["fixtures"].items()},
            region=Region(tuple(layout["x"]), tuple(layout["y"]), layout["turn"], layout["gap"]),
            reach=tuple(place["reach"]),
            cameras={name: cameras[name] for name in place["cameras"]},
            table=place["table"],
            background=named(looks["backgrounds"], place["background"]),
            lighting=named(looks["lightings"], place["lighting"]),
            textures=looks["textures"],
            materials=looks["materials"],
            arm_style={link: tuple(parts) for link, parts in read_yaml("arm_style.yaml").items()},
            seats=place.get("seats", {}),
            granules=Granules(names, tuple(grains.get("in", ()))),
        )
    except (KeyError, TypeError) as error:
        raise DataError(f"scenes/{scene}.yaml: {error} is missing or misspelt in the data files") from None


@lru_cache(maxsize=256)
def load_cell(scene: str = "table") -> Cell:
    """A scene by its name, or a variant of one by its whole name (see settings.py).

    Raises:
        DataError: as base_cell; or the variant is unknown.
    """
    if "~" not in scene:
        return base_cell(scene)
    from gr2_sim.settings import variant  # it builds on what is here

    return variant(scene)
