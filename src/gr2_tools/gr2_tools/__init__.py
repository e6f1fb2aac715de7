"""What people use around a running stack: record and replay bags, read them, and check a machine."""
