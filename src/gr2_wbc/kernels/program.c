/* The quadratic program of a cycle: collision rows, what is handed to OSQP, and its answer. */
#include "arrays.h"

enum { MOST_ROWS = 256 };

/* Margins of contacts, distance minus the pair's safe distance; returns the smallest, infinite without contacts.
 *
 * ``table`` (g g,) has the row of a pair in ``safe`` by the numbers of its geoms, at first * g + second.
 */
KERNEL(pair_margins) {
    Column distances;
    Pairs geoms;
    Vector safe, margins;
    npy_int64 *table, *pairs;
    npy_intp entries, unused;
    if (!expect("pair_margins", count, 6) || !as_column(args[0], "distances", ANY, &distances) ||
        !as_pairs(args[1], "geoms", distances.size, &geoms) ||
        !as_indices(args[2], "table", ANY, READ, &table, &entries) ||
        !as_vector(args[3], "safe", ANY, READ, &safe) ||
        !as_indices(args[4], "pairs_out", distances.size, WRITE, &pairs, &unused) ||
        !as_vector(args[5], "margins_out", distances.size, WRITE, &margins))
        return NULL;
    npy_intp number = (npy_intp)(sqrt((double)entries) + 0.5);
    double smallest = INFINITY;
    for (npy_intp k = 0; k < distances.size; k++) {
        const npy_int32 *geom = (const npy_int32 *)(geoms.at + k * geoms.step);
        npy_int64 pair = -1;
        if (geom[0] >= 0 && geom[1] >= 0 && geom[0] < number && geom[1] < number)
            pair = table[geom[0] * number + geom[1]];
        if (pair < 0 || pair >= safe.size)
            return PyErr_Format(PyExc_IndexError, "contact %zd: geoms %d and %d are no pair", (Py_ssize_t)k,
                                (int)geom[0], (int)geom[1]);
        pairs[k] = pair;
        margins.at[k] = distances.at[k * distances.step] - safe.at[pair];
        smallest = least(smallest, margins.at[k]);
    }
    return PyFloat_FromDouble(smallest);
}

/* The ``limit`` contacts with the smallest margins (a NaN counts as the largest), in the contacts' order; how many. */
static npy_intp nearest(const Vector *margins, npy_intp limit, npy_intp *chosen) {
    npy_intp used = 0;
    for (npy_intp k = 0; k < margins->size; k++) {
        npy_intp place = used; /* by rising margin at first */
        while (place > 0) {
            double mine = margins->at[k], other = margins->at[chosen[place - 1]];
            if (!(mine < other || (other != other && mine == mine))) break;
            place--;
        }
        if (place >= limit) continue;
        if (used < limit) used++;
        for (npy_intp i = used - 1; i > place; i--) chosen[i] = chosen[i - 1];
        chosen[place] = k;
    }
    for (npy_intp i = 1; i < used; i++) {
        npy_intp contact = chosen[i], place = i;
        for (; place > 0 && chosen[place - 1] > contact; place--) chosen[place] = chosen[place - 1];
        chosen[place] = contact;
    }
    return used;
}

/* Rows G x >= lower that keep the safe distances of the nearest contacts; returns how many.
 *
 * A contact of normal n at point p (both turned into the base frame) has G_j = f_j (n . v_j + (p x n) . w_j) for the
 * joint motions (v_j, w_j) of ``spatial``, where f_j is the geoms' share in it (``moved_by``); the last variable is the
 * slack, with 1. lower = -speed(margin) by the braking profile, but no more than G x can reach for x within the box.
 */
KERNEL(collision_rows) {
    Matrix frames, points, moved_by, turn, spatial, rows;
    Vector margins, shift, low, high, bound;
    npy_int64 *pairs;
    npy_intp unused;
    double gain, deceleration, recovery;
    if (!expect("collision_rows", count, 14) || !as_vector(args[0], "margins", ANY, READ, &margins) ||
        !as_matrix(args[1], "frames", margins.size, 9, READ, &frames) ||
        !as_matrix(args[2], "points", margins.size, 3, READ, &points) ||
        !as_indices(args[3], "pairs", margins.size, READ, &pairs, &unused) ||
        !as_matrix(args[4], "moved_by", ANY, ANY, READ, &moved_by) ||
        !as_matrix(args[5], "base_rotation", 3, 3, READ, &turn) ||
        !as_vector(args[6], "base_translation", 3, READ, &shift) ||
        !as_matrix(args[7], "spatial", 6, moved_by.columns, READ, &spatial) ||
        !as_vector(args[8], "lower", moved_by.columns, READ, &low) ||
        !as_vector(args[9], "upper", moved_by.columns, READ, &high))
        return NULL;
    if (!PyTuple_Check(args[10])) return PyErr_Format(PyExc_TypeError, "profile: a tuple is expected");
    if (!PyArg_ParseTuple(args[10], "ddd;a profile's gain, deceleration, recovery", &gain, &deceleration, &recovery))
        return NULL;
    Py_ssize_t limit;
    if (!as_matrix(args[11], "rows_out", ANY, moved_by.columns + 1, WRITE, &rows) ||
        !as_vector(args[12], "rows_lower_out", rows.rows, WRITE, &bound) || !as_count(args[13], &limit))
        return NULL;
    if (limit < 0 || limit > rows.rows || limit > MOST_ROWS)
        return PyErr_Format(PyExc_ValueError, "limit: %zd rows are asked for, at most %zd fit", limit,
                            (Py_ssize_t)(rows.rows < MOST_ROWS ? rows.rows : MOST_ROWS));
    npy_intp chosen[MOST_ROWS], used = nearest(&margins, limit, chosen);
    for (npy_intp r = 0; r < used; r++) {
        npy_intp k = chosen[r], pair = (npy_intp)pairs[k];
        if (pair < 0 || pair >= moved_by.rows)
            return PyErr_Format(PyExc_IndexError, "pairs: there is no pair %zd", (Py_ssize_t)pair);
        double p[3], n[3];
        for (int j = 0; j < 3; j++) {
            p[j] = n[j] = 0.0;
            for (int i = 0; i < 3; i++) {
                p[j] += (ENTRY(points, k, i) - shift.at[i]) * ENTRY(turn, i, j);
                n[j] += ENTRY(frames, k, i) * ENTRY(turn, i, j);
            }
        }
        const double line[6] = {
            n[0], n[1], n[2], p[1] * n[2] - p[2] * n[1], p[2] * n[0] - p[0] * n[2], p[0] * n[1] - p[1] * n[0],
        };
        double reach = 0.0;
        for (npy_intp j = 0; j < moved_by.columns; j++) {
            double rate = 0.0;
            for (int i = 0; i < 6; i++) rate += line[i] * ENTRY(spatial, i, j);
            rate *= ENTRY(moved_by, pair, j);
            ENTRY(rows, r, j) = rate;
            reach += most(rate, 0.0) * high.at[j] + least(rate, 0.0) * low.at[j];
        }
        ENTRY(rows, r, moved_by.columns) = 1.0;
        bound.at[r] = least(-braking_speed(margins.at[k], gain, deceleration, recovery), reach);
    }
    return PyLong_FromSsize_t(used);
}

/* Damping on the diagonal of the n velocities, the slack's weight behind it, and the box: slack >= 0. */
KERNEL(add_box) {
    Matrix hessian;
    Vector low, high, lower, upper;
    double damping, slack;
    if (!expect("add_box", count, 7) || !as_number(args[0], &damping) || !as_number(args[1], &slack) ||
        !as_vector(args[2], "lower", ANY, READ, &low) || !as_vector(args[3], "upper", low.size, READ, &high) ||
        !as_matrix(args[4], "hessian", low.size + 1, low.size + 1, WRITE, &hessian) ||
        !as_vector(args[5], "lower_out", low.size + 1, WRITE, &lower) ||
        !as_vector(args[6], "upper_out", low.size + 1, WRITE, &upper))
        return NULL;
    npy_intp n = low.size;
    for (npy_intp k = 0; k < n; k++) {
        ENTRY(hessian, k, k) += damping;
        lower.at[k] = low.at[k], upper.at[k] = high.at[k];
    }
    ENTRY(hessian, n, n) = slack;
    lower.at[n] = 0.0;
    Py_RETURN_NONE;
}

/* Whether all numbers are finite. */
KERNEL(all_finite) {
    Vector v;
    if (!expect("all_finite", count, 1) || !as_vector(args[0], "numbers", ANY, READ, &v)) return NULL;
    int good = 1;
    for (npy_intp k = 0; k < v.size; k++) good &= fabs(v.at[k]) <= DBL_MAX;
    return PyBool_FromLong(good);
}

/* What OSQP takes: the upper triangle of H column by column; [I; rows] column by column, (N, m + 1) with the identity's
 * ones in place; and both bounds (N + m,). ``rows`` may have more rows than m; those are left out. */
KERNEL(pack_program) {
    Matrix hessian, rows, constraints;
    Vector low, high, rows_low, triangle, bounds_low, bounds_high;
    if (!expect("pack_program", count, 9) || !as_matrix(args[0], "hessian", ANY, ANY, READ, &hessian) ||
        !as_vector(args[1], "lower", hessian.rows, READ, &low) ||
        !as_vector(args[2], "upper", hessian.rows, READ, &high) ||
        !as_matrix(args[3], "rows", ANY, hessian.rows, READ, &rows) ||
        !as_vector(args[4], "rows_lower", rows.rows, READ, &rows_low) ||
        !as_vector(args[5], "triangle_out", hessian.rows * (hessian.rows + 1) / 2, WRITE, &triangle) ||
        !as_matrix(args[6], "constraints_out", hessian.rows, ANY, WRITE, &constraints) ||
        !as_vector(args[7], "lower_out", hessian.rows + constraints.columns - 1, WRITE, &bounds_low) ||
        !as_vector(args[8], "upper_out", bounds_low.size, WRITE, &bounds_high))
        return NULL;
    npy_intp size = hessian.rows, taken = constraints.columns - 1, at = 0;
    if (hessian.columns != size || taken > rows.rows)
        return PyErr_Format(PyExc_ValueError, "%zd rows are to be taken of %zd", (Py_ssize_t)taken,
                            (Py_ssize_t)rows.rows);
    for (npy_intp j = 0; j < size; j++) {
        for (npy_intp i = 0; i <= j; i++) triangle.at[at++] = ENTRY(hessian, i, j);
        for (npy_intp r = 0; r < taken; r++) ENTRY(constraints, j, r + 1) = ENTRY(rows, r, j);
        bounds_low.at[j] = low.at[j], bounds_high.at[j] = high.at[j];
    }
    for (npy_intp r = 0; r < taken; r++) bounds_low.at[size + r] = rows_low.at[r];
    Py_RETURN_NONE;
}

/* out = the answer clipped to its box; whether the answer's length is below ``longest`` (a NaN's is not). */
KERNEL(clip_answer) {
    Vector answer, low, high, out;
    double longest, square = 0.0;
    if (!expect("clip_answer", count, 5) || !as_vector(args[0], "answer", ANY, READ, &answer) ||
        !as_vector(args[1], "lower", answer.size, READ, &low) ||
        !as_vector(args[2], "upper", answer.size, READ, &high) || !as_number(args[3], &longest) ||
        !as_vector(args[4], "out", answer.size, WRITE, &out))
        return NULL;
    for (npy_intp k = 0; k < answer.size; k++) {
        square += answer.at[k] * answer.at[k];
        out.at[k] = least(most(answer.at[k], low.at[k]), high.at[k]);
    }
    return PyBool_FromLong(square < longest * longest);
}
