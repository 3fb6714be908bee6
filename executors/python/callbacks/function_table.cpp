#include "executors/python/callbacks/function_table.h"

#include <fmt/format.h>

#include <mutex>
#include <set>

#include "executors/python/interpreter/gil_guard.h"

namespace unirun::python {

Registration& Registration::operator=(Registration&& other) noexcept {
  if (this == &other) return *this;
  reset();
  function_ = std::exchange(other.function_, nullptr);
  error_ = std::move(other.error_);
  return *this;
}

void Registration::reset() {
  const std::shared_ptr<NativeFunction> function = std::exchange(function_, nullptr);
  if (function == nullptr) return;
  FunctionTable::get().remove(*function);
  const GILRelease released;
  function->close();
}

// Never destroyed: registrations may end after main() has.
FunctionTable& FunctionTable::get() {
  static auto* const table = new FunctionTable;
  return *table;
}

Registration FunctionTable::add(std::shared_ptr<NativeFunction> function) {
  const std::string& name = function->name();
  const auto refused = [&](std::string why) {
    return Registration(Error{.code = Errc::unsupported,
                              .message = fmt::format("register_function(\"{}\"): {}", name, why)});
  };
  if (name.empty() || name.find('\0') != std::string::npos || name.starts_with("__") ||
      utf8_length(name) != name.size())
    return refused("a name is UTF-8, not empty, without NUL, and does not begin with __");
  if (function->options().thread == On::loop && function->options().loop == nullptr)
    return refused("On::loop needs a loop: set FunctionOptions::loop, or register on its thread");
  const std::unique_lock lock(mutex_);
  if (!functions_.try_emplace(name, function).second)
    return refused("the name is taken: end that registration first");
  return Registration(std::move(function));
}

void FunctionTable::remove(const NativeFunction& function) {
  std::shared_ptr<NativeFunction> dropped;  // Outside of the lock.
  const std::unique_lock lock(mutex_);
  const auto found = functions_.find(function.name());
  if (found == functions_.end() || found->second.get() != &function) return;
  dropped = std::move(found->second);
  functions_.erase(found);
}

Result<std::shared_ptr<NativeFunction>> FunctionTable::find(std::string_view name) const {
  if (auto function = find_here(name)) return function;
  FunctionSource* const source = source_.load();
  if (source == nullptr) return unknown_function(name);
  const GILRelease released;
  return source->find(name);
}

Result<std::shared_ptr<NativeFunction>> FunctionTable::find_to_call(std::string_view name) const {
  if (auto function = find_here(name)) return function;
  FunctionSource* const source = source_.load();
  if (source == nullptr) return unknown_function(name);
  const GILRelease released;
  return source->recall(name);
}

std::shared_ptr<NativeFunction> FunctionTable::find_here(std::string_view name) const {
  const std::shared_lock lock(mutex_);
  const auto found = functions_.find(name);
  return found != functions_.end() ? found->second : nullptr;
}

Result<std::vector<std::string>> FunctionTable::names() const {
  std::set<std::string> names;
  {
    const std::shared_lock lock(mutex_);
    for (const auto& [name, function] : functions_) names.insert(name);
  }
  if (FunctionSource* const source = source_.load()) {
    const GILRelease released;
    auto others = source->names();
    if (!others.ok()) return others;
    names.insert(others->begin(), others->end());
  }
  return std::vector(names.begin(), names.end());
}

}  // namespace unirun::python
