"""The kernels of :mod:`gr2_wbc.kernels` once more, in numpy and pinocchio: what the compiled ones are compared with.

Same arguments and results; see ``_kernels.pyi``.
"""

from __future__ import annotations

import math

import numpy as np
import pinocchio as pin

from gr2_wbc.rotation import turning


def braking_speed(distance, gain, deceleration, recovery):
    """Largest speed towards a bound: gain d close by, a constant deceleration further away, -recovery beyond it."""
    knee = deceleration / gain
    far = np.sqrt(np.maximum(2.0 * deceleration * distance - knee**2, knee**2))
    return np.maximum(np.minimum(far, gain * distance), -recovery)


def attainable(rows, lower, upper):
    """Largest values (r,) that rows (r, n) times x can take for x in a box of lower and upper (n,)."""
    return np.maximum(rows, 0.0).dot(upper) + np.minimum(rows, 0.0).dot(lower)


def joint_bounds(q, v, lower, upper, velocity, deceleration, step, half_period, gain, recovery, lower_out, upper_out):
    under_way = q + half_period * v
    up = np.minimum(braking_speed(upper - under_way, gain, deceleration, recovery), velocity)
    down = np.minimum(braking_speed(under_way - lower, gain, deceleration, recovery), velocity)
    upper_out[:] = np.minimum(np.maximum(up, v - step), v + step)
    lower_out[:] = -np.minimum(np.maximum(down, -v - step), -v + step)
    too_fast = ((v - step > up + 1e-6) & (v > 0.0)) | ((-v - step > down + 1e-6) & (v < 0.0))
    return bool(too_fast.any())


def make_command(
    start, before, v, acceleration, period, hold, standing_speed, standing_tail, times_out, positions_out, speeds_out
):
    tail = np.max(np.append(np.abs(v / acceleration), period))
    if v.dot(v) < standing_speed**2:
        v, tail = np.zeros_like(v), standing_tail
    times_out[:] = period, hold, hold + tail
    half, on = 0.5 * period, hold - 0.5 * period
    positions_out[:] = start + half * before + np.outer((half, on, on + 0.5 * tail), v)
    speeds_out[:2], speeds_out[2] = v, 0.0


def evaluate_command(elapsed, times, start, before, positions, velocities, positions_out, velocities_out):
    elapsed = max(elapsed, 0.0)
    period, held, end = times.tolist()
    if elapsed >= end:
        velocity, position = np.zeros_like(start), positions[2]
    elif elapsed >= held:
        velocity = velocities[1] * (1.0 - (elapsed - held) / (end - held))
        position = positions[1] + 0.5 * (elapsed - held) * (velocities[1] + velocity)
    elif elapsed >= period:
        velocity, position = velocities[0], positions[0] + (elapsed - period) * velocities[0]
    else:
        velocity = before + (elapsed / period) * (velocities[0] - before)
        position = start + 0.5 * elapsed * (before + velocity)
    positions_out[:], velocities_out[:] = position, velocity


def command_values(q, v, start, times, positions, velocities):
    """The nine quantities (9, n) of the last check."""
    period, held, end = times.tolist()
    return np.array(
        (
            np.abs(start - q),
            np.abs(positions[0] - q - 0.5 * period * (v + velocities[0])),
            np.abs(velocities[0] - v) / period,
            np.abs(velocities[0]),
            np.abs(velocities[1]) / (end - held),
            *(positions[0], positions[2], -positions[0], -positions[2]),
        )
    )


def command_passes(q, v, start, times, positions, velocities, allowed):
    period, held, end = times.tolist()
    if not 0.0 < period < held < end < math.inf:
        return False
    if not (np.isfinite(start).all() and np.isfinite(positions).all() and np.isfinite(velocities).all()):
        return False
    return bool((command_values(q, v, start, times, positions, velocities) <= allowed).all())


def joint_errors(first, second, turns, weights, errors_out):
    difference = first - second
    difference = difference - 2.0 * np.pi * (np.round(difference / (2.0 * np.pi)) * turns)
    errors_out[:] = np.abs(difference) * weights
    return int(errors_out.argmax())


def pose_error(position, rotation, position0, rotation0, error_out):
    error_out[:3] = position - position0
    error_out[3:] = pin.log3(rotation.dot(rotation0.T))


def part_norms(vector):
    return math.hypot(*vector[:3]), math.hypot(*vector[3:])


def path_sample(table, s, scale, scale_rate, ahead, base, position_out, rotation_out, twist_out):
    row = (s ** np.arange(6)).dot(table)
    value, first, second = row.reshape(3, 6)
    step = (scale + 0.5 * scale_rate * ahead) * ahead
    later = max(scale + scale_rate * ahead, 0.0)
    rate = later * (first + step * second)
    position_out[:] = value[:3]
    rotation_out[:] = base.dot(pin.exp3(value[3:]))
    twist_out[:3] = rate[:3]
    vector = value[3:] + step * first[3:]
    spin = turning(tuple(vector), tuple(rate[3:])) if np.isfinite(vector).all() else np.full(3, np.nan)
    twist_out[3:] = base.dot(spin)


def add_tracking(jacobian, roots, twist, error, gain, linear, angular, hessian, gradient):
    wanted = twist + gain * error
    for part, longest in ((slice(0, 3), linear), (slice(3, 6), angular)):
        length = np.linalg.norm(wanted[part])
        if length > longest:
            wanted[part] *= longest / length
    weighted = roots[:, None] * jacobian
    hessian += weighted.T.dot(weighted)
    gradient -= weighted.T.dot(roots * wanted)


def add_posture(positions, rest, inner_lower, inner_upper, centering, gain, speed, weight, gradient):
    wanted = np.clip(gain * (rest - positions), -speed, speed)
    inner = np.minimum(np.maximum(positions, inner_lower), inner_upper)
    gradient -= weight * (wanted + centering * (inner - positions))


def add_scaled(factor, vector, out):
    out += factor * vector


def manipulability(jacobian):
    try:
        return float(np.prod(np.linalg.cholesky(jacobian.dot(jacobian.T)).diagonal()))
    except np.linalg.LinAlgError:
        return 0.0


def manipulability_gradient(spatial, columns, manipulability, regularisation, gradient_out):
    motions = spatial[:, columns]
    gram = motions.dot(motions.T) + regularisation * np.eye(6)
    duals = np.linalg.solve(gram, motions)
    gradient_out[:] = 0.0
    for place, column in enumerate(columns):
        action = pin.Motion(motions[:, place]).action
        changes = action.dot(motions[:, place + 1 :])
        gradient_out[column] = manipulability * np.sum(duals[:, place + 1 :] * changes)


def pair_margins(distances, geoms, table, safe, pairs_out, margins_out):
    pairs_out[:] = table[geoms[:, 0] * round(math.sqrt(len(table))) + geoms[:, 1]]
    margins_out[:] = distances - safe[pairs_out]
    return float(np.min(margins_out, initial=np.inf))


def collision_rows(
    margins, frames, points, pairs, moved_by, turn, shift, spatial, lower, upper, profile, rows_out, least_out, limit
):
    chosen = np.sort(np.argsort(margins, kind="stable")[:limit])
    points, normals = (points[chosen] - shift).dot(turn), frames[chosen, :3].dot(turn)
    rates = normals.dot(spatial[:3]) + np.cross(points, normals).dot(spatial[3:])
    rates *= moved_by[pairs[chosen]]
    count = len(chosen)
    rows_out[:count, :-1], rows_out[:count, -1] = rates, 1.0
    least_out[:count] = np.minimum(-braking_speed(margins[chosen], *profile), attainable(rates, lower, upper))
    return count


def add_box(damping, slack, lower, upper, hessian, lower_out, upper_out):
    hessian[:-1, :-1] += damping * np.eye(len(lower))
    hessian[-1, -1] = slack
    lower_out[:-1], upper_out[:-1], lower_out[-1] = lower, upper, 0.0


def all_finite(numbers):
    return bool(np.isfinite(numbers).all())


def pack_program(hessian, lower, upper, rows, rows_lower, triangle_out, constraints_out, lower_out, upper_out):
    size, taken = len(lower), constraints_out.shape[1] - 1
    triangle_out[:] = np.concatenate([hessian[: column + 1, column] for column in range(size)])
    constraints_out[:, 1:] = rows[:taken].T
    lower_out[:], upper_out[:size] = np.concatenate([lower, rows_lower[:taken]]), upper


def clip_answer(answer, lower, upper, longest, answer_out):
    answer_out[:] = np.minimum(np.maximum(answer, lower), upper)
    return bool(answer.dot(answer) < longest**2)
