"""Demonstrations on disk: the LeRobotDataset v3 layout, written and read without the lerobot package."""
