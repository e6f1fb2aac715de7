"""The stack on a Kinova Gen3: ``ros2 launch gr2_bringup real.launch.py robot_ip:=192.168.1.10``.

A dry run until ``armed:=true``: the controller prints what it would send, and sends nothing.
"""

from gr2_bringup import launching, stack


def generate_launch_description():
    """Read by ``ros2 launch``."""
    return launching.description(stack.REAL, stack.real, launching.beside_real)
