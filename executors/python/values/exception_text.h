// Between exceptions and Errors. A Python exception becomes what Python would print of it, and none
// ends the process: SystemExit and KeyboardInterrupt are exceptions like others here.
//
// Thread: with the GIL.

#pragma once

#include <string>

#include "executors/python/error.h"
#include "executors/python/values/ref.h"

namespace unirun::python {

// An Error that keeps the exception can raise the very same one again in its interpreter; but it
// keeps the frames of its traceback alive too, with all that they hold.
enum class Keep {
  text,
  exception,        // And the text.
  exception_alone,  // The traceback, which is the costly part, stays untold.
};

// Takes the one that is set off this thread; where none is, says that a call failed without one.
// Never fails: an exception whose own __str__ raises, and one that comes when Python has no
// `traceback` any more, still gives its type and what can be said.
[[nodiscard]] Error error_of_exception(Keep keep = Keep::text);

// The same, under another code where it has none of its own.
[[nodiscard]] Error error_of_exception_as(Errc code);

// The same for code that was called on the way from Python to C++ and back, at any depth: Python
// code waits for it, and takes the exception itself. At depth 0 the text.
[[nodiscard]] Error error_of_call();

// REQUIRES: `exception` is an instance of BaseException, and no exception is set.
[[nodiscard]] Error error_of_exception(PyObject* exception, Keep keep = Keep::text);

// The C++ exception that is being handled: its demangled type and what(). No GIL is needed.
[[nodiscard]] Error error_of_cpp_exception();

// Sets the Python exception that is closest: the very one where it was kept; else one of its class,
// if that is loaded and takes the same arguments; else, by the code, a builtin one, with its
// attribute `errc` set to the word of the code. A traceback from elsewhere goes into a note.
// REQUIRES: no exception is set.
void raise_error(const Error& error);

// Sets the closest to the C++ exception that is being handled (std::out_of_range is an IndexError),
// with its C++ type in a note. REQUIRES: no exception is set.
void raise_cpp_exception();

// What that would raise, for another process to raise: with the note in place of a traceback. No
// GIL is needed.
[[nodiscard]] Error error_as_raised();

// "builtins.ValueError". REQUIRES: `type` is one, and no exception is set.
[[nodiscard]] std::string type_name(PyObject* type);

}  // namespace unirun::python
