#include "python_bindings/pools/process_parcel.h"

#include <sys/mman.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "python_bindings/gil.h"
#include "python_bindings/pools/process_files.h"

namespace unirun::bindings {
namespace {

// Where the next piece goes.
char* put(char* at, std::string_view piece) {
  if (!piece.empty()) std::memcpy(at, piece.data(), piece.size());
  return at + piece.size();
}

void publish(Frame* frame, const Frame& head, Encoding encoding, RingWriter& ring) {
  frame->kind = head.kind;
  frame->encoding = encoding;
  frame->has_keywords = head.has_keywords;
  frame->function = head.function;
  frame->task = head.task;
  frame->started_ns = head.started_ns;
  frame->ended_ns = head.ended_ns;
  ring.publish(frame);
}

}  // namespace

void Parcel::clear() {
  for (Py_buffer& view : large_) PyBuffer_Release(&view);
  for (Py_buffer& view : beside_) PyBuffer_Release(&view);
  large_.clear();
  beside_.clear();
  pieces_.clear();
  small_.clear();
  size_ = 0;
  encoding = Encoding::none;
}

void Parcel::append(const void* data, std::size_t size) {
  if (pieces_.empty() || pieces_.back().buffer >= 0) pieces_.push_back({small_.size(), 0, -1});
  small_.append(static_cast<const char*>(data), size);
  pieces_.back().size += size;
  size_ += size;
}

bool Parcel::append_large(PyObject* object) {
  Py_buffer view{};
  if (PyObject_GetBuffer(object, &view, PyBUF_FULL_RO) != 0) return false;
  if (PyBuffer_IsContiguous(&view, 'A') == 0) {
    PyBuffer_Release(&view);
    PyErr_SetString(PyExc_BufferError, "write: the buffer is not contiguous");
    return false;
  }
  large_.push_back(view);
  pieces_.push_back({0, static_cast<std::size_t>(view.len), static_cast<int>(large_.size()) - 1});
  size_ += static_cast<std::size_t>(view.len);
  return true;
}

int Parcel::add_buffer(PyObject* pickle_buffer) {
  Py_buffer view{};
  if (PyObject_GetBuffer(pickle_buffer, &view, PyBUF_FULL_RO) != 0) return -1;
  if (static_cast<std::size_t>(view.len) < large || beside_.size() == most_buffers ||
      PyBuffer_IsContiguous(&view, 'A') == 0) {
    PyBuffer_Release(&view);
    return 0;
  }
  beside_.push_back(view);
  return 1;
}

bool Parcel::append_plain(PyObject* value) {
  const auto put = [this](char kind, const auto& number) {
    append(&kind, 1);
    append(&number, sizeof number);
  };
  const auto put_bytes = [&](char kind, const char* data, Py_ssize_t size) {
    put(kind, static_cast<std::int64_t>(size));
    if (static_cast<std::size_t>(size) >= large && kind == 'b') return append_large(value);
    append(data, static_cast<std::size_t>(size));
    return true;
  };
  if (value == Py_None || value == Py_True || value == Py_False) {
    append(value == Py_None ? "N" : value == Py_True ? "T" : "F", 1);
  } else if (PyLong_CheckExact(value)) {
    int overflow = 0;
    const std::int64_t number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow != 0) return false;
    put('i', number);
  } else if (PyFloat_CheckExact(value)) {
    put('f', PyFloat_AS_DOUBLE(value));
  } else if (PyUnicode_CheckExact(value)) {
    if (!PyUnicode_IS_COMPACT_ASCII(value)) return false;  // Its UTF-8 would stay with it.
    return put_bytes('s', static_cast<const char*>(PyUnicode_DATA(value)),
                     PyUnicode_GET_LENGTH(value));
  } else if (PyBytes_CheckExact(value)) {
    return put_bytes('b', PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value));
  } else {
    return false;
  }
  return true;
}

bool Parcel::set_plain(PyObject* value) {
  clear();
  if (append_plain(value) && size_ <= largest_frame - sizeof(Frame)) {
    encoding = Encoding::plain;
    return true;
  }
  PyErr_Clear();
  clear();
  return false;
}

bool Parcel::set_plain_arguments(PyObject* tuple) {
  clear();
  const Py_ssize_t count = PyTuple_GET_SIZE(tuple);
  bool plain = count <= UINT8_MAX;
  const auto head = static_cast<std::uint8_t>(count);
  append(&head, 1);
  for (Py_ssize_t at = 0; plain && at < count; ++at)
    plain = append_plain(PyTuple_GET_ITEM(tuple, at));
  if (plain && size_ <= largest_frame - sizeof(Frame)) {
    encoding = Encoding::plain;
    return true;
  }
  PyErr_Clear();
  clear();
  return false;
}

const char* Parcel::memory_of(const Piece& piece) const {
  return piece.buffer < 0
             ? small_.data() + piece.offset
             : static_cast<const char*>(large_[static_cast<std::size_t>(piece.buffer)].buf);
}

// The pickle, then each buffer where arrays like to begin.
Parcel::Body Parcel::body() const {
  static constexpr std::array<char, buffer_alignment> nothing{};
  Body body;
  const auto put = [&body](const void* data, std::size_t size) {
    body.pieces.push_back({const_cast<void*>(data), size});  // NOLINT: nobody writes there.
    body.size += size;
  };
  for (const Piece& piece : pieces_) put(memory_of(piece), piece.size);
  for (const Py_buffer& view : beside_) {
    put(nothing.data(), align_buffer(body.size) - body.size);
    body.extents.push_back({body.size, static_cast<std::uint64_t>(view.len)});
    put(view.buf, static_cast<std::size_t>(view.len));
  }
  return body;
}

Parcel::Sent Parcel::send(const Frame& head, RingWriter& ring, int socket, bool may_block) const {
  constexpr std::size_t most = largest_frame - sizeof(Frame);
  if (beside_.empty() && size_ <= most) {
    Frame* const frame = ring.reserve(size_);
    if (frame == nullptr) return Sent::no_room;
    char* at = frame->data();
    for (const Piece& piece : pieces_) at = put(at, {memory_of(piece), piece.size});
    publish(frame, head, encoding, ring);
    return Sent::yes;
  }
  Body body = this->body();
  const BodyLayout layout{body.size, size_, body.extents.size()};
  const std::size_t extents = body.extents.size() * sizeof(BodyExtent);
  const std::size_t announcement = sizeof layout + extents;
  const bool fits = announcement + body.size <= most;
  if (!fits) {
    // Once the file is sent, its frame must follow.
    if (ring.room() < 2 * (sizeof(Frame) + announcement) + 4 * sizeof(Frame)) return Sent::no_room;
    if (const Sent sent = send_as_file(body, socket, may_block); sent != Sent::yes) return sent;
  }
  Frame* const frame = ring.reserve(announcement + (fits ? body.size : 0));
  if (frame == nullptr) return Sent::no_room;
  char* at = put(frame->data(), {reinterpret_cast<const char*>(&layout), sizeof layout});
  at = put(at, {reinterpret_cast<const char*>(body.extents.data()), extents});
  for (std::size_t piece = 0; fits && piece < body.pieces.size(); ++piece)
    at = put(at,
             {static_cast<const char*>(body.pieces[piece].iov_base), body.pieces[piece].iov_len});
  publish(frame, head, fits ? Encoding::buffers : Encoding::file, ring);
  return Sent::yes;
}

Parcel::Sent Parcel::send_as_file(Body& body, int socket, bool may_block) {
  const Descriptor file(::memfd_create("unirun-task", MFD_CLOEXEC));
  const int failed = without_gil([&] {
    if (file.number() < 0 || !write_all(file.number(), body.pieces)) return errno;
    return 0;
  });
  if (failed != 0) {
    errno = failed;
    PyErr_SetFromErrno(PyExc_OSError);
    return Sent::error;
  }
  // Refused: its queue is full, or its reader is dying.
  return without_gil([&] { return send_file(socket, file.number(), may_block); }) ? Sent::yes
                                                                                  : Sent::no_room;
}

}  // namespace unirun::bindings
