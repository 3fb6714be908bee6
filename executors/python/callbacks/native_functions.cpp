#include "executors/python/callbacks/native_functions.h"

#include <structmember.h>  // Python 3.11 needs it for PyMemberDef.

#include <cstddef>
#include <new>

#include "executors/python/callbacks/function_table.h"
#include "executors/python/callbacks/native_call.h"
#include "executors/python/values/exception_text.h"

namespace unirun::python {
namespace {

// ---- One function ----

struct FunctionObject {
  PyObject_HEAD vectorcallfunc vectorcall;
  std::shared_ptr<NativeFunction> function;
};

FunctionObject* function_of(PyObject* self) { return reinterpret_cast<FunctionObject*>(self); }

// The one that stands under its name by now, where its own has ended.
std::shared_ptr<NativeFunction> current_function(PyObject* self) {
  const ObjectLock lock(self);
  std::shared_ptr<NativeFunction>& function = function_of(self)->function;
  if (!function->is_closed()) return function;
  if (auto successor = FunctionTable::get().find(function->name()); successor.ok())
    function = *std::move(successor);
  return function;
}

PyObject* call_function(PyObject* self, PyObject* const* arguments, std::size_t flags,
                        PyObject* names) {
  return call_native(current_function(self), {arguments, PyVectorcall_NARGS(flags), names});
}

PyObject* name_of(PyObject* self, void* /*closure*/) {
  const std::string& name = function_of(self)->function->name();
  return PyUnicode_FromStringAndSize(name.data(), static_cast<Py_ssize_t>(name.size()));
}

PyObject* describe_function(PyObject* self) {
  return PyUnicode_FromFormat("<C++ function %s>", function_of(self)->function->name().c_str());
}

void drop_function(PyObject* self) {
  PyTypeObject* const type = Py_TYPE(self);
  function_of(self)->function.~shared_ptr();
  type->tp_free(self);
  Py_DECREF(type);
}

PyMemberDef function_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(FunctionObject, vectorcall), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr}};
PyGetSetDef function_attributes[] = {{"__name__", name_of, nullptr, nullptr, nullptr},
                                     {"__qualname__", name_of, nullptr, nullptr, nullptr},
                                     {nullptr, nullptr, nullptr, nullptr, nullptr}};
PyType_Slot function_slots[] = {
    {Py_tp_dealloc, slot(drop_function)},  {Py_tp_call, slot(PyVectorcall_Call)},
    {Py_tp_repr, slot(describe_function)}, {Py_tp_members, function_members},
    {Py_tp_getset, function_attributes},   {0, nullptr}};
PyType_Spec function_spec = {
    "unirun.functions.Function", sizeof(FunctionObject), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    function_slots};

PyObject* make_function(PyTypeObject* type, std::shared_ptr<NativeFunction> function) {
  PyObject* const self = type->tp_alloc(type, 0);
  if (self == nullptr) return nullptr;
  function_of(self)->vectorcall = call_function;
  new (&function_of(self)->function) std::shared_ptr<NativeFunction>(std::move(function));
  return self;
}

// ---- All of them ----

struct FunctionsObject {
  PyObject_HEAD PyTypeObject* function_type;
};

FunctionsObject* functions_of(PyObject* self) { return reinterpret_cast<FunctionsObject*>(self); }

// A registered name comes before what every object has; none begins with __.
PyObject* get_attribute(PyObject* self, PyObject* key) {
  Py_ssize_t size = 0;
  const char* const text = PyUnicode_AsUTF8AndSize(key, &size);
  if (text == nullptr) return nullptr;
  const std::string_view name(text, static_cast<std::size_t>(size));
  if (name.starts_with("__")) return PyObject_GenericGetAttr(self, key);
  auto function = FunctionTable::get().find(name);
  if (!function.ok()) return raise_error(function.error()), nullptr;
  return make_function(functions_of(self)->function_type, *std::move(function));
}

PyObject* list_names(PyObject* /*self*/, PyObject* /*nothing*/) {
  const auto names = FunctionTable::get().names();
  if (!names.ok()) return raise_error(names.error()), nullptr;
  Reference list = Reference::steal(PyList_New(0));
  for (const std::string& name : *names) {
    const Reference text = Reference::steal(
        PyUnicode_FromStringAndSize(name.data(), static_cast<Py_ssize_t>(name.size())));
    if (!list || !text || PyList_Append(list.get(), text.get()) != 0) return nullptr;
  }
  return list.release();
}

PyObject* describe_functions(PyObject* /*self*/) {
  return PyUnicode_FromString("<the C++ functions of this process>");
}

// As modules have it: an import of a name that nobody has registered says where it was looked for.
PyObject* name_of_functions(PyObject* /*self*/, void* /*closure*/) {
  return PyUnicode_FromString("unirun.functions");
}

int visit_functions(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(functions_of(self)->function_type);
  return 0;
}

int clear_functions(PyObject* self) {
  Py_CLEAR(functions_of(self)->function_type);
  return 0;
}

void drop_functions(PyObject* self) {
  PyObject_GC_UnTrack(self);
  PyTypeObject* const type = Py_TYPE(self);
  clear_functions(self);
  type->tp_free(self);
  Py_DECREF(type);
}

PyMethodDef functions_methods[] = {{"__dir__", list_names, METH_NOARGS, nullptr},
                                   {nullptr, nullptr, 0, nullptr}};
PyGetSetDef functions_attributes[] = {{"__name__", name_of_functions, nullptr, nullptr, nullptr},
                                      {nullptr, nullptr, nullptr, nullptr, nullptr}};
PyType_Slot functions_slots[] = {
    {Py_tp_dealloc, slot(drop_functions)},  {Py_tp_traverse, slot(visit_functions)},
    {Py_tp_clear, slot(clear_functions)},   {Py_tp_getattro, slot(get_attribute)},
    {Py_tp_repr, slot(describe_functions)}, {Py_tp_methods, functions_methods},
    {Py_tp_getset, functions_attributes},   {0, nullptr}};
PyType_Spec functions_spec = {
    "unirun.functions.Functions", sizeof(FunctionsObject), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION, functions_slots};

}  // namespace

Reference make_functions(PyObject* module) {
  Reference one = Reference::steal(PyType_FromModuleAndSpec(module, &function_spec, nullptr));
  const Reference all =
      Reference::steal(one ? PyType_FromModuleAndSpec(module, &functions_spec, nullptr) : nullptr);
  if (!all) return {};
  auto* const type = reinterpret_cast<PyTypeObject*>(all.get());
  PyObject* const self = type->tp_alloc(type, 0);
  if (self == nullptr) return {};
  functions_of(self)->function_type = reinterpret_cast<PyTypeObject*>(one.release());
  return Reference::steal(self);
}

}  // namespace unirun::python
