#include "executors/python/worker_surroundings.h"

#include "executors/python/interpreter/interpreter.h"

namespace unirun::python {

OwnInterpreterOptions interpreter_options(const PythonExecutor::Config& config) {
  return {.sys_path = Interpreter::sys_path(),
          .preload = config.preload,
          .switch_interval = config.switch_interval};
}

Object worker_configuration(const PythonExecutor::Config& config,
                            const std::vector<std::string>& preload) {
  return {{"sys_path", Interpreter::sys_path()},
          {"preload", Array(preload.begin(), preload.end())},
          {"isolated", config.isolated},
          {"switch_interval_us", config.switch_interval.count()},
          {"stack_bytes", config.stack_bytes},
          {"keyboard_interrupt", config.keyboard_interrupt},
          {"keep_tuples", config.conversion.keep_tuples},
          {"big_integers_as_text", config.conversion.big_integers_as_text},
          {"has_converters", config.conversion.converters != nullptr}};
}

}  // namespace unirun::python
