"""An MJCF whose root body is not at the origin: kinematics and distances are of the same arm."""

from __future__ import annotations

import mujoco
import numpy as np
import pinocchio as pin
import pytest

from gr2_wbc.arm_model import ModelError, read_arm

LINKS = """
  <body name="base" pos="0.1 -0.2 0.5" euler="20 0 90"><geom name="foot" size="0.1"/>
    <body name="one" pos="0 0 0.1"><joint name="turn" axis="0 0 1"/><geom size="0.1"/>
      <body name="spare" pos="0.1 0 0"><joint name="locked" axis="1 0 0"/><geom size="0.1"/>
        <body name="two" pos="0.3 0 0"><joint name="slide" type="slide" axis="0 1 0"/><geom name="tip" size="0.1"/>
        </body></body></body></body>"""


def written(tmp_path, links):
    path = tmp_path / "arm.xml"
    path.write_text(f"<mujoco><worldbody>{links}</worldbody></mujoco>")
    return path


@pytest.mark.parametrize("jointed", [False, True])
def test_a_root_body_is_where_the_file_puts_it(tmp_path, jointed):
    links = LINKS
    if jointed:  # the root itself has a joint
        links = LINKS.replace('<geom name="foot"', '<joint name="first" axis="1 0 0"/><geom name="foot"')
    names = ["first"] * jointed + ["turn", "slide"]
    arm = read_arm(written(tmp_path, links), names, {"locked": 0.3}, {})
    compiled = arm.spec.copy().compile()
    theirs, ours = mujoco.MjData(compiled), arm.model.createData()
    for seed in range(20):
        positions = np.random.default_rng(seed).uniform(-1.0, 1.0, len(names))
        for name, position in zip(arm.joint_names, positions, strict=True):
            theirs.joint(name).qpos[0] = position
        mujoco.mj_kinematics(compiled, theirs)
        pin.framesForwardKinematics(arm.model, ours, positions)
        for body in ("base", "one", "two"):
            pose = ours.oMf[arm.model.getFrameId(body)]
            assert np.allclose(pose.translation, theirs.body(body).xpos, atol=1e-9)
            assert np.allclose(pose.rotation.ravel(), theirs.body(body).xmat, atol=1e-9)


def test_what_the_two_libraries_see_differently_is_refused(tmp_path):
    two_roots = LINKS.replace('name="', 'name="left_') + LINKS
    with pytest.raises(ModelError, match="do not agree about joint"):
        read_arm(written(tmp_path, two_roots), ["left_turn", "left_slide"], "others", {})
