// Parcel is one value on its way from a pool to a worker process or back: plain (numbers, text and
// bytes, written by us in a few nanoseconds) or a pickle. What is large is not copied into the
// pickle but stays where it is until it is written, once, into shared memory: into the ring, where
// its reader copies it out; or, too large for that, into a file in memory of its own whose
// descriptor goes over the worker's socket, and which its reader maps.
//
// Thread: with the GIL, and one call at a time.

#pragma once

#include "python_bindings/python.h"
// Python.h first.

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "python_bindings/pools/ring.h"

namespace unirun::bindings {

constexpr std::size_t large = 32U << 10;  // From here on memory is not copied twice.
constexpr std::size_t most_buffers = 500;
constexpr std::size_t buffer_alignment = 64;

constexpr std::size_t align_buffer(std::size_t size) {
  return (size + buffer_alignment - 1) & ~(buffer_alignment - 1);
}

// What a payload with buffers beside its pickle begins with, and then an extent for each. The body
// follows, or is a file: the pickle, then the buffers, each at the next alignment.
struct BodyLayout {
  std::uint64_t body;
  std::uint64_t stream;  // Bytes of the pickle, from the beginning.
  std::uint64_t buffers;
};
using BodyExtent = std::array<std::uint64_t, 2>;  // Offset and size of a buffer, within the body.

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
  // All of it, in the order in which it is written.
  struct Body {
    std::vector<iovec> pieces;
    std::vector<BodyExtent> extents;
    std::size_t size = 0;
  };
  [[nodiscard]] Body body() const;
  [[nodiscard]] static Sent send_as_file(Body& body, int socket, bool may_block);

  std::string small_;
  std::vector<Piece> pieces_;
  std::vector<Py_buffer> large_;
  std::vector<Py_buffer> beside_;
  std::size_t size_ = 0;
};

}  // namespace unirun::bindings
