"""MuJoCo twin of the Gen3 cell: scenes, tasks, scripted teachers, success checks."""

from gr2_sim._gl import choose_backend

choose_backend()
