#include "python_bindings/pools/process_codec.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>

#include "python_bindings/pools/module_state.h"
#include "python_bindings/pools/process_files.h"

namespace unirun::bindings {
namespace {

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

// ---- The memory of buffers that came beside a pickle ----

struct BufferMemory {
  PyObject_HEAD void* start;
  std::size_t size;
  bool mapped;  // A file's; else from the heap.
};

void memory_dealloc(PyObject* self) {
  auto* const memory = reinterpret_cast<BufferMemory*>(self);
  if (memory->mapped) {
    ::munmap(memory->start, memory->size);
  } else {
    std::free(memory->start);  // NOLINT: of std::aligned_alloc().
  }
  plain_dealloc(self);
}

int memory_get_buffer(PyObject* self, Py_buffer* view, int flags) {
  auto* const memory = reinterpret_cast<BufferMemory*>(self);
  return PyBuffer_FillInfo(view, self, memory->start, static_cast<Py_ssize_t>(memory->size), 0,
                           flags);
}

// Null: an exception is set.
BufferMemory* make_memory(PyTypeObject* any) {
  const ModuleState* const state = state_of(any);
  if (state == nullptr) return nullptr;
  auto* const type = reinterpret_cast<PyTypeObject*>(state->buffer_memory);
  return reinterpret_cast<BufferMemory*>(type->tp_alloc(type, 0));
}

// Private: what is written there is the reader's own, also after a fork. A view of all of it.
PyObject* map_file(PyTypeObject* any, int file, std::size_t size) {
  BufferMemory* const memory = make_memory(any);
  const Reference kept = Reference::steal(reinterpret_cast<PyObject*>(memory));
  if (!kept) return nullptr;
  void* const start = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
  if (start == MAP_FAILED) return PyErr_SetFromErrno(PyExc_OSError);
  memory->start = start;
  memory->size = size;
  memory->mapped = true;
  return PyMemoryView_FromObject(kept.get());
}

// A view of a copy: a ring is soon written again.
PyObject* copy_out(PyTypeObject* any, const char* data, std::size_t size) {
  BufferMemory* const memory = make_memory(any);
  const Reference kept = Reference::steal(reinterpret_cast<PyObject*>(memory));
  if (!kept) return nullptr;
  memory->start = std::aligned_alloc(buffer_alignment, align_buffer(size));  // NOLINT: freed above.
  if (memory->start == nullptr) return PyErr_NoMemory();
  std::memcpy(memory->start, data, size);
  memory->size = size;
  return PyMemoryView_FromObject(kept.get());
}

// What a payload with buffers beside its pickle begins with. The body follows it in the ring, or is
// a file: the pickle, then each buffer.
struct Layout {
  std::uint64_t body;
  std::uint64_t stream;   // Bytes of the pickle, from the beginning.
  std::uint64_t buffers;  // How many pairs (offset, size) follow.
};
using Extent = std::array<std::uint64_t, 2>;  // Within the body.

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

// The pickle `stream`, whose buffers lie in `body` from its byte `first` on; both are views.
PyObject* load_with_buffers(const BodyLayout& layout, const char* extents, std::size_t first,
                            PyObject* stream, PyObject* body, PyObject* loads) {
  const Reference buffers = Reference::steal(PyList_New(0));
  for (std::uint64_t count = 0; buffers && count < layout.buffers; ++count) {
    BodyExtent extent{};
    std::memcpy(&extent, extents + count * sizeof extent, sizeof extent);
    if (extent[0] < first || extent[0] > layout.body || extent[1] > layout.body - extent[0])
      return refuse_damage("a buffer lies outside of its message");
    const auto begin = static_cast<Py_ssize_t>(extent[0] - first);
    const Reference part = Reference::steal(
        PySequence_GetSlice(body, begin, begin + static_cast<Py_ssize_t>(extent[1])));
    if (!part || PyList_Append(buffers.get(), part.get()) != 0) return nullptr;
  }
  const Reference arguments = buffers ? Reference::steal(PyTuple_Pack(1, stream)) : Reference();
  const Reference names =
      arguments ? Reference::steal(Py_BuildValue("{sO}", "buffers", buffers.get())) : Reference();
  return names ? PyObject_Call(loads, arguments.get(), names.get()) : nullptr;
}

bool take_layout(const char*& at, const char* end, BodyLayout& layout) {
  return take(at, end, layout) && layout.stream <= layout.body && layout.buffers <= most_buffers &&
         layout.buffers * sizeof(BodyExtent) <= static_cast<std::size_t>(end - at);
}

PyObject* decode_file(const char* at, const char* end, int socket, PyObject* loads,
                      PyTypeObject* type) {
  const Descriptor file(receive_file(socket));
  BodyLayout layout{};
  if (file.number() < 0) return refuse_damage("a file was announced and not sent");
  if (!take_layout(at, end, layout)) return refuse_damage("a file's layout is cut off");
  const Reference body = Reference::steal(map_file(type, file.number(), layout.body));
  if (!body) return nullptr;
  const Reference stream =
      Reference::steal(PySequence_GetSlice(body.get(), 0, static_cast<Py_ssize_t>(layout.stream)));
  return stream ? load_with_buffers(layout, at, 0, stream.get(), body.get(), loads) : nullptr;
}

PyObject* decode_buffers(char* at, const char* end, PyObject* loads, PyTypeObject* type) {
  BodyLayout layout{};
  const char* extents = at;
  if (!take_layout(extents, end, layout)) return refuse_damage("a layout is cut off");
  char* const body = at + sizeof layout + layout.buffers * sizeof(BodyExtent);
  if (layout.body > static_cast<std::size_t>(end - body))
    return refuse_damage("a message with buffers is cut off");
  const std::size_t first = std::min(align_buffer(layout.stream), layout.body);
  const Reference memory = Reference::steal(copy_out(type, body + first, layout.body - first));
  const Reference stream = memory ? Reference::steal(PyMemoryView_FromMemory(
                                        body, static_cast<Py_ssize_t>(layout.stream), PyBUF_READ))
                                  : Reference();
  return stream ? load_with_buffers(layout, extents, first, stream.get(), memory.get(), loads)
                : nullptr;
}

}  // namespace

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
    case Encoding::buffers: return decode_buffers(at, end, loads, type);
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
  PyType_Spec memory{"unirun._pools.BufferMemory", sizeof(BufferMemory), 0, flags,
                     memory_slots.data()};
  ModuleState* const state = state_of(module);
  state->pickle_writer = PyType_FromModuleAndSpec(module, &writer, nullptr);
  state->buffer_memory = PyType_FromModuleAndSpec(module, &memory, nullptr);
  return state->pickle_writer != nullptr && state->buffer_memory != nullptr;
}

}  // namespace unirun::bindings
