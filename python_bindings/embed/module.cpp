// unirun._embed for a Python that runs already. A C++ program gives the same module to its
// interpreters by itself.

#include "executors/python/callbacks/native_module.h"

PyMODINIT_FUNC PyInit__embed() { return PyModuleDef_Init(unirun::python::native_module()); }
