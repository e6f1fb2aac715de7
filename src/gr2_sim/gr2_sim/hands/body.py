"""A cell's model with a floating hand in it: the gripper on a body that is led through space, and an arm to look at."""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np

from gr2_sim.build import GRIPPER, add_looks, furnish
from gr2_sim.cell import DATA, Cell
from gr2_sim.hands.embodiment import ARM_BODIES, GRIPPER_BODIES, Embodiment
from gr2_sim.parts import COLLISION_GROUP, PartBuilder

HAND, TARGET = "hand", "hand_target"
TOOL = 0.14501
"""From the gripper's mount to tool_frame, along z [m]; as on the arm."""
_STIFF = (0.006, 1.0)
"""Time constant [s] and damping ratio with which the hand follows where it is led."""


def build_hand_model(cell: Cell, embodiment: Embodiment, timestep: float) -> mujoco.MjModel:
    """Compile the model of a cell in which an embodiment acts; its materials must be among the cell's.

    Args:
        cell: what there is.
        embodiment: who acts.
        timestep: of the physics [s].

    Raises:
        DataError: a part cannot be built.
    """
    spec = mujoco.MjSpec()
    spec.modelname = f"gr2 {cell.name}"
    spec.compiler.degree = False
    spec.option.timestep = timestep
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10.0
    spec.stat.center, spec.stat.extent = (0.35, 0.0, 0.15), 1.0
    quality = spec.visual.quality
    quality.shadowsize, quality.offsamples = 0, 0
    quality.numslices, quality.numstacks, quality.numquads = 16, 10, 2
    add_looks(spec, cell)
    target = spec.worldbody.add_body(name=TARGET, mocap=True)
    hand = spec.worldbody.add_body(name=HAND, gravcomp=1.0)
    hand.add_freejoint(name=HAND)
    hand.mass, hand.inertia, hand.explicitinertial = 0.2, [4e-4] * 3, True
    mount = hand.add_site(name="gripper_mount")
    hand.add_site(name="tool_frame", pos=(0.0, 0.0, TOOL))
    _attach_gripper(spec, mount, show=embodiment.own_gripper)
    weld = spec.add_equality(name=HAND, type=mujoco.mjtEq.mjEQ_WELD, objtype=mujoco.mjtObj.mjOBJ_BODY)
    weld.name1, weld.name2 = target.name, hand.name
    weld.data[:11] = [0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]  # anchor, relative pose, weight of turning
    weld.solref = _STIFF
    looks = PartBuilder(spec, (0, 0))
    for name in GRIPPER_BODIES:
        for part in embodiment.parts.get(name, ()):
            looks.add(spec.body(GRIPPER + name), {**part, "role": "visual"})
    for name in ARM_BODIES:
        body = spec.worldbody.add_body(name=name, mocap=True)
        for part in embodiment.parts.get(name, ()):
            looks.add(body, {**part, "role": "visual"})
    furnish(spec, cell)
    return spec.compile()


def _attach_gripper(spec: mujoco.MjSpec, mount: mujoco.MjsSite, show: bool) -> None:
    gripper = mujoco.MjSpec.from_file(str(Path(DATA) / "gripper.xml"))
    gripper.option.timestep = spec.option.timestep
    spec.attach(gripper, site=mount, prefix=GRIPPER)
    for material in list(spec.materials):
        if material.name.startswith(GRIPPER):
            spec.delete(material)
    for body in spec.bodies:
        if body.name.startswith(GRIPPER):
            body.gravcomp = 1.0
            for geom in body.geoms:
                geom.material = geom.material.removeprefix(GRIPPER)
                if not show:
                    geom.group = COLLISION_GROUP


def arm_poses(
    wrist: np.ndarray, shoulder: np.ndarray, lengths: tuple[float, float]
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Poses (position (3,) [m], quaternion w x y z) of forearm and upper arm between wrist and shoulder (3,) [m].

    The elbow is raised and turned outward. Where the arm is too short the shoulder leans towards the wrist.
    """
    fore, upper = lengths
    reach = shoulder - wrist
    distance = float(np.linalg.norm(reach))
    along = reach / max(distance, 1e-9)
    distance = float(np.clip(distance, abs(fore - upper) + 0.02, 0.985 * (fore + upper)))
    ahead = (fore**2 - upper**2 + distance**2) / (2.0 * distance)
    aside = np.sqrt(max(0.0, fore**2 - ahead**2))
    outward = np.cross(along, [0.0, 0.0, 1.0])
    pole = 0.8 * outward / max(float(np.linalg.norm(outward)), 1e-9) + np.array([0.0, 0.0, 0.6])
    pole -= along * (pole @ along)
    elbow = wrist + ahead * along + aside * pole / max(float(np.linalg.norm(pole)), 1e-9)
    return (wrist, _pointing(elbow - wrist)), (elbow, _pointing(wrist + distance * along - elbow))


def _pointing(direction: np.ndarray) -> np.ndarray:
    """Quaternion (w x y z) that turns z to a direction."""
    quaternion = np.empty(4)
    mujoco.mju_quatZ2Vec(quaternion, direction / np.linalg.norm(direction))
    return quaternion
