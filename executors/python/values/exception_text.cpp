#include "executors/python/values/exception_text.h"

#include <cxxabi.h>
#include <fmt/format.h>

#include <cstdlib>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <typeinfo>

#include "executors/python/calls/call_depth.h"
#include "executors/python/interpreter/interruption.h"
#include "executors/python/values/conversion.h"
#include "executors/python/values/exception.h"

namespace unirun::python {
namespace {

// Here every step of telling about an exception may raise one in its turn. That one is dropped.
Reference tried(PyObject* result) {
  if (result == nullptr) PyErr_Clear();
  return Reference::steal(result);
}

// Half a surrogate pair becomes \udc80, as where Python prints it.
std::string text_of(PyObject* str) {
  if (str == nullptr || !PyUnicode_Check(str)) return {};
  const Reference utf8 = tried(PyUnicode_AsEncodedString(str, "utf-8", "backslashreplace"));
  if (!utf8) return {};
  return {PyBytes_AS_STRING(utf8.get()), static_cast<std::size_t>(PyBytes_GET_SIZE(utf8.get()))};
}

Reference str_of(std::string_view text) {
  return Reference::steal(
      PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "backslashreplace"));
}

// ---- Python's exceptions as Errors ----

std::string message_of(PyObject* exception) {
  const Reference str = tried(PyObject_Str(exception));
  std::string message = str ? text_of(str.get()) : "<exception str() failed>";
  const Reference notes = tried(PyObject_GetAttrString(exception, "__notes__"));
  const Reference copied = notes ? tried(PySequence_Tuple(notes.get())) : Reference();
  for (Py_ssize_t i = 0; copied && i < PyTuple_GET_SIZE(copied.get()); ++i) {
    const Reference note = tried(PyObject_Str(PyTuple_GET_ITEM(copied.get(), i)));
    message += "\n" + (note ? text_of(note.get()) : "<note str() failed>");
  }
  return message;
}

// As many as Python itself prints; the innermost, where there are more.
constexpr int frames_shown = 1000;

bool too_long(const PyTracebackObject* traceback) {
  int frames = 0;
  for (const auto* level = traceback; level != nullptr && frames <= frames_shown;
       level = level->tb_next)
    ++frames;
  return frames > frames_shown;
}

// For when the traceback module can not: the frames without their source, and without causes.
std::string bare_traceback(const PyTracebackObject* traceback, const Error& error) {
  std::string text = traceback != nullptr ? "Traceback (most recent call last):\n" : "";
  for (const auto* level = traceback; level != nullptr && text.size() < 100'000;
       level = level->tb_next) {
    const Reference code =
        Reference::steal(reinterpret_cast<PyObject*>(PyFrame_GetCode(level->tb_frame)));
    auto* const code_object = reinterpret_cast<PyCodeObject*>(code.get());
    const int line =
        level->tb_lineno > 0 ? level->tb_lineno : PyCode_Addr2Line(code_object, level->tb_lasti);
    text += fmt::format("  File \"{}\", line {}, in {}\n", text_of(code_object->co_filename), line,
                        text_of(code_object->co_name));
  }
  return text + fmt::format("{}: {}\n", error.type, error.message);
}

std::string formatted(PyObject* exception, bool shortened) {
  const Reference module = tried(PyImport_ImportModule("traceback"));
  const Reference format =
      module ? tried(PyObject_GetAttrString(module.get(), "format_exception")) : Reference();
  if (!format) return {};
  const Reference arguments = tried(Py_BuildValue("(O)", exception));
  const Reference named =
      tried(shortened ? Py_BuildValue("{s:i}", "limit", -frames_shown) : PyDict_New());
  if (!arguments || !named) return {};
  const Reference lines = tried(PyObject_Call(format.get(), arguments.get(), named.get()));
  const Reference nothing = tried(PyUnicode_FromString(""));
  if (!lines || !nothing) return {};
  return text_of(tried(PyUnicode_Join(nothing.get(), lines.get())).get());
}

std::string traceback_of(PyObject* exception, const Error& error) {
  const Reference traceback = Reference::steal(PyException_GetTraceback(exception));
  const auto* levels = reinterpret_cast<const PyTracebackObject*>(traceback.get());
  std::string text = formatted(exception, too_long(levels));
  return text.empty() ? bare_traceback(levels, error) : text;
}

Errc code_of(PyObject* exception) {
  PyObject* const interrupted = interrupted_class();
  if (interrupted == nullptr) {
    PyErr_Clear();
    return Errc::python_exception;
  }
  return PyErr_GivenExceptionMatches(exception, interrupted) != 0 ? Errc::interrupted
                                                                  : Errc::python_exception;
}

Value arguments_of(PyObject* exception) {
  const Reference arguments = tried(PyObject_GetAttrString(exception, "args"));
  if (!arguments) return {};
  Result<Value> value = to_value(arguments.get(), {.others_as_refs = false});
  return value.ok() ? *std::move(value) : Value();
}

// ---- Errors as Python's exceptions ----

// Null where it is not loaded, or is no exception.
Reference loaded_class(const std::string& type) {
  for (std::size_t dot = type.rfind('.'); dot != std::string::npos && dot > 0;
       dot = type.rfind('.', dot - 1)) {
    const Reference name =
        tried(PyUnicode_FromStringAndSize(type.data(), static_cast<Py_ssize_t>(dot)));
    Reference found = name ? tried(PyImport_GetModule(name.get())) : Reference();
    for (std::size_t from = dot + 1; found && from <= type.size();) {
      const std::size_t end = std::min(type.find('.', from), type.size());
      found = tried(PyObject_GetAttrString(found.get(), type.substr(from, end - from).c_str()));
      from = end + 1;
    }
    if (found && PyExceptionClass_Check(found.get())) return found;
  }
  return {};
}

Reference made_of(PyObject* type, const Reference& arguments) {
  if (!arguments) return {};
  Reference exception = tried(PyObject_Call(type, arguments.get(), nullptr));
  return exception && PyExceptionInstance_Check(exception.get()) ? std::move(exception)
                                                                 : Reference();
}

// As it was raised: of its own class, with its own arguments.
Reference same_again(const Error& error) {
  const Reference type = loaded_class(error.type);
  if (!type) return {};
  if (error.payload.is_array()) {
    const Result<Reference> list = to_python(error.payload);
    if (list.ok()) {
      Reference exception = made_of(type.get(), tried(PyList_AsTuple(list->get())));
      if (exception) return exception;
    }
  }
  const Reference message = tried(str_of(error.message).release());
  return message ? made_of(type.get(), tried(PyTuple_Pack(1, message.get()))) : Reference();
}

// What an `except` for this failure would name.
PyObject* builtin_for(Errc code) {
  switch (code) {
    case Errc::timeout: return PyExc_TimeoutError;
    case Errc::import_failed: return PyExc_ImportError;
    case Errc::not_callable:
    case Errc::conversion: return PyExc_TypeError;
    case Errc::depth_exceeded: return PyExc_RecursionError;
    case Errc::memory_limit: return PyExc_MemoryError;
    case Errc::unsupported: return PyExc_NotImplementedError;
    case Errc::unknown_function: return PyExc_AttributeError;
    default: return PyExc_RuntimeError;
  }
}

Reference class_for(Errc code) {
  // Not asyncio's, which would cancel the task that it comes by.
  if (code == Errc::cancelled) {
    Reference type = loaded_class("concurrent.futures.CancelledError");
    const Reference module =
        type ? Reference() : tried(PyImport_ImportModule("concurrent.futures"));
    if (module) type = tried(PyObject_GetAttrString(module.get(), "CancelledError"));
    if (type && PyExceptionClass_Check(type.get())) return type;
  }
  if (code == Errc::interrupted) {
    Reference type = tried(Py_XNewRef(interruption_to_raise()));
    if (type) return type;
  }
  return Reference::borrow(builtin_for(code));
}

void add_note(PyObject* exception, std::string_view text) {
  const Reference note = tried(str_of(text).release());
  if (note) tried(PyObject_CallMethod(exception, "add_note", "O", note.get()));
}

// Of the builtin ones, that take a text. Null with an exception set.
Reference made_of(PyObject* type, std::string_view message) {
  const Reference text = str_of(message);
  return text ? Reference::steal(PyObject_CallOneArg(type, text.get())) : Reference();
}

void raise(const Reference& exception) {
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.get())), exception.get());
}

std::string message_with_type(const Error& error) {
  return error.type.empty() ? error.message : fmt::format("{}: {}", error.type, error.message);
}

// ---- C++ exceptions ----

std::string demangled(const std::type_info& type) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> name(
      abi::__cxa_demangle(type.name(), nullptr, nullptr, &status), &std::free);
  return status == 0 ? name.get() : type.name();
}

// Of the one that is being handled.
PyObject* closest_to_cpp_exception() {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    return PyExc_MemoryError;
  } catch (const std::bad_cast&) {
    return PyExc_TypeError;
  } catch (const std::out_of_range&) {
    return PyExc_IndexError;
  } catch (const std::invalid_argument&) {
    return PyExc_ValueError;
  } catch (const std::domain_error&) {
    return PyExc_ValueError;
  } catch (const std::length_error&) {
    return PyExc_ValueError;
  } catch (const std::range_error&) {
    return PyExc_ValueError;
  } catch (const std::overflow_error&) {
    return PyExc_OverflowError;
  } catch (const std::underflow_error&) {
    return PyExc_ArithmeticError;
  } catch (...) {
    return PyExc_RuntimeError;
  }
}

// Its errno, if it is one of the system's errors.
std::optional<int> errno_of_cpp_exception() {
  try {
    throw;
  } catch (const std::system_error& error) {
    const auto& category = error.code().category();
    if (category != std::system_category() && category != std::generic_category()) return {};
    return error.code().value();
  } catch (...) {
    return {};
  }
}

// OSError makes a FileNotFoundError of ENOENT, and so on.
Reference made_of_system_error(const std::string& message) {
  const auto number = errno_of_cpp_exception();
  const Reference text = number ? tried(str_of(message).release()) : Reference();
  if (!text) return {};
  return tried(PyObject_CallFunction(PyExc_OSError, "iO", *number, text.get()));
}

std::string note_of_cpp_type(const std::string& type) { return "C++ exception: " + type; }

}  // namespace

std::string type_name(PyObject* type) {
  const Reference module = tried(PyObject_GetAttrString(type, "__module__"));
  const Reference name = tried(PyObject_GetAttrString(type, "__qualname__"));
  if (!name) return reinterpret_cast<PyTypeObject*>(type)->tp_name;
  const std::string prefix = text_of(module.get());
  return prefix.empty() ? text_of(name.get()) : prefix + "." + text_of(name.get());
}

Error error_of_exception(Keep keep) {
  const Reference exception = take_exception();
  if (exception) return error_of_exception(exception.get(), keep);
  return {.code = Errc::python_exception,
          .type = "builtins.SystemError",
          .message = "a call failed without an exception: code that returns null has to set one"};
}

Error error_of_exception_as(Errc code) {
  Error error = error_of_exception();
  if (error.code == Errc::python_exception) error.code = code;
  return error;
}

Error error_of_call() {
  return error_of_exception(CallDepth::current() > 0 ? Keep::exception_alone : Keep::text);
}

Error error_of_exception(PyObject* exception, Keep keep) {
  Error error{.code = code_of(exception)};
  error.type = type_name(reinterpret_cast<PyObject*>(Py_TYPE(exception)));
  error.message = message_of(exception);
  if (keep != Keep::exception_alone) error.traceback = traceback_of(exception, error);
  error.payload = arguments_of(exception);
  if (keep != Keep::text) error.exception = Ref::borrow(exception);
  return error;
}

Error error_of_cpp_exception() {
  Error error{.code = Errc::python_exception};
  if (const std::type_info* type = abi::__cxa_current_exception_type())
    error.type = demangled(*type);
  try {
    throw;
  } catch (const std::exception& exception) {
    error.message = exception.what();
  } catch (...) {
    error.message = "a C++ exception that is no std::exception";
  }
  return error;
}

void raise_error(const Error& error) {
  if (PyObject* kept = error.exception.get()) return raise(Reference::borrow(kept));
  Reference exception;
  if (error.code == Errc::python_exception) {
    exception = same_again(error);
    if (!exception) exception = made_of(PyExc_RuntimeError, message_with_type(error));
  } else {
    exception = made_of(class_for(error.code).get(), error.message);
    const Reference word = tried(str_of(to_string(error.code)).release());
    if (exception && word && PyObject_SetAttrString(exception.get(), "errc", word.get()) < 0)
      PyErr_Clear();
  }
  if (!exception) return;  // What kept it from being made is set.
  if (!error.traceback.empty()) add_note(exception.get(), error.traceback);
  raise(exception);
}

void raise_cpp_exception() {
  const Error error = error_of_cpp_exception();
  Reference exception = made_of_system_error(error.message);
  if (!exception) exception = made_of(closest_to_cpp_exception(), error.message);
  if (!exception) return;  // What kept it from being made is set.
  add_note(exception.get(), note_of_cpp_type(error.type));
  raise(exception);
}

Error error_as_raised() {
  Error error = error_of_cpp_exception();
  error.traceback = note_of_cpp_type(error.type);
  error.payload = Array{error.message};
  PyObject* type = closest_to_cpp_exception();
  if (const auto number = errno_of_cpp_exception()) {
    type = PyExc_OSError;
    error.payload = Array{*number, error.message};
  }
  error.type = fmt::format("builtins.{}", reinterpret_cast<PyTypeObject*>(type)->tp_name);
  return error;
}

}  // namespace unirun::python
