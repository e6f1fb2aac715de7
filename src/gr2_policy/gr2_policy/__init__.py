"""The GR-2 policy: its model, its data and the runtime that turns observations into trajectory chunks."""
