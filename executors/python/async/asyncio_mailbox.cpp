#include "executors/python/async/asyncio_mailbox.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <utility>

namespace unirun::python {
namespace {

using Share = std::shared_ptr<AsyncioMailbox>;

constexpr const char* mailbox_capsule = "unirun.AsyncioMailbox";

Share& share_of(PyObject* capsule) {
  return *static_cast<Share*>(PyCapsule_GetPointer(capsule, mailbox_capsule));
}

// The loop that ran last on this thread, and its mailbox, which knows whether that loop is there
// still: if not, the address means another.
struct Last {
  PyObject* loop = nullptr;
  std::weak_ptr<AsyncioMailbox> mailbox;
};
thread_local Last last;

}  // namespace

// The loop's, which goes before the loop does. Whoever just posts may hold another.
void AsyncioMailbox::drop_share(PyObject* capsule) {
  Share& share = share_of(capsule);
  share->has_loop_.store(false);
  delete &share;
}

AsyncioMailbox::~AsyncioMailbox() { ::close(descriptor_); }

Share AsyncioMailbox::of_running_loop(PyObject* loop) {
  if (last.loop == loop) {
    Share found = last.mailbox.lock();
    if (found != nullptr && found->has_loop_.load()) return found;
  }
  static PyMethodDef reader = {"mailbox", on_readable, METH_NOARGS, nullptr};
  const int descriptor = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (descriptor < 0) return PyErr_SetFromErrno(PyExc_OSError), nullptr;
  Share mailbox = std::make_shared<AsyncioMailbox>(descriptor);
  auto* const share = new Share(mailbox);
  const Reference capsule = Reference::steal(PyCapsule_New(share, mailbox_capsule, drop_share));
  if (!capsule) return delete share, nullptr;
  const Reference callback = Reference::steal(PyCFunction_New(&reader, capsule.get()));
  const Reference added = Reference::steal(
      callback ? PyObject_CallMethod(loop, "add_reader", "iO", descriptor, callback.get())
               : nullptr);
  if (!added) return nullptr;
  last = {loop, mailbox};
  return mailbox;
}

void AsyncioMailbox::post(std::function<void()> function) {
  {
    const std::lock_guard lock(mutex_);
    posted_.push_back(std::move(function));
    if (posted_.size() > 1) return;  // Whoever was first has called.
  }
  const std::uint64_t once = 1;
  static_cast<void>(::write(descriptor_, &once, sizeof once));
}

PyObject* AsyncioMailbox::on_readable(PyObject* capsule, PyObject* /*nothing*/) {
  const Share mailbox = share_of(capsule);  // It lives until it has served.
  mailbox->serve();
  Py_RETURN_NONE;
}

void AsyncioMailbox::serve() {
  std::uint64_t rings = 0;
  static_cast<void>(::read(descriptor_, &rings, sizeof rings));
  std::vector<std::function<void()>> posted;
  {
    const std::lock_guard lock(mutex_);
    posted.swap(posted_);
  }
  for (const auto& function : posted) function();
}

}  // namespace unirun::python
