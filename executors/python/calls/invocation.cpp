#include "executors/python/calls/invocation.h"

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "executors/python/calls/apart.h"
#include "executors/python/calls/function_cache.h"
#include "executors/python/contexts/context_state.h"
#include "executors/python/interpreter/import_module.h"
#include "executors/python/values/conversion.h"
#include "executors/python/values/exception_text.h"

namespace unirun::python {
namespace {

// What a call is given, as vectorcall wants it: by position, then the values by name, whose names
// are a tuple.
class Arguments {
 public:
  Arguments(const Args& args, const Kwargs& kwargs) {
    objects_.reserve(args.size() + kwargs.size() + 1);
    objects_.push_back(nullptr);  // The callee's to use for self.
    positional_ = args.size();
  }
  ~Arguments() {
    for (PyObject* const object : objects_) Py_XDECREF(object);
  }
  Arguments(const Arguments&) = delete;
  Arguments& operator=(const Arguments&) = delete;

  [[nodiscard]] UNIRUN_APART Result<void> convert(const Args& args, const Kwargs& kwargs) {
    for (const Value& value : args) {
      if (auto added = add(value); !added.ok())
        return error_in(fmt::format("argument {}", objects_.size()), added.error());
    }
    if (kwargs.empty()) return {};
    names_ = Reference::steal(PyTuple_New(static_cast<Py_ssize_t>(kwargs.size())));
    if (!names_) return error_of_exception();
    Py_ssize_t at = 0;
    for (const auto& [name, value] : kwargs) {
      auto text = to_python(Value(name));
      if (!text.ok()) return error_in("the name of an argument", text.error());
      PyTuple_SET_ITEM(names_.get(), at++, text->release());
      if (auto added = add(value); !added.ok())
        return error_in(fmt::format("argument {}", name), added.error());
    }
    return {};
  }

  [[nodiscard]] PyObject* call(PyObject* callable) {
    return PyObject_Vectorcall(callable, objects_.data() + 1,
                               positional_ | PY_VECTORCALL_ARGUMENTS_OFFSET, names_.get());
  }

 private:
  [[nodiscard]] Result<void> add(const Value& value) {
    auto object = to_python(value, exchange_options());
    if (!object.ok()) return object.error();
    objects_.push_back(object->release());
    return {};
  }

  std::vector<PyObject*> objects_;
  std::size_t positional_ = 0;
  Reference names_;
};

UNIRUN_APART Result<Reference> failed_call() { return error_of_call(); }

UNIRUN_APART Result<Reference> not_callable(PyObject* object) {
  PyErr_Format(PyExc_TypeError, "'%.200s' object is not callable", Py_TYPE(object)->tp_name);
  return error_of_exception_as(Errc::not_callable);
}

UNIRUN_APART Result<Value> value_of(PyObject* returned, Returned returned_as) {
  ConversionOptions options = exchange_options();
  options.others_as_refs = options.others_as_refs && returned_as == Returned::any;
  auto value = to_value(returned, options);
  if (value.ok()) return value;
  return error_in("what it returned", value.error());
}

}  // namespace

Result<Reference> call_object(PyObject* callable, const Args& args, const Kwargs& kwargs) {
  if (PyCallable_Check(callable) == 0) return not_callable(callable);
  Arguments arguments(args, kwargs);
  if (auto converted = arguments.convert(args, kwargs); !converted.ok()) return converted.error();
  Reference returned = Reference::steal(arguments.call(callable));
  if (!returned) return failed_call();
  return returned;
}

namespace {

// What "__main__" is in the task that runs; null: what it is for Python. A context's names are its
// interpreter's, and this thread may be visiting another.
PyObject* names_here() {
  const ContextState* const context = ContextState::current();
  if (context == nullptr ||
      context->interpreter_id() != PyInterpreterState_GetID(PyInterpreterState_Get()))
    return nullptr;
  return context->names();
}

}  // namespace

Result<Reference> find_function(const CallSpec& call) {
  FunctionCache* const functions = FunctionCache::current();
  if (functions == nullptr) return error_of_exception();
  return functions->find(call.module, call.function, names_here());
}

Result<Value> invoke(const CallSpec& call, Returned returned_as) {
  const auto function = find_function(call);
  if (!function.ok()) return function.error();
  return call_for_value(function->get(), call.args, call.kwargs, returned_as);
}

Result<Value> call_for_value(PyObject* callable, const Args& args, const Kwargs& kwargs,
                             Returned returned_as) {
  const auto returned = call_object(callable, args, kwargs);
  if (!returned.ok()) return returned.error();
  return value_of(returned->get(), returned_as);
}

Result<Reference> attribute_of(const Ref& object, const std::string& name) {
  if (!object) return Error{.code = Errc::conversion, .message = "a Ref of nothing"};
  PyObject* const here = object.get();
  if (here == nullptr) {
    return Error{.code = Errc::wrong_interpreter,
                 .message = fmt::format("the object belongs to interpreter {}: only a context "
                                        "there can use it",
                                        object.interpreter_id())};
  }
  const auto text = to_python(Value(name));
  if (!text.ok()) return error_in("the name of an attribute", text.error());
  Reference found = Reference::steal(PyObject_GetAttr(here, text->get()));
  if (found) return found;
  return PyErr_ExceptionMatches(PyExc_AttributeError) != 0
             ? error_of_exception_as(Errc::unknown_function)
             : error_of_exception();
}

Result<void> reload_module(const std::string& name) {
  const Reference text = Reference::steal(PyUnicode_FromString(name.c_str()));
  if (!text) return error_of_exception();
  Reference module = Reference::steal(PyImport_GetModule(text.get()));
  PyErr_Clear();
  module =
      module ? Reference::steal(PyImport_ReloadModule(module.get())) : import_module(text.get());
  if (!module) return error_of_exception_as(Errc::import_failed);
  return {};
}

}  // namespace unirun::python
