// Interruption raises unirun.Interrupted, a BaseException, in Python code that runs on another
// thread.
//
// Thread: with the GIL of the interpreter.

#pragma once

#include "executors/python/python.h"
// Python.h first.

namespace unirun::python {

// unirun.Interrupted of this interpreter, borrowed. Null: an exception is set.
[[nodiscard]] PyObject* interrupted_class();

// Whether what is raised from now on is a KeyboardInterrupt too. Thread: any.
void raise_as_keyboard_interrupt(bool wanted);

// What is raised: Interrupted, or a class below it and KeyboardInterrupt. Borrowed; null as above.
[[nodiscard]] PyObject* interruption_to_raise();

// Has it raised in the thread that Python knows by this id, when it next runs Python code. False:
// there is no such thread.
[[nodiscard]] bool interrupt_thread(unsigned long id);

// Takes back what has not been raised yet, on the calling thread.
void clear_interruption(unsigned long id);

// What was sent to the thread whose state this is and has not been raised yet. Thread: that one.
[[nodiscard]] bool is_interruption_pending(const PyThreadState* state);

}  // namespace unirun::python
