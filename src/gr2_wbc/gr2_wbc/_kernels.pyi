"""Types, shapes and units of the compiled kernels. Arrays are doubles and contiguous unless "any strides" is said."""

import numpy as np

def joint_bounds(
    positions: np.ndarray,
    velocities: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    velocity: np.ndarray,
    deceleration: np.ndarray,
    step: np.ndarray,
    half_period: float,
    gain: float,
    recovery: float,
    lower_out: np.ndarray,
    upper_out: np.ndarray,
) -> bool:
    """Box on the next joint velocities; all (n,). Whether a joint is too fast to be stopped by a new command.

    ``lower``, ``upper`` [rad], ``velocity`` [rad/s], ``deceleration`` [rad/s^2] and ``step`` (largest change of
    velocity in a cycle [rad/s]) are limits; ``gain`` [1/s] and ``recovery`` [rad/s] are the braking profile's.
    """

def make_command(
    start: np.ndarray,
    start_velocity: np.ndarray,
    velocities: np.ndarray,
    acceleration: np.ndarray,
    period: float,
    hold: float,
    standing_speed: float,
    standing_tail: float,
    times_out: np.ndarray,
    positions_out: np.ndarray,
    velocities_out: np.ndarray,
) -> None:
    """Set point and braking tail: times (3,) [s], positions and velocities (3, n) from a start state (n,).

    Velocities (n,) whose norm is below ``standing_speed`` [rad/s] are none; the tail is then ``standing_tail`` [s].
    """

def evaluate_command(
    elapsed: float,
    times: np.ndarray,
    start: np.ndarray,
    start_velocity: np.ndarray,
    positions: np.ndarray,
    velocities: np.ndarray,
    positions_out: np.ndarray,
    velocities_out: np.ndarray,
) -> None:
    """Positions and velocities (n,) of a command ``elapsed`` seconds after its stamp."""

def command_passes(
    position: np.ndarray,
    velocity: np.ndarray,
    start: np.ndarray,
    times: np.ndarray,
    positions: np.ndarray,
    velocities: np.ndarray,
    allowed: np.ndarray,
) -> bool:
    """Whether a command, (3,), (3, n), (3, n), is finite and its nine quantities are at most ``allowed`` (9, n).

    ``position`` and ``velocity`` (n,) are due by the command before at its stamp.
    """

def joint_errors(
    first: np.ndarray, second: np.ndarray, turning: np.ndarray, weights: np.ndarray, errors_out: np.ndarray
) -> int:
    """|first - second| (n,) modulo whole turns where ``turning`` is 1 (else 0), times ``weights``; where it is largest.

    The first NaN counts as the largest.
    """

def pose_error(
    position: np.ndarray, rotation: np.ndarray, position0: np.ndarray, rotation0: np.ndarray, error_out: np.ndarray
) -> None:
    """From pose 0 to a pose, (6,): difference of positions (3,) [m], rotation vector between matrices (3, 3) [rad]."""

def part_norms(vector: np.ndarray) -> tuple[float, float]:
    """Norms of the linear and of the angular half of a vector (6,)."""

def path_sample(
    table: np.ndarray,
    s: float,
    scale: float,
    scale_rate: float,
    ahead: float,
    base: np.ndarray,
    position_out: np.ndarray,
    rotation_out: np.ndarray,
    twist_out: np.ndarray,
) -> None:
    """Pose at the parameter ``s`` 0 ... 1 of a path's segment, and the twist (6,) ``ahead`` seconds later.

    ``table`` (6, 18): polynomials of value, first and second derivative; ``base`` (3, 3); any strides.
    """

def add_tracking(
    jacobian: np.ndarray,
    roots: np.ndarray,
    twist: np.ndarray,
    error: np.ndarray,
    gain: float,
    linear: float,
    angular: float,
    hessian: np.ndarray,
    gradient: np.ndarray,
) -> None:
    """Add the cost of following twist + gain error (6,), no faster than linear [m/s] and angular [rad/s].

    ``jacobian`` (6, n) and ``hessian`` (n, n) with any strides; ``roots`` (6,) of the weights.
    """

def add_posture(
    positions: np.ndarray,
    rest: np.ndarray,
    inner_lower: np.ndarray,
    inner_upper: np.ndarray,
    centering: np.ndarray,
    gain: float,
    speed: float,
    weight: float,
    gradient: np.ndarray,
) -> None:
    """Add the gradient (n,) of the drift to rest and away from the ends of the joints' ranges; all (n,)."""

def add_scaled(factor: float, vector: np.ndarray, out: np.ndarray) -> None:
    """out += factor vector, (n,)."""

def manipulability(jacobian: np.ndarray) -> float:
    """sqrt(det(J J^T)) of a Jacobian (6, n) with any strides; 0 where it is singular."""

def manipulability_gradient(
    spatial: np.ndarray, columns: np.ndarray, manipulability: float, regularisation: float, gradient_out: np.ndarray
) -> None:
    """Gradient (n,) with respect to the joint positions, from the spatial Jacobian (6, n) with any strides.

    ``columns``: indices (int64) of the joints that carry the tool, from the base on; the others' entries are 0.
    """

def pair_margins(
    distances: np.ndarray,
    geoms: np.ndarray,
    table: np.ndarray,
    safe: np.ndarray,
    pairs_out: np.ndarray,
    margins_out: np.ndarray,
) -> float:
    """Pairs (k,) int64 and margins (k,) [m] of contacts; the smallest margin, infinite without contacts.

    ``distances`` (k,) [m] and ``geoms`` (k, 2) int32 with any strides; ``table`` (g g,) int64: row in ``safe`` [m] by
    first * g + second.

    Raises:
        IndexError: two geoms are no pair.
    """

def collision_rows(
    margins: np.ndarray,
    frames: np.ndarray,
    points: np.ndarray,
    pairs: np.ndarray,
    moved_by: np.ndarray,
    base_rotation: np.ndarray,
    base_translation: np.ndarray,
    spatial: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    profile: tuple[float, float, float],
    rows_out: np.ndarray,
    rows_lower_out: np.ndarray,
    limit: int,
) -> int:
    """Rows (M, n + 1) and their bounds (M,) of the ``limit`` contacts with the smallest margins, in their order.

    ``frames`` (k, 9), beginning with the normal, ``points`` (k, 3) [m], ``moved_by`` (p, n) and ``spatial`` (6, n) with
    any strides. ``lower``, ``upper`` (n,) [rad/s]: box of the velocities. ``profile``: gain [1/s], deceleration
    [m/s^2], recovery [m/s]. Returns the number of rows.
    """

def add_box(
    damping: float,
    slack: float,
    lower: np.ndarray,
    upper: np.ndarray,
    hessian: np.ndarray,
    lower_out: np.ndarray,
    upper_out: np.ndarray,
) -> None:
    """Complete a program of n velocities and the slack: ``hessian`` (n + 1, n + 1) and bounds (n + 1,).

    Adds ``damping`` to the velocities' diagonal and sets the slack's weight; ``lower``, ``upper`` (n,) bound the
    velocities, and the slack is at least 0 (its upper bound is left as it is).
    """

def all_finite(numbers: np.ndarray) -> bool:
    """Whether no number of (n,) is infinite or NaN."""

def pack_program(
    hessian: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    rows: np.ndarray,
    rows_lower: np.ndarray,
    triangle_out: np.ndarray,
    constraints_out: np.ndarray,
    lower_out: np.ndarray,
    upper_out: np.ndarray,
) -> None:
    """A program of N variables and its first m rows as OSQP takes it.

    ``triangle_out`` (N (N + 1) / 2,): upper triangle column by column. ``constraints_out`` (N, m + 1): the rows, behind
    a first column that is left as it is; ``lower_out``, ``upper_out`` (N + m,): the upper bounds of rows are left too.
    """

def clip_answer(
    answer: np.ndarray, lower: np.ndarray, upper: np.ndarray, longest: float, answer_out: np.ndarray
) -> bool:
    """The answer (N,) clipped to its box; whether its norm is below ``longest``. A NaN's is not."""
