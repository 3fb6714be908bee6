#include "executors/python/asgi/asgi_application.h"

#include "executors/python/calls/invocation.h"

namespace unirun::python {

Result<Reference> AsgiApplication::callable() {
  Ref known;
  {
    const std::lock_guard lock(mutex_);
    known = callable_;
  }
  if (PyObject* const here = known.get()) return Reference::borrow(here);
  auto found = find_function(spec_);
  if (!found.ok()) return found;
  Ref other = Ref::borrow(found->get());
  const std::lock_guard lock(mutex_);
  std::swap(callable_, other);  // What it was is dropped with `known`, after the lock.
  return found;
}

}  // namespace unirun::python
