// AsgiExchange is one call of an ASGI application: the scope that it is given, the `receive` and
// `send` through which it speaks with whoever is behind, and its end.
//
// Thread: the loop's on which the application runs, with the GIL, but for what names another.

#pragma once

#include "executors/python/python.h"
// Python.h first.

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "executors/python/asgi/asgi_application.h"
#include "executors/python/asgi/asgi_event.h"
#include "executors/python/asgi/asgi_protocol.h"
#include "executors/python/asgi/asgi_words.h"
#include "executors/python/async/coroutine_loop.h"
#include "executors/python/async/coroutine_task.h"
#include "executors/python/error.h"
#include "executors/python/values/ref.h"

namespace unirun::python {

class AsgiExchange : public std::enable_shared_from_this<AsgiExchange> {
 public:
  AsgiExchange(AsgiProtocol::Kind kind, std::shared_ptr<AsgiApplication> application)
      : protocol_(kind), application_(std::move(application)) {}
  AsgiExchange(const AsgiExchange&) = delete;
  AsgiExchange& operator=(const AsgiExchange&) = delete;
  virtual ~AsgiExchange() = default;

  // ---- For its task ----

  // Calls the application: what is to be awaited.
  [[nodiscard]] Result<Reference> call_application() noexcept;
  // That has ended: with a value, or an exception, which this takes.
  void end(PyObject* value, CoroutineEnd how) noexcept;
  // It could not be called (python_exception), will not be, or nobody waits for it any more.
  // Thread: any.
  virtual void fail(const Error& error) noexcept = 0;

 protected:
  struct End {
    CoroutineEnd how = CoroutineEnd::returned;
    std::optional<Error> error{};  // Also of an application that returned before it had said all.
    [[nodiscard]] Ending ending() const;
  };

  // Null: an exception is set.
  [[nodiscard]] virtual Reference scope(const AsgiWords& words) = 0;
  // What the application receives next. Nothing: not yet.
  [[nodiscard]] virtual std::optional<AsgiEvent> next() = 0;
  // False: there is something. Else `go_on` is called when there is, on any thread; or
  // wake_receivers().
  [[nodiscard]] virtual bool wait_for_next(std::function<void()> go_on) = 0;
  // What it sends, in an order that is right. True: it waits for room before it sends more.
  [[nodiscard]] virtual bool put(AsgiEvent event) = 0;
  // False: there is room. Else as above.
  [[nodiscard]] virtual bool wait_for_room(std::function<void()> /*go_on*/) { return false; }
  // Nobody is there to be sent anything. Thread: any.
  [[nodiscard]] virtual bool is_gone() const { return false; }
  virtual void finish(End end) noexcept = 0;

  [[nodiscard]] const AsgiProtocol& protocol() const { return protocol_; }
  // Null once it was taken.
  [[nodiscard]] AsgiApplication* application() const { return application_.get(); }
  [[nodiscard]] std::shared_ptr<AsgiApplication> take_application() {
    return std::exchange(application_, nullptr);
  }
  void wake_receivers() { wake(receivers_); }

 private:
  using Waiting = std::vector<Ref>;  // Futures of asyncio's.

  [[nodiscard]] static AsgiExchange* of(PyObject* capsule);
  [[nodiscard]] static PyObject* on_take(PyObject* self, PyObject* nothing);
  [[nodiscard]] static PyObject* on_put(PyObject* self, PyObject* event);

  [[nodiscard]] Reference make_ends(const AsgiWords& words);
  [[nodiscard]] PyObject* give_next();
  [[nodiscard]] PyObject* take_sent(PyObject* dict);
  // A future that is among `waiting`, unless `wait` says that there is nothing to wait for: null,
  // and no exception is set then.
  template <class Wait>
  [[nodiscard]] Reference wait_in(Waiting AsgiExchange::*waiting, Wait wait);
  static void wake(Waiting& waiting);

  AsgiProtocol protocol_;
  std::shared_ptr<AsgiApplication> application_;
  CoroutineLoop* loop_ = nullptr;  // Since it was called.
  Waiting receivers_;
  Waiting senders_;
};

}  // namespace unirun::python
