// How arguments and results travel between a pool and its worker processes.
//
// Encoder pickles into a Parcel (process_parcel.h), which brings itself to the other side; decode()
// reads it there.
//
// Thread: with the GIL, and one call at a time: pickling runs Python code.

#pragma once

#include "python_bindings/python.h"
// Python.h first.

#include "python_bindings/pools/process_parcel.h"
#include "python_bindings/pools/ring.h"

namespace unirun::bindings {

// Makes the types that pickling needs and keeps them in the module's state.
[[nodiscard]] bool init_process_codec(PyObject* module);

// Pickles into a Parcel, by a pickler that Python makes.
class Encoder {
 public:
  // `make_pickler` is called with a file: something with write() and add_buffer(). A pickler with
  // clear_memo() is used again; else each value gets a new one. False: an exception is set.
  [[nodiscard]] bool init(PyTypeObject* type, PyObject* make_pickler, bool reuse);
  [[nodiscard]] bool pickle(PyObject* value, Parcel& parcel);
  // Its pickles of functions are names, and the same for good.
  [[nodiscard]] bool names_functions() const { return reuse_; }
  int traverse(visitproc visit, void* arg) const;
  void clear();

 private:
  Reference make_pickler_;
  Reference writer_;
  Reference dump_;
  Reference clear_memo_;
  bool reuse_ = false;
};

// Reads what a Parcel has written. `type` is any of the module's.
// Null: an exception is set, and the sender is not to be trusted any more.
[[nodiscard]] PyObject* decode(Frame* frame, int socket, PyObject* loads, PyTypeObject* type);

// Lets go of what a frame that nobody decodes has brought over the socket.
void discard(const Frame* frame, int socket);

}  // namespace unirun::bindings
