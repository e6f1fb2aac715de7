"""The real-time runtime: from messages to observations to chunks, without ROS."""
