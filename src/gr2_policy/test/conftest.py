"""Tests of the model need PyTorch, which may be left out (``GR2_TORCH=none``); those of the node need ROS."""

import importlib.util

collect_ignore = [] if importlib.util.find_spec("torch") else ["model"]
collect_ignore += [] if importlib.util.find_spec("rclpy") else ["node"]
