// The exception that is set, as an object: executors/python/values/exception.h, for the bindings.

#pragma once

#include "executors/python/values/exception.h"
#include "python_bindings/python.h"

namespace unirun::bindings {

using python::raise_exception;
using python::take_exception;

}  // namespace unirun::bindings
