#include "executors/python/callbacks/native_module.h"

#include <string_view>

#include "executors/python/callbacks/function_table.h"
#include "executors/python/callbacks/host_functions.h"
#include "executors/python/callbacks/host_parallel.h"
#include "executors/python/callbacks/native_call.h"
#include "executors/python/callbacks/native_finder.h"
#include "executors/python/callbacks/native_functions.h"
#include "executors/python/callbacks/shield.h"
#include "executors/python/interpreter/interruption.h"
#include "executors/python/state/state_object.h"
#include "executors/python/values/exception_text.h"

namespace unirun::python {
namespace {

constexpr const char* module_name = "unirun._embed";
constexpr const char* functions_name = "unirun.functions";

// The function that the first argument names; null: an exception is set.
std::shared_ptr<NativeFunction> function_named(PyObject* const* arguments, Py_ssize_t count) {
  if (count < 1 || !PyUnicode_Check(arguments[0])) {
    PyErr_SetString(PyExc_TypeError, "the first argument is the name of a C++ function, as text");
    return nullptr;
  }
  Py_ssize_t size = 0;
  const char* const text = PyUnicode_AsUTF8AndSize(arguments[0], &size);
  if (text == nullptr) return nullptr;
  const std::string_view name(text, static_cast<std::size_t>(size));
  auto function = FunctionTable::get().find_to_call(name);
  if (!function.ok()) return raise_error(function.error()), nullptr;
  return *std::move(function);
}

PyObject* call(PyObject* /*module*/, PyObject* const* arguments, Py_ssize_t count,
               PyObject* names) {
  const auto function = function_named(arguments, count);
  return function ? call_native(function, {arguments + 1, count - 1, names}) : nullptr;
}

PyObject* async_call(PyObject* /*module*/, PyObject* const* arguments, Py_ssize_t count,
                     PyObject* names) {
  const auto function = function_named(arguments, count);
  return function ? async_call_native(function, {arguments + 1, count - 1, names}) : nullptr;
}

int fill(PyObject* module) {
  const Reference functions = make_functions(module);
  if (!functions || PyModule_AddObjectRef(module, "functions", functions.get()) != 0) return -1;
  if (PyDict_SetItemString(PyImport_GetModuleDict(), functions_name, functions.get()) != 0)
    return -1;
  const Reference shield = make_shield_type(module);
  if (!shield || PyModule_AddObjectRef(module, "shield", shield.get()) != 0) return -1;
  if (PyModule_AddObjectRef(module, "Interrupted", interrupted_class()) != 0) return -1;
  return add_host_functions(module) && add_host_parallel(module) && add_state(module) ? 0 : -1;
}

PyMethodDef module_methods[] = {
    {"call", method(call), METH_FASTCALL | METH_KEYWORDS,
     "call(name, /, *args, **kwargs)\n--\n\nCalls the C++ function of that name and waits for what "
     "it gives."},
    {"async_call", method(async_call), METH_FASTCALL | METH_KEYWORDS,
     "async_call(name, /, *args, **kwargs)\n--\n\nCalls the C++ function of that name; await what "
     "this gives."},
    {nullptr, nullptr, 0, nullptr}};

// Not Py_MOD_GIL_NOT_USED: see execution_mode.cpp.
PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, slot(fill)},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, nullptr}};

PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    module_name,
    "What Python code sees of unirun's C++.",
    0,  // No state: what it has stands in its names.
    module_methods,
    module_slots,
    nullptr,
    nullptr,
    nullptr,
};

Reference make_module() {
  const Reference machinery = Reference::steal(PyImport_ImportModule("_frozen_importlib"));
  const Reference spec = Reference::steal(
      machinery ? PyObject_CallMethod(machinery.get(), "ModuleSpec", "sO", module_name, Py_None)
                : nullptr);
  Reference module =
      Reference::steal(spec ? PyModule_FromDefAndSpec(&module_definition, spec.get()) : nullptr);
  if (!module || PyModule_ExecDef(module.get(), &module_definition) != 0) return {};
  return module;
}

bool install() {
  PyObject* const modules = PyImport_GetModuleDict();  // Borrowed.
  if (PyDict_GetItemString(modules, module_name) != nullptr) return true;
  const Reference module = make_module();
  if (!module) return false;
  return add_finder(module.get()) && PyDict_SetItemString(modules, module_name, module.get()) == 0;
}

}  // namespace

PyModuleDef* native_module() { return &module_definition; }

Result<void> install_native_module() {
  if (install()) return {};
  return error_of_exception();
}

}  // namespace unirun::python
