// How arguments and results travel between a pool and its worker processes.
//
// Parcel is one value on its way out: plain (numbers, text and bytes, written by us in a few
// nanoseconds) or a pickle. What is large is not copied into the pickle but stays where it is until
// it is written, once, into shared memory: into the ring, or into a file in memory of its own whose
// descriptor goes over the worker's socket. The reader maps that file, and arrays look into it.
//
// Thread: with the GIL, and one call at a time: pickling runs Python code.

#pragma once

#include "python_bindings/python.h"
// Python.h first.

#include <cstddef>
#include <string>
#include <vector>

#include "python_bindings/pools/ring.h"

namespace unirun::bindings {

// Makes the types that pickling needs and keeps them in the module's state.
[[nodiscard]] bool init_process_codec(PyObject* module);

class Parcel {
 public:
  Parcel() = default;
  Parcel(const Parcel&) = delete;
  Parcel& operator=(const Parcel&) = delete;
  ~Parcel() { clear(); }

  void clear();
  // Takes a copy, or (append_large) keeps the memory of a Python object.
  void append(const void* data, std::size_t size);
  [[nodiscard]] bool append_large(PyObject* object);
  // A buffer that travels beside the pickle. 1: kept; 0: it is better in it; -1: exception set.
  [[nodiscard]] int add_buffer(PyObject* pickle_buffer);

  // Writes a value without pickling it. False: it is not of the plain sort.
  [[nodiscard]] bool set_plain(PyObject* value);
  [[nodiscard]] bool set_plain_arguments(PyObject* tuple);

  enum class Sent { yes, no_room, error };
  // Publishes `head` with this as its payload. no_room: not now, nothing was written. error: an
  // exception is set. May release the GIL.
  [[nodiscard]] Sent send(const Frame& head, RingWriter& ring, int socket, bool may_block) const;

  Encoding encoding = Encoding::none;

 private:
  struct Piece {
    std::size_t offset;  // In small_, where `buffer` is not used.
    std::size_t size;
    int buffer;  // Which of large_, or -1.
  };
  [[nodiscard]] bool append_plain(PyObject* value);
  [[nodiscard]] const char* memory_of(const Piece& piece) const;
  [[nodiscard]] Sent send_as_file(const Frame& head, RingWriter& ring, int socket,
                                  bool may_block) const;

  std::string small_;
  std::vector<Piece> pieces_;
  std::vector<Py_buffer> large_;
  std::vector<Py_buffer> beside_;
  std::size_t size_ = 0;
};

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
