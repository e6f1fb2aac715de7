"""The arithmetic of a control cycle, in C: what numpy would do with some 150 calls of half a microsecond each.

``kernels/*.c`` beside this package have the formulas, ``_kernels.pyi`` shapes and units. Every function is stateless,
checks type and shape of its arrays (TypeError, ValueError), writes its results into the arrays named ``*_out``, and
treats a NaN as numpy does. ``test/kernels_in_numpy.py`` does the same in numpy, and the tests compare them.
"""

from __future__ import annotations

try:
    from gr2_wbc._kernels import (
        add_box,
        add_posture,
        add_scaled,
        add_tracking,
        all_finite,
        clip_answer,
        collision_rows,
        command_passes,
        evaluate_command,
        joint_bounds,
        joint_errors,
        make_command,
        manipulability,
        manipulability_gradient,
        pack_program,
        pair_margins,
        part_norms,
        path_sample,
        pose_error,
    )
except ImportError as error:
    raise ImportError(
        f"gr2_wbc's compiled part is missing for this Python ({error}). It is built by ./gr2 (any verb), by "
        "'colcon build', or by 'pip install src/gr2_wbc'; a C compiler and Python's headers (python3-dev) are needed."
    ) from error

__all__ = [
    "add_box",
    "add_posture",
    "add_scaled",
    "add_tracking",
    "all_finite",
    "clip_answer",
    "collision_rows",
    "command_passes",
    "evaluate_command",
    "joint_bounds",
    "joint_errors",
    "make_command",
    "manipulability",
    "manipulability_gradient",
    "pack_program",
    "pair_margins",
    "part_norms",
    "path_sample",
    "pose_error",
]
