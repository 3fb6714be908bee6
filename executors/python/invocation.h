// How a function is called with values: what is behind every call, in whatever thread, interpreter
// or process it ends up.
//
// Thread: with the GIL, and no exception set; none is set afterwards. No event loop's.

#pragma once

#include "executors/python/python.h"
// Python.h first.

#include <cstdint>

#include "executors/python/call_spec.h"
#include "executors/python/error.h"

namespace unirun::python {

// What a call may return.
enum class Returned : std::uint8_t {
  any,     // What is no value is a Ref.
  values,  // And the rest is an error: it goes where no Ref can go.
};

// Finds the function, converts, calls, and converts what it returns. Errors: as
// FunctionCache::find(); conversion, of an argument or of what it returned; python_exception;
// wrong_interpreter of a Ref.
[[nodiscard]] Result<Value> invoke(const CallSpec& call, Returned returned = Returned::any);

// Only the call: what it returned, as it is.
[[nodiscard]] Result<Reference> call_object(PyObject* callable, const Args& args = {},
                                            const Kwargs& kwargs = {});

// The function that is named, as FunctionCache::find() gives it.
[[nodiscard]] Result<Reference> find_function(const CallSpec& call, PyObject* main = nullptr);

}  // namespace unirun::python
