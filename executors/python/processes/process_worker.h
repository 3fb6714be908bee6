// What runs in a worker process: a PythonExecutor with one worker, which does what the other end of
// the channel asks for until it closes.
//
//   "configure"  {sys_path, preload, isolated, switch_interval_us, stack_bytes}, first of all
//   "call"       [module, function, args, kwargs]: what the function returns
//   "try_interpreters"  [module, ...]: [[module, why], ...], of those that own interpreters refuse
//   "interrupt"  raises Interrupted in the call that runs
//
// Thread: the process's main one, which runs no Python. In a Python that runs already: with the
// GIL.

#pragma once

namespace unirun::python {

// What main() returns, or the program of a Python that has called this.
[[nodiscard]] int run_process_worker();

}  // namespace unirun::python
