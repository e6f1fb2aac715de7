"""MuJoCo twin of the Gen3 cell: scenes, tasks, scripted teachers, success checks."""
