// The first include of every file here that speaks Python's C API: the hot paths (asyncio's handles
// and turns, futures, pools) have no place for pybind11.

#pragma once

#include "executors/python/python.h"
// Python.h first.

namespace unirun::bindings {

using python::method;
using python::ObjectLock;
using python::Reference;
using python::slot;

}  // namespace unirun::bindings
