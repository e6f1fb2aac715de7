"""A Kinova Gen3 behind ros2_kortex and ros2_control that is not there: MuJoCo's arm under the driver's interfaces.

The parts are those of the real thing, one module each, and behave as their sources say (docs/interfaces.md has the
versions); nothing here is kinder than the original.

    trajectory_controller   joint_trajectory_controller of ros2_controllers
    trajectory_goal, tolerances, interpolation   parts of it
    gripper_controller      parallel_gripper_action_controller of ros2_controllers
    command_limiter         JointSaturationLimiter of ros2_control (enforce_command_limits)
    settings                the controllers' YAML and the URDF, as they are given to ros2_control
    driver                  the hardware interface of ros2_kortex: wraps, faults, no check of its own
    gen3                    the arm: its actuators' set points, its faults, its session
    control_loop            read, update, limit, write, once a millisecond
    fake_kortex_node        the ROS side
    follow_trajectory       of it, the trajectory controller's action
"""
