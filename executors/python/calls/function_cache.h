// FunctionCache finds the functions of one interpreter by their names. It keeps the names, as
// strings of Python's, and the modules; the attributes it asks of the module each time, which costs
// one look-up: so a reload, another module under the name and a patched attribute are seen by the
// next call.
//
// Thread: any that is attached to the interpreter. It lives as long as that.

#pragma once

#include "executors/python/python.h"
// Python.h first.

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "executors/python/error.h"

namespace unirun::python {

class FunctionCache {
 public:
  FunctionCache() = default;
  FunctionCache(const FunctionCache&) = delete;
  FunctionCache& operator=(const FunctionCache&) = delete;

  // The one of the interpreter to which this thread is attached; null: an exception is set.
  [[nodiscard]] static FunctionCache* current();

  // Whether both are names, with dots between. What no letter of ASCII decides is left to Python.
  // Errors: import_failed, which says what is wrong. Thread: any, no Python is needed.
  [[nodiscard]] static Result<void> check(std::string_view module, std::string_view function);

  // The function, importing the module where it is not. With `main`, which is a dict, "__main__" is
  // what stands in there. Errors: import_failed of the module; unknown_function, it has no such
  // attribute; python_exception, an attribute that raises. REQUIRES: check().
  [[nodiscard]] Result<Reference> find(std::string_view module, std::string_view function,
                                       PyObject* main = nullptr);

 private:
  struct Names {
    Reference module_name;
    std::vector<Reference> path;  // Attributes, from the module on.
    Reference module;             // As found when these were kept; nothing for `main`.
  };
  using Kept = std::shared_ptr<const Names>;

  [[nodiscard]] static Kept make(std::string_view module, std::string_view function, bool imports);
  [[nodiscard]] static Result<Reference> look_up(const Names& names, PyObject* main);
  [[nodiscard]] static bool is_imported(const Names& names);
  [[nodiscard]] Kept kept(const std::string& key);
  void keep(const std::string& key, Kept names);

  std::mutex mutex_;  // Guards the next. Nothing of Python's runs within.
  std::unordered_map<std::string, Kept> names_;
};

}  // namespace unirun::python
