#include "executors/python/processes/function_calls.h"

#include "executors/python/python.h"
// Python.h first.

#include <fmt/format.h>

#include <memory>
#include <utility>

#include "executors/python/callbacks/function_table.h"
#include "executors/python/callbacks/native_call.h"
#include "executors/python/interpreter/gil_guard.h"
#include "executors/python/values/exception_text.h"

namespace unirun::python {
namespace {

const std::string* text_at(const Array* parts, std::size_t size) {
  if (parts == nullptr || parts->size() != size) return nullptr;
  return parts->front().get_if<std::string>();
}

Error not_understood(const Question& question) {
  return {.code = Errc::unsupported,
          .message = fmt::format("'{}' is not known here, or not with these words", question.word)};
}

Result<Value> describe(const std::string& name) {
  const auto function = FunctionTable::get().find(name);
  if (!function.ok()) return function.error();
  return Value(Object{{"async", (*function)->options().async}});
}

Result<Value> all_names() {
  auto names = FunctionTable::get().names();
  if (!names.ok()) return names.error();
  return make_value(*std::move(names));
}

}  // namespace

std::optional<Result<Value>> answer_question(Question question, FunctionCall& call) {
  if (question.word == "functions") return all_names();
  Array* const parts = question.body.get_if<Array>();
  if (question.word == "function") {
    const std::string* const name = text_at(parts, 1);
    return name != nullptr ? describe(*name) : not_understood(question);
  }
  const std::string* const name = question.word == "run" ? text_at(parts, 3) : nullptr;
  if (name == nullptr || !(*parts)[1].is_array() || !(*parts)[2].is_object())
    return not_understood(question);
  auto found = FunctionTable::get().find(*name);
  if (!found.ok()) return found.error();
  const auto function = *std::move(found);
  call.place = function->options().thread == On::loop ? FunctionCall::Place::loop
                                                      : FunctionCall::Place::caller;
  call.start = [function, body = std::make_shared<Array>(std::move(*parts))](
                   std::shared_ptr<const CallingProcess> process) {
    return start_native(function, std::move((*body)[1]).as_array(),
                        std::move((*body)[2]).as_object(), std::move(process));
  };
  return std::nullopt;
}

Result<Value> for_elsewhere(Result<Value> outcome) {
  if (outcome.ok() || !outcome.error().exception || !outcome.error().traceback.empty())
    return outcome;
  const GILGuard guard;
  PyObject* const exception = guard.attached() ? outcome.error().exception.get() : nullptr;
  return exception != nullptr ? error_of_exception(exception) : std::move(outcome);
}

}  // namespace unirun::python
