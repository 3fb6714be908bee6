#include "executors/python/interpreter/import_module.h"

#include "executors/python/values/exception.h"

namespace unirun::python {
namespace {

// An __import__ of somebody's own may keep its modules elsewhere, where none is ever found.
constexpr int most_tries = 10;

// Whether the exception that is set says that the module was not there after its import, which
// PyImport_Import() says by a KeyError of its own: a module's has a traceback.
bool has_vanished() {
  if (PyErr_ExceptionMatches(PyExc_KeyError) == 0) return false;
  Reference exception = take_exception();
  const Reference traceback = Reference::steal(PyException_GetTraceback(exception.get()));
  raise_exception(std::move(exception));
  return !traceback;
}

}  // namespace

// Whoever finds a module that another thread is importing waits for that thread. Where its import
// fails then, or is interrupted, the module is taken out again, and who waited is told of success
// and has nothing: it imports the module itself.
Reference import_module(PyObject* name) {
  Reference module = Reference::steal(PyImport_Import(name));
  for (int tries = 0; !module && tries < most_tries && has_vanished(); ++tries) {
    PyErr_Clear();
    module = Reference::steal(PyImport_Import(name));
  }
  return module;
}

}  // namespace unirun::python
