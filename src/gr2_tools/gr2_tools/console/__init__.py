"""The operator's console: one page that shows what the robot sees, thinks and will do, and takes commands."""
