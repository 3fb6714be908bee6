#include "executors/python/asgi/asgi_exchange.h"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "executors/python/asgi/asgi_dicts.h"
#include "executors/python/values/exception_text.h"

namespace unirun::python {
namespace {

constexpr const char* exchange_capsule = "unirun.AsgiExchange";

Error ended_too_early(const AsgiProtocol& protocol) {
  const char* const what =
      protocol.has_begun() ? "it had sent all of its answer" : "it had sent anything";
  return {.code = Errc::python_exception,
          .message = fmt::format("the ASGI application returned before {}", what)};
}

}  // namespace

// ---- Its beginning ----

Reference AsgiExchange::make_ends(const AsgiWords& words) {
  static std::array<PyMethodDef, 2> functions{{
      {"take", on_take, METH_NOARGS, nullptr},
      {"put", on_put, METH_O, nullptr},
  }};
  using Share = std::shared_ptr<AsgiExchange>;
  auto* const share = new Share(shared_from_this());
  const Reference capsule =
      Reference::steal(PyCapsule_New(share, exchange_capsule, [](PyObject* dropped) {
        delete static_cast<Share*>(PyCapsule_GetPointer(dropped, exchange_capsule));
      }));
  if (!capsule) {
    delete share;
    return {};
  }
  const Reference take = Reference::steal(PyCFunction_New(&functions[0], capsule.get()));
  const Reference put = Reference::steal(PyCFunction_New(&functions[1], capsule.get()));
  if (!take || !put) return {};
  const std::array<PyObject*, 2> both{take.get(), put.get()};
  return Reference::steal(PyObject_Vectorcall(words.make_ends(), both.data(), 2, nullptr));
}

Result<Reference> AsgiExchange::call_application() noexcept {
  loop_ = CoroutineLoop::current();
  const auto callable = application_->callable();
  if (!callable.ok()) return callable.error();
  const AsgiWords* const words = AsgiWords::current();
  const Reference told = words != nullptr ? scope(*words) : Reference();
  const Reference ends = told ? make_ends(*words) : Reference();
  if (!ends) {
    Error error = error_of_exception();
    error.code = Errc::conversion;
    error.message = "the scope for the ASGI application: " + error.message;
    return error;
  }
  const std::array<PyObject*, 3> arguments{told.get(), PyTuple_GET_ITEM(ends.get(), 0),
                                           PyTuple_GET_ITEM(ends.get(), 1)};
  Reference called = Reference::steal(
      PyObject_Vectorcall(callable->get(), arguments.data(), arguments.size(), nullptr));
  if (!called) return error_of_exception();
  return called;
}

// ---- What the application does ----

AsgiExchange* AsgiExchange::of(PyObject* capsule) {
  AsgiExchange* const exchange =
      static_cast<std::shared_ptr<AsgiExchange>*>(PyCapsule_GetPointer(capsule, exchange_capsule))
          ->get();
  if (CoroutineLoop::current() == exchange->loop_) return exchange;
  PyErr_SetString(PyExc_RuntimeError,
                  "receive() and send() belong to the loop on which the application was called");
  return nullptr;
}

PyObject* AsgiExchange::on_take(PyObject* self, PyObject* /*nothing*/) {
  AsgiExchange* const exchange = of(self);
  return exchange != nullptr ? exchange->give_next() : nullptr;
}

PyObject* AsgiExchange::on_put(PyObject* self, PyObject* event) {
  AsgiExchange* const exchange = of(self);
  return exchange != nullptr ? exchange->take_sent(event) : nullptr;
}

template <class Wait>
Reference AsgiExchange::wait_in(Waiting AsgiExchange::*waiting, Wait wait) {
  Reference future = loop_->asyncio().create_future();
  if (!future) return {};
  (this->*waiting).push_back(Ref::borrow(future.get()));
  const auto go_on = [weak = weak_from_this(), loop = loop_->link(), waiting] {
    loop->post([weak, waiting] {
      if (const auto exchange = weak.lock()) wake((*exchange).*waiting);
    });
  };
  if (wait(go_on)) return future;
  (this->*waiting).pop_back();
  return {};
}

void AsgiExchange::wake(Waiting& waiting) {
  for (const Ref& future : std::exchange(waiting, {})) Asyncio::settle(future.get());
}

PyObject* AsgiExchange::give_next() {
  for (;;) {
    if (const auto event = next()) return event_dict(*AsgiWords::current(), *event).release();
    Reference future = wait_in(&AsgiExchange::receivers_,
                               [this](auto go_on) { return wait_for_next(std::move(go_on)); });
    if (future || PyErr_Occurred() != nullptr) return future.release();
  }
}

PyObject* AsgiExchange::take_sent(PyObject* dict) {
  auto event = event_of(*AsgiWords::current(), dict);
  if (!event) return nullptr;
  // What follows a response goes nowhere, as the specification has it.
  if (protocol_.kind() == AsgiProtocol::Kind::http && protocol_.is_complete()) Py_RETURN_NONE;
  if (is_gone()) {
    PyErr_SetString(PyExc_BrokenPipeError, "the client has left");
    return nullptr;
  }
  if (const auto wrong = protocol_.take(*event)) {
    PyErr_SetString(PyExc_RuntimeError, wrong->c_str());
    return nullptr;
  }
  const bool is_full = put(*std::move(event));
  if (protocol_.is_complete()) wake_receivers();
  if (!is_full) Py_RETURN_NONE;
  Reference future = wait_in(&AsgiExchange::senders_,
                             [this](auto go_on) { return wait_for_room(std::move(go_on)); });
  if (future || PyErr_Occurred() != nullptr) return future.release();
  Py_RETURN_NONE;
}

// ---- Its end ----

Ending AsgiExchange::End::ending() const {
  if (how == CoroutineEnd::cancelled) return Ending::cancelled;
  return error ? Ending::failed : Ending::executed;
}

void AsgiExchange::end(PyObject* value, CoroutineEnd how) noexcept {
  const bool is_lifespan = protocol_.kind() == AsgiProtocol::Kind::lifespan;
  End end{.how = how};
  if (how == CoroutineEnd::cancelled) {
    end.error = Error{.code = Errc::cancelled, .message = "the ASGI application was cancelled"};
  } else if (value == nullptr && protocol_.is_complete() && !is_lifespan) {
    loop_->asyncio().report("an ASGI application has raised after it had sent its answer");
  } else if (value == nullptr) {  // A lifespan raises after it has said that it failed.
    end.error = error_of_exception();
  } else if (value != nullptr && !protocol_.is_complete() && !protocol_.is_accepted() &&
             !is_gone()) {
    end.error = ended_too_early(protocol_);
  }
  finish(std::move(end));
  wake_receivers();
  wake(senders_);
}

}  // namespace unirun::python
