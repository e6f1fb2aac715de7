/* The module gr2_wbc._kernels: the arithmetic of a control cycle. Stateless; nothing is allocated but the answer. */
#define GR2_WBC_MODULE
#include "arrays.h"

#define METHOD(name) {#name, (PyCFunction)(void (*)(void))name, METH_FASTCALL, "See _kernels.pyi."}

static PyMethodDef methods[] = {
    METHOD(add_box),
    METHOD(add_posture),
    METHOD(add_scaled),
    METHOD(add_tracking),
    METHOD(all_finite),
    METHOD(clip_answer),
    METHOD(collision_rows),
    METHOD(command_passes),
    METHOD(evaluate_command),
    METHOD(joint_bounds),
    METHOD(joint_errors),
    METHOD(make_command),
    METHOD(manipulability),
    METHOD(manipulability_gradient),
    METHOD(pack_program),
    METHOD(pair_margins),
    METHOD(part_norms),
    METHOD(path_sample),
    METHOD(pose_error),
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_kernels", "The arithmetic of a control cycle; see gr2_wbc.kernels.", -1, methods,
    NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__kernels(void) {
    import_array();
    return PyModule_Create(&definition);
}
