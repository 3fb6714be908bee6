#include "executors/python/async/stream_source.h"

#include "executors/python/python.h"
// Python.h first.

#include <fmt/format.h>

#include <array>
#include <utility>

#include "executors/python/async/coroutine_loop.h"
#include "executors/python/calls/function_cache.h"
#include "executors/python/calls/invocation.h"
#include "executors/python/future.h"
#include "executors/python/interpreter/interpreter.h"
#include "executors/python/interpreter/kept_object.h"
#include "executors/python/interpreter/main_interpreter.h"
#include "executors/python/runtime.h"
#include "executors/python/values/conversion.h"
#include "executors/python/values/exception_text.h"

namespace unirun::python {
namespace {

using Room = StreamRoom;
using ValueStream = StreamState<Value>;

Error not_iterable(PyObject* object) {
  return {.code = Errc::conversion,
          .message = fmt::format("what it returned is no iterable: '{}' object",
                                 Py_TYPE(object)->tp_name)};
}

// ---- On workers ----

// One turn of what is iterated there: the call, and as many items as there is room for.
class StreamPump;

class StreamTurn final : public Outcome<void> {
 public:
  StreamTurn(std::shared_ptr<ValueStream> stream, CallSpec call)
      : stream_(std::move(stream)), call_(std::move(call)) {}
  StreamTurn(std::shared_ptr<ValueStream> stream, Ref iterator)
      : stream_(std::move(stream)), iterator_(std::move(iterator)) {}

  void run() noexcept override {
    stream_->begin();
    if (iterator_ || open()) make_items();
    iterator_ = {};
    if (claim(Ending::executed)) settle({});
  }
  void fail(Error error) noexcept override {
    stream_->end(error);
    Outcome::fail(std::move(error));
  }

 private:
  // The deadline ends what runs in this scope.
  class Exposed {
   public:
    explicit Exposed(StreamTurn& turn) : stream_(*turn.stream_) {
      turn.add_owner();
      stream_.set_running(Shared<TaskState>(&turn));
    }
    ~Exposed() { stream_.set_running({}); }
    Exposed(const Exposed&) = delete;
    Exposed& operator=(const Exposed&) = delete;

   private:
    ValueStream& stream_;
  };

  // False: there is nothing to iterate here.
  [[nodiscard]] bool open();
  void pump(StreamPump* pump);
  void make_items();
  [[nodiscard]] bool make_until_pause();
  void close();
  void go_on_later();

  std::shared_ptr<ValueStream> stream_;
  CallSpec call_;
  Ref iterator_;
};

// ---- On a loop ----

Result<Reference> call_by_name(const CallSpec& call) {
  const auto function = find_function(call);
  if (!function.ok()) return function.error();
  return call_object(function->get(), call.args, call.kwargs);
}

// What iterates there. `put` says whether to pause, and `room` can be awaited.
constexpr const char* pump_code = R"(
async def pump(source, put, room, refuse):
    if asyncio.iscoroutine(source):
        source = await source
    if not hasattr(source, "__aiter__"):
        try:
            items = iter(source)
        except TypeError:
            return refuse(source)
        for item in items:
            if put(item):
                await room()
        return
    items = aiter(source)
    try:
        async for item in items:
            if put(item):
                await room()
    finally:
        close = getattr(items, "aclose", None)
        if close is not None:
            await close()
)";

class StreamPump final : public Outcome<void>, private CoroutineTask {
 public:
  StreamPump(std::shared_ptr<ValueStream> stream, Ref source)
      : CoroutineTask(static_cast<TaskState&>(*this)),
        stream_(std::move(stream)),
        source_(std::move(source)) {}
  // What the call gives, there.
  StreamPump(std::shared_ptr<ValueStream> stream, CallSpec call)
      : CoroutineTask(static_cast<TaskState&>(*this)),
        stream_(std::move(stream)),
        call_(std::move(call)) {}

  void run() noexcept override {}  // Not on a worker.
  void fail(Error error) noexcept override {
    stream_->end(error);
    Outcome::fail(std::move(error));
  }

 private:
  [[nodiscard]] bool belongs_on_loop(Shared<TaskState>& /*task*/) noexcept override { return true; }
  [[nodiscard]] Result<Reference> make() noexcept override;
  void end(PyObject* value, CoroutineEnd how) noexcept override;

  std::shared_ptr<ValueStream> stream_;
  Ref source_;
  CallSpec call_;
};

constexpr const char* stream_capsule = "unirun.stream";

ValueStream& stream_of(PyObject* capsule) {
  return **static_cast<std::shared_ptr<ValueStream>*>(
      PyCapsule_GetPointer(capsule, stream_capsule));
}

PyObject* put(PyObject* self, PyObject* item) {
  ValueStream& stream = stream_of(self);
  auto value = to_value(item, exchange_options());
  if (value.ok()) return PyBool_FromLong(stream.put(std::move(value)) != Room::more ? 1 : 0);
  stream.end(value.error());
  Py_RETURN_TRUE;
}

PyObject* refuse(PyObject* self, PyObject* source) {
  stream_of(self).end(not_iterable(source));
  Py_RETURN_NONE;
}

// Whether the coroutine that runs was cancelled, and goes on all the same.
bool was_struck(PyObject* asyncio) {
  const Reference task = Reference::steal(PyObject_CallMethod(asyncio, "current_task", nullptr));
  const Reference times =
      Reference::steal(task ? PyObject_CallMethod(task.get(), "cancelling", nullptr) : nullptr);
  const bool struck = times && PyObject_IsTrue(times.get()) == 1;
  PyErr_Clear();
  return struck;
}

// Awaited: until there is room, or, where there is some, for others to have their turn.
PyObject* room(PyObject* self, PyObject* /*nothing*/) {
  ValueStream& stream = stream_of(self);
  CoroutineLoop* const loop = CoroutineLoop::current();
  const Reference asyncio = Reference::steal(PyImport_ImportModule("asyncio"));
  if (!asyncio) return nullptr;
  const bool is_cancelled = stream.is_cancelled();
  if (is_cancelled && (stream.let_source_go() || was_struck(asyncio.get()))) {
    const Reference error =
        Reference::steal(PyObject_GetAttrString(asyncio.get(), "CancelledError"));
    if (error) PyErr_SetNone(error.get());
    return nullptr;
  }
  Reference future = loop->asyncio().create_future();
  if (!future) return nullptr;
  if (is_cancelled) return future.release();  // Until the cancellation comes here, too.
  const auto go_on = [loop = loop->link(), future = Ref::borrow(future.get())] {
    loop->post([future] { Asyncio::settle(future.get()); });
  };
  if (stream.wait_for_room(go_on)) return future.release();
  return PyObject_CallMethod(asyncio.get(), "sleep", "i", 0);
}

// Null: an exception is set.
PyObject* pump_function() {
  return kept_object("unirun.pump", [] {
    const Reference asyncio = Reference::steal(PyImport_ImportModule("asyncio"));
    if (!asyncio) return Reference();
    const Reference names = Reference::steal(
        Py_BuildValue("{s:O,s:O}", "__builtins__", PyEval_GetBuiltins(), "asyncio", asyncio.get()));
    if (!names ||
        !Reference::steal(PyRun_String(pump_code, Py_file_input, names.get(), names.get())))
      return Reference();
    return Reference::borrow(PyDict_GetItemString(names.get(), "pump"));
  });
}

Result<Reference> StreamPump::make() noexcept {
  static std::array<PyMethodDef, 3> functions{{
      {"put", put, METH_O, nullptr},
      {"room", room, METH_NOARGS, nullptr},
      {"refuse", refuse, METH_O, nullptr},
  }};
  Ref source = std::exchange(source_, {});
  if (!source) {
    const auto made = call_by_name(call_);
    if (!made.ok()) return made.error();
    source = Ref::borrow(made->get());
  }
  PyObject* const pump = pump_function();
  auto* const shared = new std::shared_ptr<ValueStream>(stream_);
  const Reference capsule =
      Reference::steal(PyCapsule_New(shared, stream_capsule, [](PyObject* dropped) {
        delete static_cast<std::shared_ptr<ValueStream>*>(
            PyCapsule_GetPointer(dropped, stream_capsule));
      }));
  if (!capsule) delete shared;
  if (pump == nullptr || !capsule) return error_of_exception();
  std::array<Reference, 3> given;
  for (std::size_t at = 0; at < given.size(); ++at)
    given.at(at) = Reference::steal(PyCFunction_New(&functions.at(at), capsule.get()));
  Reference coroutine_object = Reference::steal(PyObject_CallFunctionObjArgs(
      pump, source.get(), given[0].get(), given[1].get(), given[2].get(), nullptr));
  if (!coroutine_object) return error_of_exception();
  return coroutine_object;
}

void StreamPump::end(PyObject* value, CoroutineEnd how) noexcept {
  std::optional<Error> error;
  if (how == CoroutineEnd::cancelled) {
    error = Error{.code = Errc::cancelled, .message = "the stream's coroutine was cancelled"};
  } else if (value == nullptr) {
    error = error_of_exception();
  }
  stream_->end(error);
  const Ending ending = how == CoroutineEnd::returned ? Ending::executed
                        : how == CoroutineEnd::raised ? Ending::failed
                                                      : Ending::cancelled;
  if (claim(ending)) settle(error ? Result<void>(*std::move(error)) : Result<void>());
}

// ---- A turn ----

// An `async def`, with or without a yield.
bool gives_async(PyObject* function) {
  if (!PyFunction_Check(function)) return false;
  const auto* const code = reinterpret_cast<PyCodeObject*>(PyFunction_GET_CODE(function));
  return (code->co_flags & (CO_COROUTINE | CO_ASYNC_GENERATOR)) != 0;
}

// Whether the main interpreter, where loops are, is to run it. Not every module loads in every
// interpreter.
bool is_for_loop(const CallSpec& call) {
  const auto here = find_function(call);
  if (here.ok()) return gives_async(here->get());
  const InMainInterpreter guard;
  if (!guard.attached()) return false;
  const auto there = find_function(call);
  return there.ok() && gives_async(there->get());
}

bool StreamTurn::open() {
  if (stream_->is_cancelled()) return false;
  // Loops are the main interpreter's.
  const bool is_elsewhere = PyInterpreterState_Get() != PyInterpreterState_Main();
  if (is_elsewhere && is_for_loop(call_)) {
    pump(new StreamPump(stream_, std::exchange(call_, {})));
    return false;
  }
  const auto returned = [this] {
    const Exposed here(*this);
    return call_by_name(std::exchange(call_, {}));
  }();
  if (!returned.ok()) {
    stream_->end(returned.error());
    return false;
  }
  PyObject* const source = returned->get();
  const PyAsyncMethods* const async = Py_TYPE(source)->tp_as_async;
  if (PyCoro_CheckExact(source) || (async != nullptr && async->am_aiter != nullptr)) {
    if (is_elsewhere) {
      stream_->end(Error{.code = Errc::unsupported,
                         .message = "what it returned is asynchronous, and made in an interpreter "
                                    "that runs no loop: let an `async def` give it"});
    } else {
      pump(new StreamPump(stream_, Ref::borrow(source)));
    }
    return false;
  }
  iterator_ = Ref::steal(PyObject_GetIter(source));
  if (iterator_) return true;
  PyErr_Clear();
  stream_->end(not_iterable(source));
  return false;
}

void StreamTurn::pump(StreamPump* pump) {
  const Shared<TaskState> shared(pump);
  pump->add_owner();
  Runtime::get().enqueue(Shared<TaskState>(pump));
  stream_->set_source(shared);
}

void StreamTurn::make_items() {
  if (make_until_pause()) go_on_later();
}

// True: it is to go on when it has a turn again.
bool StreamTurn::make_until_pause() {
  const Exposed here(*this);
  while (!stream_->is_cancelled()) {
    const Reference item = Reference::steal(PyIter_Next(iterator_.get()));
    if (!item) {
      std::optional<Error> error;
      if (PyErr_Occurred() != nullptr) error = error_of_exception();
      stream_->end(std::move(error));
      return false;
    }
    auto value = to_value(item.get(), exchange_options());
    if (!value.ok()) {
      stream_->end(value.error());
    } else if (stream_->put(std::move(value)) == Room::pause) {
      return true;
    }
  }
  close();
  return false;
}

void StreamTurn::close() {
  const Reference method = Reference::steal(PyObject_GetAttrString(iterator_.get(), "close"));
  if (method) Reference::steal(PyObject_CallNoArgs(method.get()));
  PyErr_Clear();  // Nobody is there to hear of it.
}

void StreamTurn::go_on_later() {
  const std::int64_t home = iterator_.interpreter_id();
  const Shared<TaskState> turn(new StreamTurn(stream_, std::exchange(iterator_, {})));
  const auto go_on = [turn, home] { Runtime::get().enqueue(turn, home); };
  if (!stream_->wait_for_room(go_on)) go_on();
}

}  // namespace

void start_stream_source(std::shared_ptr<ValueStream> stream, CallSpec call) {
  if (const auto named = FunctionCache::check(call.module, call.function); !named.ok())
    return stream->end(named.error());
  // What it makes while the executor ends belongs to a stream that began before.
  if (!Runtime::get().is_running()) return stream->end(Interpreter::no_executor());
  auto name = fmt::format("stream() of {}.{}", call.module, call.function);
  if (!stream->start_deadline(std::move(name))) return;
  Runtime::get().keep_stream(stream);
  Runtime::get().enqueue(Shared<TaskState>(new StreamTurn(std::move(stream), std::move(call))));
}

}  // namespace unirun::python
