/* The commanded motion: bounds on the next velocities, a set point with its braking tail, and the last check. */
#include "arrays.h"

/* The box on the next joint velocities; see JointBounds in limits.py.
 *
 * With u = q + v period / 2 the allowed speeds are the braking profile at (upper - u) and (u - lower), at most the
 * velocity limit; what lies within the acceleration limit of v is what remains: min(max(allowed, v - step), v + step).
 */
KERNEL(joint_bounds) {
    Vector q, v, low, high, fastest, braking, step, lower, upper;
    double half, gain, recovery;
    if (!expect("joint_bounds", count, 12) || !as_vector(args[0], "positions", ANY, READ, &q) ||
        !as_vector(args[1], "velocities", q.size, READ, &v) || !as_vector(args[2], "lower", q.size, READ, &low) ||
        !as_vector(args[3], "upper", q.size, READ, &high) || !as_vector(args[4], "velocity", q.size, READ, &fastest) ||
        !as_vector(args[5], "deceleration", q.size, READ, &braking) ||
        !as_vector(args[6], "step", q.size, READ, &step) || !as_number(args[7], &half) || !as_number(args[8], &gain) ||
        !as_number(args[9], &recovery) || !as_vector(args[10], "lower_out", q.size, WRITE, &lower) ||
        !as_vector(args[11], "upper_out", q.size, WRITE, &upper))
        return NULL;
    const double tolerance = 1e-6; /* [rad/s] */
    int too_fast = 0;
    for (npy_intp k = 0; k < q.size; k++) {
        double under_way = q.at[k] + half * v.at[k];
        double up = least(braking_speed(high.at[k] - under_way, gain, braking.at[k], recovery), fastest.at[k]);
        double down = least(braking_speed(under_way - low.at[k], gain, braking.at[k], recovery), fastest.at[k]);
        double slowest_up = v.at[k] - step.at[k], slowest_down = -v.at[k] - step.at[k];
        too_fast |= slowest_up > up + tolerance && v.at[k] > 0.0;
        too_fast |= slowest_down > down + tolerance && v.at[k] < 0.0;
        upper.at[k] = least(most(up, slowest_up), v.at[k] + step.at[k]);
        lower.at[k] = -least(most(down, slowest_down), -v.at[k] + step.at[k]);
    }
    return PyBool_FromLong(too_fast);
}

/* A set point and its stop; see CommandTrajectory in command.py.
 *
 * With the tail T = max |v| / a, at least a period: p1 = q + (v0 + v) period / 2, p2 = p1 + v (hold - period),
 * p3 = p2 + v T / 2. Velocities that are next to nothing are none, and the tail is then ``standing_tail``.
 */
KERNEL(make_command) {
    Vector start, before, v, acceleration, times;
    Matrix positions, velocities;
    double period, hold, standing_speed, standing_tail;
    if (!expect("make_command", count, 11) || !as_vector(args[0], "start", ANY, READ, &start) ||
        !as_vector(args[1], "start_velocity", start.size, READ, &before) ||
        !as_vector(args[2], "velocities", start.size, READ, &v) ||
        !as_vector(args[3], "acceleration", start.size, READ, &acceleration) || !as_number(args[4], &period) ||
        !as_number(args[5], &hold) || !as_number(args[6], &standing_speed) || !as_number(args[7], &standing_tail) ||
        !as_vector(args[8], "times_out", 3, WRITE, &times) ||
        !as_matrix(args[9], "positions_out", 3, start.size, WRITE, &positions) ||
        !as_matrix(args[10], "velocities_out", 3, start.size, WRITE, &velocities))
        return NULL;
    double tail = period, square = 0.0, share = 1.0;
    for (npy_intp k = 0; k < start.size; k++) {
        tail = most(tail, fabs(v.at[k] / acceleration.at[k]));
        square += v.at[k] * v.at[k];
    }
    if (square < standing_speed * standing_speed) share = 0.0, tail = standing_tail;
    times.at[0] = period, times.at[1] = hold, times.at[2] = hold + tail;
    for (npy_intp k = 0; k < start.size; k++) {
        double speed = share * v.at[k], first = start.at[k] + 0.5 * period * (before.at[k] + speed);
        ENTRY(positions, 0, k) = first;
        ENTRY(positions, 1, k) = first + (hold - period) * speed;
        ENTRY(positions, 2, k) = first + (hold - period + 0.5 * tail) * speed;
        ENTRY(velocities, 0, k) = ENTRY(velocities, 1, k) = speed;
        ENTRY(velocities, 2, k) = 0.0;
    }
    Py_RETURN_NONE;
}

/* Positions and velocities of a command at a time after its stamp; see CommandTrajectory.evaluate.
 *
 * Constant acceleration up to times[0], constant velocity up to times[1], constant deceleration up to times[2].
 */
KERNEL(evaluate_command) {
    double elapsed;
    Vector times, start, before, q, v;
    Matrix p, w;
    if (!expect("evaluate_command", count, 8) || !as_number(args[0], &elapsed) ||
        !as_vector(args[1], "times", 3, READ, &times) || !as_vector(args[2], "start", ANY, READ, &start) ||
        !as_vector(args[3], "start_velocity", start.size, READ, &before) ||
        !as_matrix(args[4], "positions", 3, start.size, READ, &p) ||
        !as_matrix(args[5], "velocities", 3, start.size, READ, &w) ||
        !as_vector(args[6], "positions_out", start.size, WRITE, &q) ||
        !as_vector(args[7], "velocities_out", start.size, WRITE, &v))
        return NULL;
    if (elapsed < 0.0) elapsed = 0.0;
    double period = times.at[0], held = times.at[1], end = times.at[2];
    for (npy_intp k = 0; k < start.size; k++) {
        double speed, place;
        if (elapsed >= end) {
            speed = 0.0, place = ENTRY(p, 2, k);
        } else if (elapsed >= held) {
            speed = ENTRY(w, 1, k) * (1.0 - (elapsed - held) / (end - held));
            place = ENTRY(p, 1, k) + 0.5 * (elapsed - held) * (ENTRY(w, 1, k) + speed);
        } else if (elapsed >= period) {
            speed = ENTRY(w, 0, k), place = ENTRY(p, 0, k) + (elapsed - period) * speed;
        } else {
            speed = before.at[k] + elapsed / period * (ENTRY(w, 0, k) - before.at[k]);
            place = start.at[k] + 0.5 * elapsed * (before.at[k] + speed);
        }
        q.at[k] = place, v.at[k] = speed;
    }
    Py_RETURN_NONE;
}

/* Whether a command passes the last check as it stands; see CommandGate in command.py for the nine quantities and for
 * what is said, and what is still allowed, where one does not.
 *
 * For each joint, with (q, v) due by the command before: |start - q|, |p1 - q - (v + v1) period / 2|,
 * |v1 - v| / period, |v1|, |v2| / tail, and p1, p3, -p1, -p3 are at most ``allowed`` (9, n). A NaN is never at most
 * anything; what is compared with an infinite limit must be finite too.
 */
KERNEL(command_passes) {
    Vector q, v, start, times;
    Matrix p, w, allowed;
    if (!expect("command_passes", count, 7) || !as_vector(args[0], "position", ANY, READ, &q) ||
        !as_vector(args[1], "velocity", q.size, READ, &v) || !as_vector(args[2], "start", q.size, READ, &start) ||
        !as_vector(args[3], "times", 3, READ, &times) || !as_matrix(args[4], "positions", 3, q.size, READ, &p) ||
        !as_matrix(args[5], "velocities", 3, q.size, READ, &w) ||
        !as_matrix(args[6], "allowed", 9, q.size, READ, &allowed))
        return NULL;
    double period = times.at[0], tail = times.at[2] - times.at[1];
    int good = 0.0 < period && period < times.at[1] && times.at[1] < times.at[2] && times.at[2] < INFINITY;
    for (npy_intp k = 0; k < q.size && good; k++) {
        double first = ENTRY(p, 0, k), last = ENTRY(p, 2, k), speed = ENTRY(w, 0, k);
        const double values[9] = {
            fabs(start.at[k] - q.at[k]),
            fabs(first - q.at[k] - 0.5 * period * (v.at[k] + speed)),
            fabs((speed - v.at[k]) / period),
            fabs(speed),
            fabs(ENTRY(w, 1, k) / tail),
            first, last, -first, -last,
        };
        for (int i = 0; i < 9; i++) good &= values[i] <= ENTRY(allowed, i, k);
        good &= isfinite(start.at[k]) != 0;
        for (int i = 0; i < 3; i++) good &= isfinite(ENTRY(p, i, k)) && isfinite(ENTRY(w, i, k));
    }
    return PyBool_FromLong(good);
}

/* Distances |a - b| by joint, modulo whole turns where ``turning`` is 1 (else 0), times ``weights``; returns where the
 * largest is, or the first NaN. */
KERNEL(joint_errors) {
    Vector a, b, turning, weights, errors;
    if (!expect("joint_errors", count, 5) || !as_vector(args[0], "first", ANY, READ, &a) ||
        !as_vector(args[1], "second", a.size, READ, &b) || !as_vector(args[2], "turning", a.size, READ, &turning) ||
        !as_vector(args[3], "weights", a.size, READ, &weights) ||
        !as_vector(args[4], "errors_out", a.size, WRITE, &errors))
        return NULL;
    const double turn = 6.283185307179586;
    npy_intp worst = 0;
    for (npy_intp k = 0; k < a.size; k++) {
        double difference = a.at[k] - b.at[k];
        difference -= turn * (rint(difference / turn) * turning.at[k]);
        errors.at[k] = fabs(difference) * weights.at[k];
        if (errors.at[worst] == errors.at[worst] && !(errors.at[k] <= errors.at[worst])) worst = k;
    }
    return PyLong_FromSsize_t(worst);
}
