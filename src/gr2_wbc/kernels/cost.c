/* The tool's task: pose errors, reference samples, quadratic costs, and the manipulability with its gradient. */
#include "arrays.h"
#include <string.h>

static void cross(const double a[3], const double b[3], double out[3]) {
    out[0] = a[1] * b[2] - a[2] * b[1];
    out[1] = a[2] * b[0] - a[0] * b[2];
    out[2] = a[0] * b[1] - a[1] * b[0];
}

static double norm3(const double *v) { return sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]); }

/* The rotation vector of a rotation matrix, at most half a turn: by its unit quaternion (v, w), whose largest part
 * comes from a root and the others by division, the angle is 2 atan2(|v|, |w|). */
static void rotation_vector(const double r[9], double out[3]) {
    double q[4], trace = r[0] + r[4] + r[8];
    if (!(trace <= 0.0)) {
        double root = sqrt(1.0 + trace);
        q[0] = (r[7] - r[5]) / (2.0 * root), q[1] = (r[2] - r[6]) / (2.0 * root), q[2] = (r[3] - r[1]) / (2.0 * root);
        q[3] = 0.5 * root;
    } else {
        int i = r[4] > r[0] ? 1 : 0;
        if (r[8] > r[4 * i]) i = 2;
        int j = (i + 1) % 3, k = (i + 2) % 3;
        double root = sqrt(1.0 + r[4 * i] - r[4 * j] - r[4 * k]);
        q[i] = 0.5 * root;
        q[j] = (r[3 * j + i] + r[3 * i + j]) / (2.0 * root);
        q[k] = (r[3 * k + i] + r[3 * i + k]) / (2.0 * root);
        q[3] = (r[3 * k + j] - r[3 * j + k]) / (2.0 * root);
    }
    double sine = norm3(q), factor = 2.0;
    if (!(sine < 1e-9)) factor = 2.0 * atan2(sine, fabs(q[3])) / sine;
    if (q[3] < 0.0) factor = -factor;
    for (int i = 0; i < 3; i++) out[i] = factor * q[i];
}

/* (position - position0, log(rotation rotation0^T)): what leads from pose 0 to the pose, in the base frame. */
KERNEL(pose_error) {
    Vector position, position0, error;
    Matrix a, b;
    if (!expect("pose_error", count, 5) || !as_vector(args[0], "position", 3, READ, &position) ||
        !as_matrix(args[1], "rotation", 3, 3, READ, &a) || !as_vector(args[2], "position0", 3, READ, &position0) ||
        !as_matrix(args[3], "rotation0", 3, 3, READ, &b) || !as_vector(args[4], "error_out", 6, WRITE, &error))
        return NULL;
    double turn[9];
    for (int i = 0; i < 3; i++) {
        error.at[i] = position.at[i] - position0.at[i];
        for (int j = 0; j < 3; j++)
            turn[3 * i + j] = ENTRY(a, i, 0) * ENTRY(b, j, 0) + ENTRY(a, i, 1) * ENTRY(b, j, 1) +
                              ENTRY(a, i, 2) * ENTRY(b, j, 2);
    }
    rotation_vector(turn, error.at + 3);
    Py_RETURN_NONE;
}

/* Norms of the linear and of the angular half of a vector (6,). */
KERNEL(part_norms) {
    Vector v;
    if (!expect("part_norms", count, 1) || !as_vector(args[0], "vector", 6, READ, &v)) return NULL;
    return Py_BuildValue("(dd)", norm3(v.at), norm3(v.at + 3));
}

/* A path's pose now and its twist a little later; see Path.sample in path.py, of which this is the formula.
 *
 * row = [1 s ... s^5] table holds (p, v), (p', v'), (p'', v'') side by side. R = base exp(v), and the angular velocity
 * is base J(v) v' with J as in rotation.py.
 */
KERNEL(path_sample) {
    Matrix table, base, rotation;
    Vector position, twist;
    double s, scale, scale_rate, ahead;
    if (!expect("path_sample", count, 9) || !as_matrix(args[0], "table", 6, 18, READ, &table) ||
        !as_number(args[1], &s) || !as_number(args[2], &scale) || !as_number(args[3], &scale_rate) ||
        !as_number(args[4], &ahead) || !as_matrix(args[5], "base", 3, 3, READ, &base) ||
        !as_vector(args[6], "position_out", 3, WRITE, &position) ||
        !as_matrix(args[7], "rotation_out", 3, 3, WRITE, &rotation) ||
        !as_vector(args[8], "twist_out", 6, WRITE, &twist))
        return NULL;
    double row[18];
    for (int j = 0; j < 18; j++) {
        row[j] = ENTRY(table, 5, j);
        for (int i = 4; i >= 0; i--) row[j] = row[j] * s + ENTRY(table, i, j);
    }
    double step = (scale + 0.5 * scale_rate * ahead) * ahead, later = most(scale + scale_rate * ahead, 0.0);
    double v[3], rate[3], once[3], twice[3], spin[3];
    for (int i = 0; i < 3; i++) {
        position.at[i] = row[i];
        twist.at[i] = later * (row[6 + i] + step * row[12 + i]);
        v[i] = row[3 + i] + step * row[9 + i];
        rate[i] = later * (row[9 + i] + step * row[15 + i]);
    }
    double square = v[0] * v[0] + v[1] * v[1] + v[2] * v[2], angle = sqrt(square);
    double a = 0.5 - square / 24.0, b = 1.0 / 6.0 - square / 120.0;
    if (!(angle < 1e-3)) a = (1.0 - cos(angle)) / square, b = (angle - sin(angle)) / (square * angle);
    cross(v, rate, once);
    cross(v, once, twice);
    for (int i = 0; i < 3; i++) spin[i] = rate[i] + a * once[i] + b * twice[i];
    for (int i = 0; i < 3; i++)
        twist.at[3 + i] = ENTRY(base, i, 0) * spin[0] + ENTRY(base, i, 1) * spin[1] + ENTRY(base, i, 2) * spin[2];

    /* exp(v) = I + sin t / t [v] + (1 - cos t) / t^2 [v]^2, and [v]^2 = v v^T - t^2 I. */
    const double *x = row + 3;
    square = x[0] * x[0] + x[1] * x[1] + x[2] * x[2], angle = sqrt(square);
    double sine = 1.0 - square / 6.0, cosine = 1.0 - 0.5 * square;
    a = 0.5 - square / 24.0;
    if (!(angle < 1e-3)) sine = sin(angle) / angle, cosine = cos(angle), a = (1.0 - cosine) / square;
    const double turn[9] = {
        cosine + a * x[0] * x[0], a * x[0] * x[1] - sine * x[2], a * x[0] * x[2] + sine * x[1],
        a * x[1] * x[0] + sine * x[2], cosine + a * x[1] * x[1], a * x[1] * x[2] - sine * x[0],
        a * x[2] * x[0] - sine * x[1], a * x[2] * x[1] + sine * x[0], cosine + a * x[2] * x[2],
    };
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            ENTRY(rotation, i, j) =
                ENTRY(base, i, 0) * turn[j] + ENTRY(base, i, 1) * turn[3 + j] + ENTRY(base, i, 2) * turn[6 + j];
    Py_RETURN_NONE;
}

/* Follow t = twist + gain error, its halves no longer than ``linear`` and ``angular``: with A = diag(roots) J and
 * b = diag(roots) t, hessian += A^T A and gradient -= A^T b. */
KERNEL(add_tracking) {
    Matrix jacobian, hessian;
    Vector roots, twist, error, gradient;
    double gain, linear, angular;
    if (!expect("add_tracking", count, 9) || !as_matrix(args[0], "jacobian", 6, ANY, READ, &jacobian) ||
        !as_vector(args[1], "roots", 6, READ, &roots) || !as_vector(args[2], "twist", 6, READ, &twist) ||
        !as_vector(args[3], "error", 6, READ, &error) || !as_number(args[4], &gain) || !as_number(args[5], &linear) ||
        !as_number(args[6], &angular) ||
        !as_matrix(args[7], "hessian", jacobian.columns, jacobian.columns, WRITE, &hessian) ||
        !as_vector(args[8], "gradient", jacobian.columns, WRITE, &gradient))
        return NULL;
    double wanted[6], weight[6];
    for (int i = 0; i < 6; i++) wanted[i] = twist.at[i] + gain * error.at[i], weight[i] = roots.at[i] * roots.at[i];
    const double lengths[2] = {norm3(wanted), norm3(wanted + 3)}, longest[2] = {linear, angular};
    for (int i = 0; i < 6; i++)
        if (lengths[i / 3] > longest[i / 3]) wanted[i] *= longest[i / 3] / lengths[i / 3];
    for (npy_intp k = 0; k < jacobian.columns; k++) {
        double column[6];
        for (int i = 0; i < 6; i++) {
            column[i] = weight[i] * ENTRY(jacobian, i, k);
            gradient.at[k] -= column[i] * wanted[i];
        }
        for (npy_intp l = 0; l <= k; l++) {
            double sum = 0.0;
            for (int i = 0; i < 6; i++) sum += column[i] * ENTRY(jacobian, i, l);
            ENTRY(hessian, k, l) += sum;
            if (l != k) ENTRY(hessian, l, k) += sum;
        }
    }
    Py_RETURN_NONE;
}

/* gradient -= weight (clip(gain (rest - q), speed) + centering (clip(q, inner) - q)); see Posture, contributors.py. */
KERNEL(add_posture) {
    Vector q, rest, low, high, centering, gradient;
    double gain, speed, weight;
    if (!expect("add_posture", count, 9) || !as_vector(args[0], "positions", ANY, READ, &q) ||
        !as_vector(args[1], "rest", q.size, READ, &rest) || !as_vector(args[2], "inner_lower", q.size, READ, &low) ||
        !as_vector(args[3], "inner_upper", q.size, READ, &high) ||
        !as_vector(args[4], "centering", q.size, READ, &centering) || !as_number(args[5], &gain) ||
        !as_number(args[6], &speed) || !as_number(args[7], &weight) ||
        !as_vector(args[8], "gradient", q.size, WRITE, &gradient))
        return NULL;
    for (npy_intp k = 0; k < q.size; k++) {
        double wanted = most(least(gain * (rest.at[k] - q.at[k]), speed), -speed);
        double inner = least(most(q.at[k], low.at[k]), high.at[k]);
        gradient.at[k] -= weight * (wanted + centering.at[k] * (inner - q.at[k]));
    }
    Py_RETURN_NONE;
}

/* out += factor vector. */
KERNEL(add_scaled) {
    Vector v, out;
    double factor;
    if (!expect("add_scaled", count, 3) || !as_number(args[0], &factor) ||
        !as_vector(args[1], "vector", ANY, READ, &v) || !as_vector(args[2], "out", v.size, WRITE, &out))
        return NULL;
    for (npy_intp k = 0; k < v.size; k++) out.at[k] += factor * v.at[k];
    Py_RETURN_NONE;
}

/* The lower triangle of S S^T + diagonal I becomes its Cholesky factor L; 0 if there is none. ``columns`` NULL: all. */
static int cholesky(const Matrix *s, const npy_int64 *columns, npy_intp size, double diagonal, double l[6][6]) {
    memset(l, 0, 36 * sizeof(double));
    for (npy_intp n = 0; n < size; n++) {
        npy_intp k = columns ? (npy_intp)columns[n] : n;
        for (int i = 0; i < 6; i++)
            for (int j = 0; j <= i; j++) l[i][j] += ENTRY(*s, i, k) * ENTRY(*s, j, k);
    }
    for (int j = 0; j < 6; j++) {
        double pivot = l[j][j] + diagonal;
        for (int k = 0; k < j; k++) pivot -= l[j][k] * l[j][k];
        if (!(pivot > 0.0)) return 0;
        l[j][j] = sqrt(pivot);
        for (int i = j + 1; i < 6; i++) {
            for (int k = 0; k < j; k++) l[i][j] -= l[i][k] * l[j][k];
            l[i][j] /= l[j][j];
        }
    }
    return 1;
}

/* sqrt(det(J J^T)), the product of the diagonal of L with L L^T = J J^T; 0 where there is no L. */
KERNEL(manipulability) {
    Matrix jacobian;
    double l[6][6], product = 1.0;
    if (!expect("manipulability", count, 1) || !as_matrix(args[0], "jacobian", 6, ANY, READ, &jacobian)) return NULL;
    if (!cholesky(&jacobian, NULL, jacobian.columns, 0.0, l)) return PyFloat_FromDouble(0.0);
    for (int i = 0; i < 6; i++) product *= l[i][i];
    return PyFloat_FromDouble(product);
}

/* The gradient of the manipulability m; the formula is at Kinematics.manipulability_gradient.
 *
 * dm/dq_i = m sum_k b_k . (S_i x S_k) over the joints k after i on the way to the tool, b_k = (S S^T)^-1 S_k. With
 * S = (v, w) and b = (a, c): b . (S_i x S_k) = v_i . (w_k x a) + w_i . (v_k x a + w_k x c), so the sums over k of the
 * two brackets are kept while i goes from the last joint to the first. ``columns``: those on the way, first to last.
 */
KERNEL(manipulability_gradient) {
    Matrix s;
    Vector out;
    double m, regularisation, l[6][6], sums[6] = {0.0};
    npy_int64 *columns;
    npy_intp size;
    if (!expect("manipulability_gradient", count, 5) || !as_matrix(args[0], "spatial", 6, ANY, READ, &s) ||
        !as_indices(args[1], "columns", ANY, READ, &columns, &size) || !as_number(args[2], &m) ||
        !as_number(args[3], &regularisation) || !as_vector(args[4], "gradient_out", s.columns, WRITE, &out))
        return NULL;
    for (npy_intp n = 0; n < size; n++)
        if (columns[n] < 0 || columns[n] >= s.columns)
            return PyErr_Format(PyExc_IndexError, "columns: there is no column %lld", (long long)columns[n]);
    for (npy_intp k = 0; k < out.size; k++) out.at[k] = 0.0;
    if (!cholesky(&s, columns, size, regularisation, l)) Py_RETURN_NONE;
    for (npy_intp n = size - 1; n >= 0; n--) {
        npy_intp k = (npy_intp)columns[n];
        double motion[6], b[6], term[3], sum = 0.0;
        for (int i = 0; i < 6; i++) motion[i] = ENTRY(s, i, k), sum += motion[i] * sums[i];
        out.at[k] = m * sum;
        for (int i = 0; i < 6; i++) { /* L y = S_k */
            b[i] = motion[i];
            for (int j = 0; j < i; j++) b[i] -= l[i][j] * b[j];
            b[i] /= l[i][i];
        }
        for (int i = 5; i >= 0; i--) { /* L^T b = y */
            for (int j = i + 1; j < 6; j++) b[i] -= l[j][i] * b[j];
            b[i] /= l[i][i];
        }
        cross(motion + 3, b, term);
        for (int i = 0; i < 3; i++) sums[i] += term[i];
        cross(motion, b, term);
        for (int i = 0; i < 3; i++) sums[3 + i] += term[i];
        cross(motion + 3, b + 3, term);
        for (int i = 0; i < 3; i++) sums[3 + i] += term[i];
    }
    Py_RETURN_NONE;
}
