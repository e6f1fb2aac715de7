"""The whole stack with the simulated cell: ``ros2 launch gr2_bringup sim.launch.py``."""

from gr2_bringup import gazebo, launching, stack


def generate_launch_description():
    """Read by ``ros2 launch``."""
    return launching.description(stack.SIMULATION, stack.launched_simulation, gazebo.actions)
