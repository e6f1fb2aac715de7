#include "arrays.h"

static int fits(PyObject *object, const char *name, int dimensions, int type, int access) {
    if (!PyArray_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s: a numpy array is expected, not %s", name, Py_TYPE(object)->tp_name);
        return 0;
    }
    PyArrayObject *array = (PyArrayObject *)object;
    if (PyArray_TYPE(array) != type || PyArray_NDIM(array) != dimensions || !PyArray_ISBEHAVED_RO(array)) {
        PyErr_Format(PyExc_TypeError, "%s: an aligned array of %d dimension(s) and %s is expected", name, dimensions,
                     type == NPY_DOUBLE ? "doubles" : "indices");
        return 0;
    }
    if (access == WRITE && !PyArray_ISWRITEABLE(array)) {
        PyErr_Format(PyExc_ValueError, "%s: the array is read-only", name);
        return 0;
    }
    return 1;
}

static int has_size(const char *name, npy_intp wanted, npy_intp found) {
    if (wanted == ANY || wanted == found) return 1;
    PyErr_Format(PyExc_ValueError, "%s: %zd entries are expected, it has %zd", name, (Py_ssize_t)wanted,
                 (Py_ssize_t)found);
    return 0;
}

static int is_contiguous(const char *name, PyArrayObject *array) {
    if (PyArray_IS_C_CONTIGUOUS(array)) return 1;
    PyErr_Format(PyExc_ValueError, "%s: the array is not contiguous", name);
    return 0;
}

static int whole(const char *name, npy_intp stride, npy_intp word) {
    if (stride % word == 0) return 1;
    PyErr_Format(PyExc_ValueError, "%s: the strides are not whole entries", name);
    return 0;
}

int as_vector(PyObject *object, const char *name, npy_intp size, int access, Vector *view) {
    if (!fits(object, name, 1, NPY_DOUBLE, access)) return 0;
    PyArrayObject *array = (PyArrayObject *)object;
    view->at = PyArray_DATA(array);
    view->size = PyArray_DIM(array, 0);
    return has_size(name, size, view->size) && is_contiguous(name, array);
}

int as_matrix(PyObject *object, const char *name, npy_intp rows, npy_intp columns, int access, Matrix *view) {
    if (!fits(object, name, 2, NPY_DOUBLE, access)) return 0;
    PyArrayObject *array = (PyArrayObject *)object;
    const npy_intp word = (npy_intp)sizeof(double);
    npy_intp down = PyArray_STRIDE(array, 0), across = PyArray_STRIDE(array, 1);
    if (!whole(name, down, word) || !whole(name, across, word)) return 0;
    *view = (Matrix){PyArray_DATA(array), PyArray_DIM(array, 0), PyArray_DIM(array, 1), down / word, across / word};
    return has_size(name, rows, view->rows) && has_size(name, columns, view->columns);
}

int as_column(PyObject *object, const char *name, npy_intp size, Column *view) {
    if (!fits(object, name, 1, NPY_DOUBLE, READ)) return 0;
    PyArrayObject *array = (PyArrayObject *)object;
    const npy_intp word = (npy_intp)sizeof(double);
    *view = (Column){PyArray_DATA(array), PyArray_DIM(array, 0), PyArray_STRIDE(array, 0) / word};
    return has_size(name, size, view->size) && whole(name, PyArray_STRIDE(array, 0), word);
}

int as_pairs(PyObject *object, const char *name, npy_intp size, Pairs *view) {
    if (!fits(object, name, 2, NPY_INT32, READ)) return 0;
    PyArrayObject *array = (PyArrayObject *)object;
    *view = (Pairs){PyArray_DATA(array), PyArray_DIM(array, 0), PyArray_STRIDE(array, 0)};
    int adjacent = view->size == 0 || PyArray_STRIDE(array, 1) == (npy_intp)sizeof(npy_int32);
    if (PyArray_DIM(array, 1) != 2 || !adjacent) {
        PyErr_Format(PyExc_ValueError, "%s: rows of two adjacent numbers are expected", name);
        return 0;
    }
    return has_size(name, size, view->size);
}

int as_indices(PyObject *object, const char *name, npy_intp size, int access, npy_int64 **at, npy_intp *count) {
    if (!fits(object, name, 1, NPY_INT64, access)) return 0;
    PyArrayObject *array = (PyArrayObject *)object;
    *at = PyArray_DATA(array);
    *count = PyArray_DIM(array, 0);
    return has_size(name, size, *count) && is_contiguous(name, array);
}

int as_number(PyObject *object, double *value) {
    *value = PyFloat_AsDouble(object);
    return !(*value == -1.0 && PyErr_Occurred());
}

int as_count(PyObject *object, Py_ssize_t *value) {
    *value = PyLong_AsSsize_t(object);
    return !(*value == -1 && PyErr_Occurred());
}

int expect(const char *function, Py_ssize_t given, Py_ssize_t wanted) {
    if (given == wanted) return 1;
    PyErr_Format(PyExc_TypeError, "%s takes %zd arguments, not %zd", function, wanted, given);
    return 0;
}
