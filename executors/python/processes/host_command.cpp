#include "executors/python/processes/host_command.h"

#include "executors/python/python.h"
// Python.h first.

#include <optional>

namespace unirun::python {
namespace {

// The package around the module is not needed, and what it imports takes its time.
constexpr const char* starter =
    "import sys\n"
    "from importlib.util import module_from_spec, spec_from_file_location\n"
    "spec = spec_from_file_location('unirun._embed', sys.argv.pop())\n"
    "module = module_from_spec(spec)\n"
    "spec.loader.exec_module(module)\n"
    "sys.exit(module.serve())\n";

// A path as the system has it.
std::optional<std::string> path_of(PyObject* text) {
  if (text == nullptr || PyUnicode_Check(text) == 0) return std::nullopt;
  const Reference bytes = Reference::steal(PyUnicode_EncodeFSDefault(text));
  if (!bytes || PyBytes_GET_SIZE(bytes.get()) == 0) return std::nullopt;
  return PyBytes_AS_STRING(bytes.get());
}

}  // namespace

std::vector<std::string> host_command() {
  const auto interpreter = path_of(PySys_GetObject("executable"));
  PyObject* const module = PyDict_GetItemString(PyImport_GetModuleDict(), "unirun._embed");
  const Reference file =
      Reference::steal(module ? PyObject_GetAttrString(module, "__file__") : nullptr);
  const auto extension = path_of(file.get());
  PyErr_Clear();
  if (!interpreter || !extension) return {};
  std::vector<std::string> command{*interpreter, "-I", "-c", starter, *extension};
#ifdef Py_GIL_DISABLED
  command.insert(command.begin() + 1, {"-X", "gil=1"});  // Or it warns that it switches it on.
#endif
  return command;
}

}  // namespace unirun::python
