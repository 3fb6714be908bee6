// How a function is called with values: what is behind every call, in whatever thread, interpreter
// or process it ends up.
//
// Thread: with the GIL, and no exception set; none is set afterwards. No event loop's.

#pragma once

#include "executors/python/python.h"
// Python.h first.

#include <cstdint>

#include "executors/python/calls/call_spec.h"
#include "executors/python/error.h"

namespace unirun::python {

// What a call may return.
enum class Returned : std::uint8_t {
  any,     // What is no value is a Ref.
  values,  // And the rest is an error: it goes where no Ref can go.
};

// Finds the function, converts, calls, and converts what it returns. Errors: as
// FunctionCache::find(); not_callable; conversion, of an argument or of what it returned;
// python_exception; wrong_interpreter of a Ref.
[[nodiscard]] Result<Value> invoke(const CallSpec& call, Returned returned = Returned::any);

// Only the call: what it returned, as it is.
[[nodiscard]] Result<Reference> call_object(PyObject* callable, const Args& args = {},
                                            const Kwargs& kwargs = {});

// The same, as a value.
[[nodiscard]] Result<Value> call_for_value(PyObject* callable, const Args& args,
                                           const Kwargs& kwargs, Returned returned = Returned::any);

// Errors: wrong_interpreter; unknown_function, there is none; conversion, a Ref of nothing.
[[nodiscard]] Result<Reference> attribute_of(const Ref& object, const std::string& name);

// Errors: import_failed.
[[nodiscard]] Result<void> reload_module(const std::string& name);

// The function that is named, as FunctionCache::find() gives it; for a task of a context "__main__"
// is the context's names.
[[nodiscard]] Result<Reference> find_function(const CallSpec& call);

}  // namespace unirun::python
