// `with unirun.shield():` has an interruption of its task wait until it ends. On a thread that is
// no worker's nothing is ever interrupted, and it does nothing.
//
// Thread: with the GIL.

#pragma once

#include "executors/python/python.h"
// Python.h first.

namespace unirun::python {

// The class, for this module. Null: an exception is set.
[[nodiscard]] Reference make_shield_type(PyObject* module);

}  // namespace unirun::python
