// ChildSetup is all that a new process does between clone and exec, prepared by the parent as plain
// pointers and numbers. The child shares the parent's memory until its exec (CLONE_VM), so it may
// allocate nothing, lock nothing and call nothing of libc: raw system calls only.
//
// A step that fails is left in `failed_step` and `error_number`, where the parent, which waits for
// the exec (CLONE_VFORK), finds it.

#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>

namespace unirun {

// The steps in their order. `none` while nothing has failed.
enum class SetupStep : std::uint8_t {
  none,
  own_table,
  session,
  process_group,
  rlimit,
  nice,
  groups,
  group,
  user,
  cwd,
  no_new_privs,
  descriptors,
  death_signal,
  exec,
};

struct DescriptorMove {
  int source = -1;
  int target = -1;
};

struct RlimitSetting {
  int resource = 0;
  rlimit limit{};
};

struct ChildSetup {
  // ---- What to do ----
  // Begin with the parent's descriptor table and take a copy of what is below this number; 0: a
  // copy of all of it, made by the clone.
  int shared_below = 0;
  bool new_session = false;
  int process_group = 0;  // 0: a group of its own.
  const RlimitSetting* rlimits = nullptr;
  std::size_t rlimit_count = 0;
  bool set_nice = false;
  int nice = 0;
  const gid_t* groups = nullptr;  // Null: keep.
  std::size_t group_count = 0;
  bool set_group = false, set_user = false;
  gid_t group = 0;
  uid_t user = 0;
  bool set_umask = false;
  mode_t umask = 0;
  const char* cwd = nullptr;  // Null: keep.
  bool no_new_privs = false;
  DescriptorMove* descriptors = nullptr;  // Changed on the way.
  std::size_t descriptor_count = 0;
  int first_free_descriptor = 3;  // From here on everything is closed.
  int parent_pid = 0;
  int death_signal = 0;                     // 0: none.
  char* own_pid_slot = nullptr;             // For LISTEN_PID: room for eleven characters.
  std::uint64_t signals_to_reset = 0;       // Bit n - 1: signal n.
  const char* const* candidates = nullptr;  // Paths to try, in order; ends with null.
  const char* const* argv = nullptr;
  const char* const* environment = nullptr;

  // ---- What became of it ----
  SetupStep failed_step = SetupStep::none;
  int error_number = 0;
  std::size_t failed_index = 0;  // Of the rlimit or descriptor that was refused.
};

// The child's first and last function. `setup` is a ChildSetup; returns only on failure.
int set_up_and_exec(void* setup);

// Spawns a process that runs set_up_and_exec(setup) on `stack` and returns its pid once it has
// exec'd or failed; a negative errno if there is no process. `pidfd` gets a descriptor for it
// (close-on-exec). Signals are to be blocked by the caller.
pid_t clone_with_shared_memory(ChildSetup& setup, void* stack, std::size_t stack_size, int* pidfd);

}  // namespace unirun
