#include "python_bindings/pools/process_codec.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "python_bindings/gil.h"
#include "python_bindings/pools/module_state.h"

namespace unirun::bindings {
namespace {

constexpr std::size_t large = 32U << 10;    // From here on memory is not copied twice.
constexpr std::size_t beside = 256U << 10;  // From here on a buffer is worth a file of its own.
constexpr std::size_t most_buffers = 500;
constexpr std::size_t buffer_alignment = 64;

std::size_t align(std::size_t size) {
  return (size + buffer_alignment - 1) & ~(buffer_alignment - 1);
}

// ---- The file that a pickler writes to ----

struct PickleWriter {
  PyObject_HEAD Parcel* parcel;  // Null between pickles.
};

PyObject* refuse_late_write() {
  PyErr_SetString(PyExc_ValueError, "write: this pickle is finished");
  return nullptr;
}

PyObject* writer_write(PyObject* self, PyObject* data) {
  Parcel* const parcel = reinterpret_cast<PickleWriter*>(self)->parcel;
  if (parcel == nullptr) return refuse_late_write();
  if (PyBytes_CheckExact(data) && static_cast<std::size_t>(PyBytes_GET_SIZE(data)) < large) {
    parcel->append(PyBytes_AS_STRING(data), static_cast<std::size_t>(PyBytes_GET_SIZE(data)));
  } else if (!parcel->append_large(data)) {
    return nullptr;
  }
  Py_RETURN_NONE;
}

// The pickler's buffer_callback: true is for "in the pickle".
PyObject* writer_add_buffer(PyObject* self, PyObject* buffer) {
  Parcel* const parcel = reinterpret_cast<PickleWriter*>(self)->parcel;
  if (parcel == nullptr) return refuse_late_write();
  const int added = parcel->add_buffer(buffer);
  return added < 0 ? nullptr : PyBool_FromLong(added == 0 ? 1 : 0);
}

void plain_dealloc(PyObject* self) {
  PyTypeObject* const type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

// ---- The memory of a file that came over the socket ----

struct FileMemory {
  PyObject_HEAD void* start;
  std::size_t size;
};

void memory_dealloc(PyObject* self) {
  auto* const memory = reinterpret_cast<FileMemory*>(self);
  if (memory->start != nullptr) ::munmap(memory->start, memory->size);
  plain_dealloc(self);
}

int memory_get_buffer(PyObject* self, Py_buffer* view, int flags) {
  auto* const memory = reinterpret_cast<FileMemory*>(self);
  return PyBuffer_FillInfo(view, self, memory->start, static_cast<Py_ssize_t>(memory->size), 0,
                           flags);
}

// Private: what is written there is the reader's own, also after a fork. A view of all of it.
PyObject* map_file(PyTypeObject* any, int file, std::size_t size) {
  const ModuleState* const state = state_of(any);
  if (state == nullptr) return nullptr;
  auto* const type = reinterpret_cast<PyTypeObject*>(state->file_memory);
  const Reference memory = Reference::steal(type->tp_alloc(type, 0));
  if (!memory) return nullptr;
  void* const start = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
  if (start == MAP_FAILED) return PyErr_SetFromErrno(PyExc_OSError);
  reinterpret_cast<FileMemory*>(memory.get())->start = start;
  reinterpret_cast<FileMemory*>(memory.get())->size = size;
  return PyMemoryView_FromObject(memory.get());
}

// ---- Files over a socket ----

struct FileLayout {
  std::uint64_t size;
  std::uint64_t stream;   // Bytes of the pickle, from the beginning.
  std::uint64_t buffers;  // How many pairs (offset, size) follow.
};
using Extent = std::array<std::uint64_t, 2>;

// False: errno says why.
bool send_file(int socket, int file, bool may_block) {
  char byte = 'f';
  iovec io{&byte, 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &io;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* const head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(head), &file, sizeof file);
  const int flags = MSG_NOSIGNAL | (may_block ? 0 : MSG_DONTWAIT);
  ssize_t sent = 0;
  do {
    sent = ::sendmsg(socket, &message, flags);
  } while (sent < 0 && errno == EINTR);
  return sent == 1;
}

// It was sent before the frame that names it, so it is there, or never will be. -1: it is not.
int receive_file(int socket) {
  char byte = 0;
  iovec io{&byte, 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &io;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  ssize_t got = 0;
  do {
    got = ::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  const cmsghdr* const head = got == 1 ? CMSG_FIRSTHDR(&message) : nullptr;
  if (head == nullptr || head->cmsg_type != SCM_RIGHTS) return -1;
  int file = -1;
  std::memcpy(&file, CMSG_DATA(head), sizeof file);
  return file;
}

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  [[nodiscard]] int number() const { return number_; }

 private:
  int number_;
};

// False: errno says why.
bool write_all(int file, std::vector<iovec>& pieces) {
  std::size_t at = 0;
  while (at < pieces.size()) {
    const auto count = static_cast<int>(std::min<std::size_t>(pieces.size() - at, IOV_MAX));
    ssize_t written = ::writev(file, &pieces[at], count);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    for (; at < pieces.size() && static_cast<std::size_t>(written) >= pieces[at].iov_len; ++at)
      written -= static_cast<ssize_t>(pieces[at].iov_len);
    if (written > 0) {
      pieces[at].iov_base = static_cast<char*>(pieces[at].iov_base) + written;
      pieces[at].iov_len -= static_cast<std::size_t>(written);
    }
  }
  return true;
}

// ---- Reading ----

PyObject* refuse_damage(const char* what) {
  PyErr_Format(PyExc_EOFError, "a worker and its pool do not understand each other: %s", what);
  return nullptr;
}

template <class Number>
bool take(const char*& at, const char* end, Number& number) {
  if (static_cast<std::size_t>(end - at) < sizeof number) return false;
  std::memcpy(&number, at, sizeof number);
  at += sizeof number;
  return true;
}

PyObject* read_plain(const char*& at, const char* end) {
  char kind = 0;
  std::int64_t whole = 0;
  double real = 0;
  if (!take(at, end, kind)) return refuse_damage("a value is missing");
  switch (kind) {
    case 'N': Py_RETURN_NONE;
    case 'T': Py_RETURN_TRUE;
    case 'F': Py_RETURN_FALSE;
    case 'i':
      if (take(at, end, whole)) return PyLong_FromLongLong(whole);
      break;
    case 'f':
      if (take(at, end, real)) return PyFloat_FromDouble(real);
      break;
    case 's':
    case 'b':
      if (!take(at, end, whole) || whole < 0 || whole > end - at) break;
      at += whole;
      return kind == 's' ? PyUnicode_FromStringAndSize(at - whole, whole)
                         : PyBytes_FromStringAndSize(at - whole, whole);
    default: break;
  }
  return refuse_damage("a value is cut off");
}

PyObject* decode_plain(Frame* frame, const char* at, const char* end) {
  if (frame->kind != FrameKind::call) return read_plain(at, end);
  std::uint8_t count = 0;
  if (!take(at, end, count)) return refuse_damage("arguments are missing");
  Reference tuple = Reference::steal(PyTuple_New(count));
  for (Py_ssize_t item = 0; tuple && item < count; ++item) {
    PyObject* const value = read_plain(at, end);
    if (value == nullptr) return nullptr;
    PyTuple_SET_ITEM(tuple.get(), item, value);
  }
  return tuple.release();
}

PyObject* decode_pickle(char* data, std::size_t size, PyObject* loads) {
  const auto length = static_cast<Py_ssize_t>(size);
  const Reference bytes =
      Reference::steal(size < large ? PyBytes_FromStringAndSize(data, length)
                                    : PyMemoryView_FromMemory(data, length, PyBUF_READ));
  return bytes ? PyObject_CallOneArg(loads, bytes.get()) : nullptr;
}

PyObject* decode_file(const char* at, const char* end, int socket, PyObject* loads,
                      PyTypeObject* type) {
  const Descriptor file(receive_file(socket));
  FileLayout layout{};
  if (file.number() < 0) return refuse_damage("a file was announced and not sent");
  if (!take(at, end, layout) || layout.stream > layout.size || layout.buffers > most_buffers)
    return refuse_damage("a file's layout is cut off");
  const Reference view = Reference::steal(map_file(type, file.number(), layout.size));
  const Reference buffers = view ? Reference::steal(PyList_New(0)) : Reference();
  for (std::uint64_t count = 0; buffers && count < layout.buffers; ++count) {
    Extent extent{};
    if (!take(at, end, extent) || extent[0] > layout.size || extent[1] > layout.size - extent[0])
      return refuse_damage("a buffer lies outside of its file");
    const Reference part =
        Reference::steal(PySequence_GetSlice(view.get(), static_cast<Py_ssize_t>(extent[0]),
                                             static_cast<Py_ssize_t>(extent[0] + extent[1])));
    if (!part || PyList_Append(buffers.get(), part.get()) != 0) return nullptr;
  }
  if (!buffers) return nullptr;
  const Reference stream =
      Reference::steal(PySequence_GetSlice(view.get(), 0, static_cast<Py_ssize_t>(layout.stream)));
  const Reference arguments =
      stream ? Reference::steal(PyTuple_Pack(1, stream.get())) : Reference();
  const Reference names =
      arguments ? Reference::steal(Py_BuildValue("{sO}", "buffers", buffers.get())) : Reference();
  return names ? PyObject_Call(loads, arguments.get(), names.get()) : nullptr;
}

}  // namespace

// ---- Parcel ----

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
  if (static_cast<std::size_t>(view.len) < beside || beside_.size() == most_buffers ||
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

Parcel::Sent Parcel::send(const Frame& head, RingWriter& ring, int socket, bool may_block) const {
  const bool fits = size_ <= largest_frame - sizeof(Frame);
  if (encoding == Encoding::pickle && (!fits || !beside_.empty()))
    return send_as_file(head, ring, socket, may_block);
  Frame* const frame = ring.reserve(size_);
  if (frame == nullptr) return Sent::no_room;
  char* at = frame->data();
  for (const Piece& piece : pieces_) {
    std::memcpy(at, memory_of(piece), piece.size);
    at += piece.size;
  }
  frame->kind = head.kind;
  frame->encoding = encoding;
  frame->has_keywords = head.has_keywords;
  frame->function = head.function;
  frame->task = head.task;
  frame->started_ns = head.started_ns;
  frame->ended_ns = head.ended_ns;
  ring.publish(frame);
  return Sent::yes;
}

Parcel::Sent Parcel::send_as_file(const Frame& head, RingWriter& ring, int socket,
                                  bool may_block) const {
  const std::size_t payload = sizeof(FileLayout) + beside_.size() * sizeof(Extent);
  if (ring.room() < 2 * (sizeof(Frame) + payload) + 4 * sizeof(Frame)) return Sent::no_room;
  static constexpr std::array<char, buffer_alignment> nothing{};
  std::vector<iovec> pieces;
  std::vector<Extent> extents;
  std::size_t size = 0;
  const auto put = [&](const void* data, std::size_t length) {
    pieces.push_back({const_cast<void*>(data), length});  // NOLINT: writev() only reads.
    size += length;
  };
  for (const Piece& piece : pieces_) put(memory_of(piece), piece.size);
  for (const Py_buffer& view : beside_) {
    put(nothing.data(), align(size) - size);
    extents.push_back({size, static_cast<std::uint64_t>(view.len)});
    put(view.buf, static_cast<std::size_t>(view.len));
  }
  const Descriptor file(::memfd_create("unirun-task", MFD_CLOEXEC));
  const int failed = without_gil([&] {
    if (file.number() < 0 || !write_all(file.number(), pieces)) return errno;
    return 0;
  });
  if (failed != 0) {
    errno = failed;
    PyErr_SetFromErrno(PyExc_OSError);
    return Sent::error;
  }
  const int refused =
      without_gil([&] { return send_file(socket, file.number(), may_block) ? 0 : errno; });
  if (refused != 0) return Sent::no_room;  // Its queue is full, or its reader is dying.
  Frame* const frame = ring.reserve(payload);
  if (frame == nullptr) {  // There was room, and nobody else writes here.
    PyErr_SetString(PyExc_SystemError, "a ring has lost room");
    return Sent::error;
  }
  const FileLayout layout{size, size_, extents.size()};
  std::memcpy(frame->data(), &layout, sizeof layout);
  std::memcpy(frame->data() + sizeof layout, extents.data(), extents.size() * sizeof(Extent));
  frame->kind = head.kind;
  frame->encoding = Encoding::file;
  frame->has_keywords = head.has_keywords;
  frame->function = head.function;
  frame->task = head.task;
  frame->started_ns = head.started_ns;
  frame->ended_ns = head.ended_ns;
  ring.publish(frame);
  return Sent::yes;
}

// ---- Encoder ----

bool Encoder::init(PyTypeObject* type, PyObject* make_pickler, bool reuse) {
  const ModuleState* const state = state_of(type);
  if (state == nullptr) return false;
  auto* const writer = reinterpret_cast<PyTypeObject*>(state->pickle_writer);
  writer_ = Reference::steal(writer->tp_alloc(writer, 0));
  make_pickler_ = Reference::borrow(make_pickler);
  reuse_ = reuse;
  return static_cast<bool>(writer_);
}

bool Encoder::pickle(PyObject* value, Parcel& parcel) {
  if (!dump_) {
    const Reference pickler =
        Reference::steal(PyObject_CallOneArg(make_pickler_.get(), writer_.get()));
    if (!pickler) return false;
    dump_ = Reference::steal(PyObject_GetAttrString(pickler.get(), "dump"));
    if (reuse_) clear_memo_ = Reference::steal(PyObject_GetAttrString(pickler.get(), "clear_memo"));
    if (!dump_ || (reuse_ && !clear_memo_)) return false;
  }
  auto* const writer = reinterpret_cast<PickleWriter*>(writer_.get());
  parcel.clear();
  writer->parcel = &parcel;
  const Reference done = Reference::steal(PyObject_CallOneArg(dump_.get(), value));
  writer->parcel = nullptr;
  // The memo keeps what was pickled; after an error the whole pickler is of no more use.
  if (!done || !reuse_ || !Reference::steal(PyObject_CallNoArgs(clear_memo_.get()))) {
    dump_ = Reference();
    clear_memo_ = Reference();
  }
  if (!done) return false;
  parcel.encoding = Encoding::pickle;
  return PyErr_Occurred() == nullptr;
}

int Encoder::traverse(visitproc visit, void* arg) const {
  Py_VISIT(make_pickler_.get());
  Py_VISIT(writer_.get());
  Py_VISIT(dump_.get());
  Py_VISIT(clear_memo_.get());
  return 0;
}

void Encoder::clear() {
  make_pickler_ = Reference();
  writer_ = Reference();
  dump_ = Reference();
  clear_memo_ = Reference();
}

// ---- Reading ----

PyObject* decode(Frame* frame, int socket, PyObject* loads, PyTypeObject* type) {
  char* const at = frame->data();
  const char* const end = at + frame->payload;
  switch (frame->encoding) {
    case Encoding::plain: return decode_plain(frame, at, end);
    case Encoding::pickle: return decode_pickle(at, frame->payload, loads);
    case Encoding::file: return decode_file(at, end, socket, loads, type);
    case Encoding::none: break;
  }
  return refuse_damage("a frame has no payload");
}

void discard(const Frame* frame, int socket) {
  if (frame->encoding != Encoding::file) return;
  const Descriptor file(receive_file(socket));
}

bool init_process_codec(PyObject* module) {
  static std::array<PyMethodDef, 3> writer_methods{
      {{"write", writer_write, METH_O, nullptr},
       {"add_buffer", writer_add_buffer, METH_O, nullptr},
       {}}};
  std::array<PyType_Slot, 3> writer_slots{
      {{Py_tp_dealloc, slot(plain_dealloc)}, {Py_tp_methods, writer_methods.data()}, {0, nullptr}}};
  std::array<PyType_Slot, 3> memory_slots{{{Py_tp_dealloc, slot(memory_dealloc)},
                                           {Py_bf_getbuffer, slot(memory_get_buffer)},
                                           {0, nullptr}}};
  constexpr unsigned flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION;
  PyType_Spec writer{"unirun._pools.PickleWriter", sizeof(PickleWriter), 0, flags,
                     writer_slots.data()};
  PyType_Spec memory{"unirun._pools.FileMemory", sizeof(FileMemory), 0, flags, memory_slots.data()};
  ModuleState* const state = state_of(module);
  state->pickle_writer = PyType_FromModuleAndSpec(module, &writer, nullptr);
  state->file_memory = PyType_FromModuleAndSpec(module, &memory, nullptr);
  return state->pickle_writer != nullptr && state->file_memory != nullptr;
}

}  // namespace unirun::bindings
