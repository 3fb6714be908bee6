// ProgramState is the one SharedState of a program, `unirun.state` in Python: the process that uses
// it first owns it, and its child processes, theirs too, find it by the environment variable
// UNIRUN_STATE. A child that is forked finds its parent's.
//
// Thread: any. Made by its first use, and never destroyed.

#pragma once

#include <string>
#include <string_view>

#include "executors/python/state/shared_state.h"

namespace unirun::python {

class ProgramState {
 public:
  // What child processes must be given by this name, unless get() has found it there.
  static constexpr const char* variable = "UNIRUN_STATE";

  // It stays valid; but a child that is forked asks again. Errors: worker_lost, if the owner has
  // gone that the environment names; memory_limit.
  [[nodiscard]] static Result<const ProgramState*> get();

  [[nodiscard]] const SharedState& state() const { return state_; }
  // What the variable must say in child processes.
  [[nodiscard]] const std::string& address() const { return address_; }
  // Its values are another process's: whoever asks for one waits for that.
  [[nodiscard]] bool is_remote() const { return remote_; }

 private:
  friend struct ProgramStateMaker;
  ProgramState(SharedState state, bool remote) : state_(std::move(state)), remote_(remote) {}

  SharedState state_;
  std::string address_;
  bool remote_;
};

}  // namespace unirun::python
