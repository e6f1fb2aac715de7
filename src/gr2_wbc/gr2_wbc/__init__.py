"""Whole-body control: chunk splicing, constrained QP, collision avoidance and the safety state machine."""
