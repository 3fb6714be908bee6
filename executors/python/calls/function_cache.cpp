#include "executors/python/calls/function_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "executors/python/interpreter/import_module.h"
#include "executors/python/interpreter/kept_object.h"
#include "executors/python/values/exception_text.h"

namespace unirun::python {
namespace {

// More names than a program has; beyond it they come from outside, and are looked up anew.
constexpr std::size_t most_names = 4096;

constexpr const char* functions_capsule = "unirun.functions";

// ---- Names ----

bool begins_name(char c) {
  return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         (static_cast<unsigned char>(c) & 0x80U) != 0;
}

bool is_identifier(std::string_view name) {
  return !name.empty() && begins_name(name.front()) && utf8_length(name) == name.size() &&
         std::ranges::all_of(name, [](char c) { return begins_name(c) || (c >= '0' && c <= '9'); });
}

// The next part of a dotted name, which is taken off it.
std::string_view take_part(std::string_view& name) {
  const std::string_view part = name.substr(0, name.find('.'));
  name.remove_prefix(std::min(name.size(), part.size() + 1));
  return part;
}

bool is_dotted_name(std::string_view name) {
  if (name.empty() || name.back() == '.') return false;
  while (!name.empty()) {
    if (!is_identifier(take_part(name))) return false;
  }
  return true;
}

Error no_name(std::string_view what, std::string_view name) {
  return {.code = Errc::import_failed,
          .message = fmt::format("the {} is {}: it has to be a Python name, or some with dots "
                                 "between, as in \"package.name\"",
                                 what, to_string(Value(name)))};
}

// ---- Python's side ----

Error error_of_attribute() {
  const bool is_missing = PyErr_ExceptionMatches(PyExc_AttributeError) != 0 ||
                          PyErr_ExceptionMatches(PyExc_NameError) != 0;
  return is_missing ? error_of_exception_as(Errc::unknown_function) : error_of_exception();
}

// Of a dict of names. Null: an exception is set.
Reference named(PyObject* names, PyObject* name) {
#if PY_VERSION_HEX >= 0x030d0000
  PyObject* item = nullptr;
  PyDict_GetItemRef(names, name, &item);
  Reference found = Reference::steal(item);
#else
  Reference found = Reference::borrow(PyDict_GetItemWithError(names, name));
#endif
  if (!found && PyErr_Occurred() == nullptr)
    PyErr_Format(PyExc_NameError, "name '%U' is not defined", name);
  return found;
}

void destroy_functions(PyObject* capsule) {
  delete static_cast<FunctionCache*>(PyCapsule_GetPointer(capsule, functions_capsule));
}

FunctionCache* of_this_interpreter() {
  PyObject* const capsule = kept_object(functions_capsule, [] {
    auto made = std::make_unique<FunctionCache>();
    Reference holder =
        Reference::steal(PyCapsule_New(made.get(), functions_capsule, destroy_functions));
    if (holder) static_cast<void>(made.release());
    return holder;
  });
  if (capsule == nullptr) return nullptr;
  return static_cast<FunctionCache*>(PyCapsule_GetPointer(capsule, functions_capsule));
}

}  // namespace

FunctionCache* FunctionCache::current() {
  struct Last {
    std::int64_t interpreter_id = -1;  // Never given to another.
    FunctionCache* cache = nullptr;
  };
  thread_local Last last;
  const std::int64_t id = PyInterpreterState_GetID(PyInterpreterState_Get());
  if (last.cache == nullptr || last.interpreter_id != id) last = {id, of_this_interpreter()};
  return last.cache;
}

Result<void> FunctionCache::check(std::string_view module, std::string_view function) {
  if (!is_dotted_name(module)) return no_name("module", module);
  if (!is_dotted_name(function)) return no_name("function", function);
  return {};
}

// ---- What is kept ----

FunctionCache::Kept FunctionCache::kept(const std::string& key) {
  const std::lock_guard lock(mutex_);
  const auto found = names_.find(key);
  return found != names_.end() ? found->second : nullptr;
}

// What is dropped is dropped after the lock.
void FunctionCache::keep(const std::string& key, Kept names) {
  std::unordered_map<std::string, Kept> dropped;
  const std::lock_guard lock(mutex_);
  if (names_.size() >= most_names) dropped.swap(names_);
  names_[key].swap(names);
}

// Null: an exception is set.
FunctionCache::Kept FunctionCache::make(std::string_view module, std::string_view function,
                                        bool imports) {
  auto names = std::make_shared<Names>();
  names->module_name = interned(module);
  if (!names->module_name) return nullptr;
  while (!function.empty()) {
    names->path.push_back(interned(take_part(function)));
    if (!names->path.back()) return nullptr;
  }
  if (imports) names->module = import_module(names->module_name.get());
  return !imports || names->module ? names : nullptr;
}

// ---- Finding ----

Result<Reference> FunctionCache::look_up(const Names& names, PyObject* main) {
  Reference found = Reference::borrow(names.module.get());
  for (const Reference& name : names.path) {
    found = found ? Reference::steal(PyObject_GetAttr(found.get(), name.get()))
                  : named(main, name.get());
    if (!found) return error_of_attribute();
  }
  return found;
}

// Not PyImport_GetModule(), which asks the module's spec each time whether it is being imported:
// the one that is kept was imported.
bool FunctionCache::is_imported(const Names& names) {
  const Reference now =
      Reference::steal(PyObject_GetItem(PyImport_GetModuleDict(), names.module_name.get()));
  if (!now) PyErr_Clear();
  return now.get() == names.module.get();
}

Result<Reference> FunctionCache::find(std::string_view module, std::string_view function,
                                      PyObject* main) {
  const bool imports = main == nullptr || module != "__main__";
  std::string key(imports ? "" : "*");
  key.append(module).append(":").append(function);
  Kept names = kept(key);
  if (names != nullptr && imports && !is_imported(*names)) names = nullptr;
  if (names == nullptr) {
    names = make(module, function, imports);
    if (names == nullptr) return error_of_exception_as(Errc::import_failed);
    keep(key, names);
  }
  return look_up(*names, main);
}

}  // namespace unirun::python
