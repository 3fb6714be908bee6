// MapRun: the results of one map(), in their order, without a future for each. It is the iterator
// that map() hands out, and sleeps until the next one is there.
//
// Thread: with the GIL, or the object's lock; one iterates.

#pragma once

#include "python_bindings/python.h"
// Python.h first.

#include <cstddef>

#include "python_bindings/pools/wakes.h"

namespace unirun::bindings {

struct Completer;
struct MapRun;

// Makes the type and adds it to the module. False: an exception is set.
[[nodiscard]] bool init_map_run(PyObject* module);

// Without places yet; `timeout` in seconds for all of them, or None. Null: an exception is set.
[[nodiscard]] MapRun* make_map_run(PyTypeObject* type, Completer* completer, PyObject* timeout);

// One place more. False: an exception is set.
[[nodiscard]] bool add_place(MapRun* run, std::size_t& place);

[[nodiscard]] bool is_cancelled(const MapRun* run);

// The outcome, one of the two, whose reference is taken over.
void fill_place(MapRun* run, std::size_t place, PyObject* result, PyObject* exception,
                Wakes& wakes);

}  // namespace unirun::bindings
