"""What the pixels of a camera show, told by the simulator: see gr2_policy.data.episode.LABELS."""

from __future__ import annotations

import mujoco
import numpy as np

from gr2_policy.data.episode import LABELS
from gr2_sim.cell import Cell
from gr2_sim.tasks import Task

SURROUNDINGS, TABLE, ROBOT, TASK, OTHER = range(len(LABELS))


def labels_of_geoms(model: mujoco.MjModel, cell: Cell, task: Task | None, actor: str) -> np.ndarray:
    """Label of each geom, (ngeom + 1,) uint8; the last is that of pixels that show no geom.

    Args:
        model: compiled model of the cell.
        cell: what there is.
        task: what is to be done; what it is about, and fixtures, count as the task's.
        actor: root body of what acts.
    """
    wanted = {*cell.fixtures, *cell.granules.names}
    if task is None or (not task.object and not task.target):
        wanted |= set(cell.objects)  # who can say which of them are needed
    else:
        wanted |= {task.object, task.target, cell.seats.get(task.object, ""), task.off}
        wanted |= {cap for cap, container in cell.seats.items() if container in wanted}
    labels = np.full(model.ngeom + 1, SURROUNDINGS, np.uint8)
    for geom in range(model.ngeom):
        root = model.body(model.body_rootid[model.geom_bodyid[geom]]).name
        if root in cell.objects or root in cell.fixtures:
            labels[geom] = TASK if root in wanted else OTHER
        elif root == actor or root in ("forearm", "upper_arm"):
            labels[geom] = ROBOT
        elif model.geom(geom).name == "table":
            labels[geom] = TABLE
    return labels
