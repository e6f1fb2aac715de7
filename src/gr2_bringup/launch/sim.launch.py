"""The whole stack with the simulated cell: ``ros2 launch gr2_bringup sim.launch.py``."""

from gr2_bringup import launching, stack


def generate_launch_description():
    """Read by ``ros2 launch``."""
    return launching.description(stack.SIMULATION, stack.simulation)
