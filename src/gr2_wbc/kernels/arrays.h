/* Numpy arrays as C views, checked: double precision, shape, alignment, and writable where they are written. */
#ifndef GR2_WBC_ARRAYS_H
#define GR2_WBC_ARRAYS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#define NPY_NO_DEPRECATED_API NPY_1_7_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL gr2_wbc_numpy
#ifndef GR2_WBC_MODULE
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>
#include <float.h>
#include <math.h>

/* Contiguous (size,). */
typedef struct {
    double *at;
    npy_intp size;
} Vector;

/* (rows, columns) with any strides, counted in doubles: element (i, j) is at[i * down + j * across]. */
typedef struct {
    double *at;
    npy_intp rows, columns, down, across;
} Matrix;

/* (size,) with any stride, counted in doubles. */
typedef struct {
    double *at;
    npy_intp size, step;
} Column;

/* (size, 2) numbers of 32 bits; row k begins at at + k * step bytes. */
typedef struct {
    const char *at;
    npy_intp size, step;
} Pairs;

#define ENTRY(m, i, j) ((m).at[(i) * (m).down + (j) * (m).across])
#define ANY ((npy_intp)-1)

enum { READ = 0, WRITE = 1 };

/* Views of an argument. They return 0 and set a Python exception that names the argument if it does not fit. */
int as_vector(PyObject *object, const char *name, npy_intp size, int access, Vector *view);
int as_matrix(PyObject *object, const char *name, npy_intp rows, npy_intp columns, int access, Matrix *view);
int as_column(PyObject *object, const char *name, npy_intp size, Column *view);
int as_pairs(PyObject *object, const char *name, npy_intp size, Pairs *view);
/* Contiguous, 64 bits. */
int as_indices(PyObject *object, const char *name, npy_intp size, int access, npy_int64 **at, npy_intp *count);
int as_number(PyObject *object, double *value);
int as_count(PyObject *object, Py_ssize_t *value);
int expect(const char *function, Py_ssize_t given, Py_ssize_t wanted);

/* As numpy's minimum and maximum: a NaN on either side is the result. */
static inline double least(double a, double b) { return a < b || a != a ? a : b; }
static inline double most(double a, double b) { return a > b || a != a ? a : b; }

/* Largest speed towards a bound at a distance; see BrakingProfile in limits.py, of which this is the formula. */
static inline double braking_speed(double distance, double gain, double deceleration, double recovery) {
    double knee = deceleration / gain, square = knee * knee;
    double far = sqrt(most(2.0 * deceleration * distance - square, square));
    return most(least(far, gain * distance), -recovery);
}

#define KERNEL(name) PyObject *name(PyObject *module, PyObject *const *args, Py_ssize_t count)

KERNEL(add_box);
KERNEL(add_posture);
KERNEL(add_scaled);
KERNEL(add_tracking);
KERNEL(all_finite);
KERNEL(clip_answer);
KERNEL(collision_rows);
KERNEL(command_passes);
KERNEL(evaluate_command);
KERNEL(joint_bounds);
KERNEL(joint_errors);
KERNEL(make_command);
KERNEL(manipulability);
KERNEL(manipulability_gradient);
KERNEL(pack_program);
KERNEL(pair_margins);
KERNEL(part_norms);
KERNEL(path_sample);
KERNEL(pose_error);

#endif
