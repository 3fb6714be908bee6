#include "python_bindings/pools/process_worker.h"

#include <fcntl.h>
#include <poll.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <string>
#include <vector>

#include "framework/clock.h"
#include "python_bindings/exception.h"
#include "python_bindings/gil.h"
#include "python_bindings/pools/module_state.h"
#include "python_bindings/pools/process_codec.h"
#include "python_bindings/pools/process_link.h"

namespace unirun::bindings {
namespace {

// How long a result waits for a result() that is likely to come, before the manager is woken.
constexpr Duration patience = std::chrono::microseconds(100);

std::int64_t now_ns() { return SystemClock().now().time_since_epoch().count(); }

// Whatever ends the pool's process closes the pipe `life`, and the kernel ends us: also in the
// middle of a call. Nobody else holds its other end. False: errno says why.
bool die_with_pool(int life) {
  if (::fcntl(life, F_SETOWN, ::getpid()) != 0 || ::fcntl(life, F_SETSIG, SIGKILL) != 0 ||
      ::fcntl(life, F_SETFL, O_ASYNC | O_NONBLOCK) != 0)
    return false;
  pollfd watched{life, POLLIN, 0};
  if (::poll(&watched, 1, 0) > 0 && (watched.revents & POLLHUP) != 0) ::raise(SIGKILL);
  return true;
}

class Worker {
 public:
  Worker(int pool_file, int worker_file, int event, int socket, PyObject* loads, PyObject* describe)
      : pool_memory_(pool_file, words_size),
        memory_(worker_file, worker_memory_size),
        event_(event),
        socket_(socket),
        loads_(loads),
        describe_(describe) {}

  // False: errno says why.
  [[nodiscard]] bool is_mapped() const {
    return pool_memory_.start() != nullptr && memory_.start() != nullptr;
  }
  // Until the pool says stop. False: an exception is set.
  [[nodiscard]] bool run(PyTypeObject* type, PyObject* make_pickler, bool reuse) {
    type_ = type;
    if (!encoder_.init(type, make_pickler, reuse)) return false;
    for (;;) {
      Frame* const frame = next();
      if (frame == nullptr) return false;
      switch (frame->kind) {
        case FrameKind::define: define(frame); break;
        case FrameKind::call:
          if (!serve(frame)) return false;
          break;
        default: return true;
      }
      tasks_.pop();
      if (const int woken = PyErr_CheckSignals(); woken != 0) return false;
    }
  }

 private:
  struct Function {
    std::string pickle;  // Read at the first call, so that a fault is that call's.
    Reference callable;
  };

  [[nodiscard]] WorkerWords* words() const {
    return reinterpret_cast<WorkerWords*>(memory_.start());
  }
  [[nodiscard]] PoolWords* pool() const {
    return reinterpret_cast<PoolWords*>(pool_memory_.start());
  }

  // Waits for the next frame. Null: an exception is set.
  Frame* next() {
    for (;;) {
      if (Frame* const frame = tasks_.front(); frame != nullptr) return frame;
      if (tasks_.damaged()) {
        PyErr_SetString(PyExc_EOFError, "the pool has written something that is no task");
        return nullptr;
      }
      idle_since_ns_ = 0;
      if (without_gil([this] { return park(); }) == EINTR && PyErr_CheckSignals() != 0)
        return nullptr;
    }
  }

  int park() {
    std::atomic<std::uint32_t>& parked = words()->tasks.reader_parked;
    parked.store(1, std::memory_order_seq_cst);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (!tasks_.empty()) return 0;
    if (unsignalled_ && pool()->listener() == Listener::patient_manager) {
      const Instant until = SystemClock().now() + patience;
      const int woken = futex_wait(parked, 1, &until, FutexScope::shared);
      if (woken != ETIMEDOUT) return woken;
    }
    if (unsignalled_) signal();
    return parked.load() == 0 ? 0 : futex_wait(parked, 1, nullptr, FutexScope::shared);
  }

  void signal() {
    unsignalled_ = false;
    const RingWords& results = words()->results;
    if (results.read.load() != results.written.load()) pool()->signal(event_);
  }

  // There is a new result. Who waits eagerly is told now; who looks by itself only when we are
  // idle.
  void announce() {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const Listener listener = pool()->listener();
    if (listener == Listener::nobody) {
      unsignalled_ = false;
      return;
    }
    unsignalled_ = true;
    const bool lazy = listener == Listener::lazy_waiter || listener == Listener::lazy_manager;
    const bool more = !tasks_.empty_behind_front();
    const bool full = results_.room() < ring_capacity / 2;
    if (full || (more && !lazy) || (!more && listener != Listener::patient_manager)) signal();
  }

  void define(Frame* frame) {
    if (functions_.size() <= frame->function) functions_.resize(frame->function + 1);
    functions_[frame->function].pickle.assign(frame->data(), frame->payload);
  }

  // Null: an exception is set.
  PyObject* function(std::uint32_t index) {
    if (index >= functions_.size()) {
      PyErr_SetString(PyExc_EOFError, "the pool has named a function that it did not send");
      return nullptr;
    }
    Function& known = functions_[index];
    if (!known.callable) {
      const Reference bytes = Reference::steal(PyBytes_FromStringAndSize(
          known.pickle.data(), static_cast<Py_ssize_t>(known.pickle.size())));
      if (!bytes) return nullptr;
      known.callable = Reference::steal(PyObject_CallOneArg(loads_, bytes.get()));
      known.pickle.clear();
    }
    return Py_XNewRef(known.callable.get());
  }

  struct Call {
    Reference callable;
    Reference arguments;
    Reference names;
  };

  // What is to be called. False: it cannot be read, as the exception that is set says.
  bool read(Frame* frame, Call& call) {
    call.callable =
        frame->function == no_function ? Reference() : Reference::steal(function(frame->function));
    if (frame->function != no_function && !call.callable) return false;
    Reference value = Reference::steal(decode(frame, socket_, loads_, type_));
    if (!value) return false;
    if (frame->function != no_function && !frame->has_keywords) {
      call.arguments = std::move(value);
      return true;
    }
    PyObject* const parts = value.get();  // ([callable,] arguments, names or None)
    const Py_ssize_t first = frame->function == no_function ? 1 : 0;
    if (first == 1) call.callable = Reference::borrow(PyTuple_GET_ITEM(parts, 0));
    call.arguments = Reference::borrow(PyTuple_GET_ITEM(parts, first));
    if (PyTuple_GET_ITEM(parts, first + 1) != Py_None)
      call.names = Reference::borrow(PyTuple_GET_ITEM(parts, first + 1));
    return true;
  }

  // Makes one call. False: this process cannot go on; an exception is set.
  bool serve(Frame* frame) {
    Claim open = Claim::open;
    frame->started_ns = idle_since_ns_ != 0 ? idle_since_ns_ : now_ns();
    if (!frame->claim.compare_exchange_strong(open, Claim::taken)) {
      discard(frame, socket_);
      return true;
    }
    Frame head;
    head.task = frame->task;
    head.started_ns = frame->started_ns;
    Reference result;
    {
      Call call;
      if (!read(frame, call)) return false;
      result = Reference::steal(
          PyObject_Call(call.callable.get(), call.arguments.get(), call.names.get()));
    }
    idle_since_ns_ = head.ended_ns = now_ns();
    if (result && encode(result.get())) return send(head, FrameKind::result);
    result = Reference();
    return send_failure(head);
  }

  bool encode(PyObject* value) {
    return parcel_.set_plain(value) || encoder_.pickle(value, parcel_);
  }

  // The exception that is set; or, where that cannot be pickled, why not.
  bool send_failure(const Frame& head) {
    for (int attempt = 0; attempt < 2; ++attempt) {
      const Reference raised = take_exception();
      const Reference described = Reference::steal(PyObject_CallOneArg(describe_, raised.get()));
      if (!described) return false;
      if (encoder_.pickle(described.get(), parcel_)) return send(head, FrameKind::failure);
    }
    return false;
  }

  bool send(Frame& head, FrameKind kind) {
    head.kind = kind;
    return send(static_cast<const Frame&>(head));
  }
  bool send(const Frame& head, FrameKind kind) {
    Frame other;
    other.task = head.task;
    other.started_ns = head.started_ns;
    other.ended_ns = head.ended_ns;
    return send(other, kind);
  }
  bool send(const Frame& head) {
    for (;;) {
      switch (parcel_.send(head, results_, socket_, true)) {
        case Parcel::Sent::yes:
          parcel_.clear();
          announce();
          return true;
        case Parcel::Sent::no_room: break;
        case Parcel::Sent::error: return send_failure(head);
      }
      if (without_gil([this] { return wait_for_room(); }) == EINTR && PyErr_CheckSignals() != 0)
        return false;
    }
  }

  int wait_for_room() {
    RingWords& ring = words()->results;
    const std::uint64_t seen = ring.read.load();
    ring.writer_parked.store(1, std::memory_order_seq_cst);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (ring.read.load() != seen) return 0;
    pool()->signal(event_);
    return futex_wait(ring.writer_parked, 1, nullptr, FutexScope::shared);
  }

  SharedMemory pool_memory_;
  SharedMemory memory_;
  RingReader tasks_{&words()->tasks, memory_.start() + words_size};
  RingWriter results_{&words()->results, memory_.start() + words_size + ring_capacity};
  int event_;
  int socket_;
  PyObject* loads_;
  PyObject* describe_;
  PyTypeObject* type_ = nullptr;
  Encoder encoder_;
  Parcel parcel_;
  std::vector<Function> functions_;
  std::int64_t idle_since_ns_ = 0;  // The end of the call before, if this one follows at once.
  bool unsignalled_ = false;        // There may be a result of which nobody was told.
};

}  // namespace

PyObject* work(PyObject* module, PyObject* args) {
  int pool_file = -1;
  int worker_file = -1;
  int event = -1;
  int life = -1;
  int socket = -1;
  PyObject* make_pickler = nullptr;
  int reuse = 0;
  PyObject* loads = nullptr;
  PyObject* describe = nullptr;
  if (PyArg_ParseTuple(args, "iiiiiOpOO", &pool_file, &worker_file, &event, &life, &socket,
                       &make_pickler, &reuse, &loads, &describe) == 0)
    return nullptr;
  const ModuleState* const state = state_of(module);
  Worker worker(pool_file, worker_file, event, socket, loads, describe);
  if (!worker.is_mapped() || !die_with_pool(life)) return PyErr_SetFromErrno(PyExc_OSError);
  if (!worker.run(reinterpret_cast<PyTypeObject*>(state->buffer_memory), make_pickler, reuse != 0))
    return nullptr;
  Py_RETURN_NONE;
}

}  // namespace unirun::bindings
