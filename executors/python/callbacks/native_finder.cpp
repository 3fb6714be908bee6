#include "executors/python/callbacks/native_finder.h"

namespace unirun::python {
namespace {

constexpr const char* found_name = "unirun";

// The finder is a tuple of the module with two methods: what it finds is always that module, and
// there is nothing to load.
PyObject* find_spec(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
  if (count < 1 || !PyUnicode_Check(arguments[0]) ||
      PyUnicode_CompareWithASCIIString(arguments[0], found_name) != 0)
    Py_RETURN_NONE;
  const Reference machinery = Reference::steal(PyImport_ImportModule("_frozen_importlib"));
  if (!machinery) return nullptr;
  return PyObject_CallMethod(machinery.get(), "ModuleSpec", "OO", arguments[0], self);
}

PyObject* create_module(PyObject* self, PyObject* /*spec*/) {
  return Py_NewRef(PyTuple_GET_ITEM(self, 0));
}

PyObject* exec_module(PyObject* /*self*/, PyObject* /*module*/) { Py_RETURN_NONE; }

PyMethodDef finder_methods[] = {{"find_spec", method(find_spec), METH_FASTCALL, nullptr},
                                {"create_module", create_module, METH_O, nullptr},
                                {"exec_module", exec_module, METH_O, nullptr},
                                {nullptr, nullptr, 0, nullptr}};

PyType_Slot finder_slots[] = {{Py_tp_methods, finder_methods}, {0, nullptr}};

PyType_Spec finder_spec = {"unirun._embed.Finder", 0, 0, Py_TPFLAGS_DEFAULT, finder_slots};

Reference make_finder(PyObject* module) {
  const Reference bases =
      Reference::steal(PyTuple_Pack(1, reinterpret_cast<PyObject*>(&PyTuple_Type)));
  const Reference type = Reference::steal(
      bases ? PyType_FromModuleAndSpec(module, &finder_spec, bases.get()) : nullptr);
  return Reference::steal(type ? PyObject_CallFunction(type.get(), "((O))", module) : nullptr);
}

}  // namespace

bool add_finder(PyObject* module) {
  PyObject* const finders = PySys_GetObject("meta_path");  // Borrowed.
  const Reference finder = make_finder(module);
  return finders != nullptr && finder && PyList_Append(finders, finder.get()) == 0;
}

}  // namespace unirun::python
