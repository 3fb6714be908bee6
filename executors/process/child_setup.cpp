#include "executors/process/child_setup.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

// A sanitizer's run-time keeps its books in memory that parent and child share here: the child must
// not be seen by it.
#if defined(__has_attribute)
#if __has_attribute(disable_sanitizer_instrumentation)
#define UNIRUN_IN_CHILD __attribute__((disable_sanitizer_instrumentation))
#endif
#endif
#ifndef UNIRUN_IN_CHILD
#define UNIRUN_IN_CHILD __attribute__((no_sanitize("address", "thread", "undefined")))
#endif

namespace unirun {
namespace {

// A system call that touches no errno: the child's would be the parent's. A negative errno on
// failure.
UNIRUN_IN_CHILD inline long raw_call(long number, long a = 0, long b = 0, long c = 0, long d = 0,
                                     long e = 0) {
#if defined(__x86_64__)
  long result = number;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  asm volatile("syscall"
               : "+a"(result)
               : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
               : "rcx", "r11", "memory");
  return result;
#elif defined(__aarch64__)
  register long x8 asm("x8") = number;
  register long x0 asm("x0") = a;
  register long x1 asm("x1") = b;
  register long x2 asm("x2") = c;
  register long x3 asm("x3") = d;
  register long x4 asm("x4") = e;
  asm volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
  return x0;
#else
  // errno is the parent's, and the parent does not look at it after the clone.
  const long result = syscall(number, a, b, c, d, e);
  return result < 0 ? -errno : result;
#endif
}

template <class T>
UNIRUN_IN_CHILD inline long address(T* pointer) {
  return reinterpret_cast<long>(pointer);
}

UNIRUN_IN_CHILD bool fails(ChildSetup& setup, SetupStep step, long result, std::size_t index = 0) {
  if (result >= 0) return false;
  setup.failed_step = step;
  setup.error_number = static_cast<int>(-result);
  setup.failed_index = index;
  return true;
}

// Every handler is gone already where CLONE_CLEAR_SIGHAND is known; what was ignored still is.
UNIRUN_IN_CHILD void reset_signals(const ChildSetup& setup) {
  struct {
    void* handler = nullptr;  // SIG_DFL.
    unsigned long flags = 0;
    void* restorer = nullptr;
    std::uint64_t mask = 0;
  } by_default;
  for (int signal_number = 1; signal_number <= 64; ++signal_number) {
    if (((setup.signals_to_reset >> (signal_number - 1)) & 1) == 0) continue;
    raw_call(SYS_rt_sigaction, signal_number, address(&by_default), 0, sizeof by_default.mask);
  }
}

UNIRUN_IN_CHILD bool set_limits(ChildSetup& setup) {
  for (std::size_t i = 0; i < setup.rlimit_count; ++i) {
    const RlimitSetting& setting = setup.rlimits[i];
    const long result = raw_call(SYS_prlimit64, 0, setting.resource, address(&setting.limit), 0);
    if (fails(setup, SetupStep::rlimit, result, i)) return false;
  }
  return !setup.set_nice ||
         !fails(setup, SetupStep::nice, raw_call(SYS_setpriority, PRIO_PROCESS, 0, setup.nice));
}

// By the kernel's own calls: glibc's would tell every thread of the parent.
UNIRUN_IN_CHILD bool set_credentials(ChildSetup& setup) {
  if (setup.groups != nullptr) {
    const long result =
        raw_call(SYS_setgroups, static_cast<long>(setup.group_count), address(setup.groups));
    if (fails(setup, SetupStep::groups, result)) return false;
  }
  if (setup.set_group) {
    const long result = raw_call(SYS_setresgid, setup.group, setup.group, setup.group);
    if (fails(setup, SetupStep::group, result)) return false;
  }
  if (setup.set_user) {
    const long result = raw_call(SYS_setresuid, setup.user, setup.user, setup.user);
    if (fails(setup, SetupStep::user, result)) return false;
  }
  return true;
}

// First everything out of the way of the targets, then everything into its place.
UNIRUN_IN_CHILD bool move_descriptors(ChildSetup& setup) {
  for (std::size_t i = 0; i < setup.descriptor_count; ++i) {
    DescriptorMove& move = setup.descriptors[i];
    if (move.source >= setup.first_free_descriptor) continue;
    const long moved =
        raw_call(SYS_fcntl, move.source, F_DUPFD_CLOEXEC, setup.first_free_descriptor);
    if (fails(setup, SetupStep::descriptors, moved, i)) return false;
    move.source = static_cast<int>(moved);
  }
  for (std::size_t i = 0; i < setup.descriptor_count; ++i) {
    const DescriptorMove& move = setup.descriptors[i];
    const long result = raw_call(SYS_dup3, move.source, move.target, 0);
    if (fails(setup, SetupStep::descriptors, result, i)) return false;
  }
#ifdef SYS_close_range
  // Ours close at exec by themselves; another library's in this process may not. An old kernel
  // that does not know the call leaves those open.
  raw_call(SYS_close_range, setup.first_free_descriptor, static_cast<long>(~0U), 0);
#endif
  return true;
}

// After the change of user, which clears it. A parent that is gone by now will send nothing.
UNIRUN_IN_CHILD bool set_death_signal(ChildSetup& setup) {
  if (setup.death_signal == 0) return true;
  const long result = raw_call(SYS_prctl, PR_SET_PDEATHSIG, setup.death_signal);
  if (fails(setup, SetupStep::death_signal, result)) return false;
  if (raw_call(SYS_getppid) == setup.parent_pid) return true;
  return !fails(setup, SetupStep::death_signal, -ESRCH);
}

UNIRUN_IN_CHILD void write_own_pid(char* slot) {
  if (slot == nullptr) return;
  char digits[11];
  int count = 0;
  for (long pid = raw_call(SYS_getpid); pid > 0; pid /= 10) {
    digits[count++] = static_cast<char>('0' + pid % 10);
  }
  while (count > 0) *slot++ = digits[--count];
  *slot = '\0';
}

// Tries each place as execvp() would: a file that may not be run is remembered, and told if no
// other is found.
UNIRUN_IN_CHILD void exec_first_found(ChildSetup& setup) {
  long told = -ENOENT;
  for (const char* const* path = setup.candidates; *path != nullptr; ++path) {
    const long result =
        raw_call(SYS_execve, address(*path), address(setup.argv), address(setup.environment));
    if (result == -ENOENT || result == -ENOTDIR) continue;
    told = result;
    if (result != -EACCES) break;
  }
  fails(setup, SetupStep::exec, told);
}

// Until then every change of a descriptor would be the parent's.
UNIRUN_IN_CHILD bool take_own_table(ChildSetup& setup) {
  if (setup.shared_below == 0) return true;
  constexpr long unshare = 1U << 1;  // CLOSE_RANGE_UNSHARE
#ifdef SYS_close_range
  const long result =
      raw_call(SYS_close_range, setup.shared_below, static_cast<long>(~0U), unshare);
#else
  const long result = -ENOSYS;
#endif
  return !fails(setup, SetupStep::own_table, result);
}

UNIRUN_IN_CHILD bool set_up(ChildSetup& setup) {
  if (!take_own_table(setup)) return false;
  reset_signals(setup);
  if (setup.new_session) {
    if (fails(setup, SetupStep::session, raw_call(SYS_setsid))) return false;
  } else if (fails(setup, SetupStep::process_group,
                   raw_call(SYS_setpgid, 0, setup.process_group))) {
    return false;
  }
  if (!set_limits(setup) || !set_credentials(setup)) return false;
  if (setup.set_umask) raw_call(SYS_umask, setup.umask);
  if (setup.cwd != nullptr &&
      fails(setup, SetupStep::cwd, raw_call(SYS_chdir, address(setup.cwd)))) {
    return false;
  }
  if (setup.no_new_privs &&
      fails(setup, SetupStep::no_new_privs, raw_call(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1))) {
    return false;
  }
  if (!move_descriptors(setup) || !set_death_signal(setup)) return false;
  write_own_pid(setup.own_pid_slot);
  const std::uint64_t none = 0;
  raw_call(SYS_rt_sigprocmask, SIG_SETMASK, address(&none), 0, sizeof none);
  return true;
}

// ---- clone ----

constexpr std::uint64_t clone_flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD;

#if (defined(__x86_64__) || defined(__aarch64__)) && defined(SYS_clone3)
constexpr std::uint64_t clear_sighand = 0x100000000ULL;

struct CloneArguments {  // As clone3(2) has it, up to what we need.
  std::uint64_t flags = 0, pidfd = 0, child_tid = 0, parent_tid = 0, exit_signal = 0, stack = 0,
                stack_size = 0, tls = 0;
};

// glibc has no clone3() for all, and a sanitizer takes its clone() for a fork. The child comes out
// of the call with the parent's registers and the new stack, and never returns from here.
UNIRUN_IN_CHILD long clone3_and_call(CloneArguments* arguments, int (*function)(void*),
                                     void* argument) {
#if defined(__x86_64__)
  long result = SYS_clone3;
  register int (*kept_function)(void*) asm("r8") = function;
  register void* kept_argument asm("r9") = argument;
  asm volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xor %%ebp, %%ebp\n\t"
      "mov %%r9, %%rdi\n\t"
      "call *%%r8\n\t"
      "mov %%eax, %%edi\n\t"
      "mov %[exit], %%eax\n\t"
      "syscall\n\t"
      "hlt\n\t"
      "1:"
      : "+a"(result)
      : "D"(arguments), "S"(sizeof *arguments), "r"(kept_function),
        "r"(kept_argument), [exit] "i"(SYS_exit_group)
      : "rcx", "rdx", "r10", "r11", "memory");
  return result;
#else
  register long x8 asm("x8") = SYS_clone3;
  register long x0 asm("x0") = reinterpret_cast<long>(arguments);
  register long x1 asm("x1") = sizeof *arguments;
  register int (*x2)(void*) asm("x2") = function;
  register void* x3 asm("x3") = argument;
  asm volatile(
      "svc 0\n\t"
      "cbnz x0, 1f\n\t"
      "mov x29, xzr\n\t"
      "mov x30, xzr\n\t"
      "mov x0, x3\n\t"
      "blr x2\n\t"
      "mov x8, %[exit]\n\t"
      "svc 0\n\t"
      "1:"
      : "+r"(x0)
      : "r"(x8), "r"(x1), "r"(x2), "r"(x3), [exit] "i"(SYS_exit_group)
      : "memory");
  return x0;
#endif
}
#endif

}  // namespace

UNIRUN_IN_CHILD int set_up_and_exec(void* setup) {
  ChildSetup& child = *static_cast<ChildSetup*>(setup);
  if (set_up(child)) exec_first_found(child);
  return 127;
}

pid_t clone_with_shared_memory(ChildSetup& setup, void* stack, std::size_t stack_size, int* pidfd) {
  const std::uint64_t share_table = setup.shared_below > 0 ? CLONE_FILES : 0;
#if (defined(__x86_64__) || defined(__aarch64__)) && defined(SYS_clone3)
  CloneArguments arguments;
  arguments.flags = clone_flags | clear_sighand | share_table;
  arguments.pidfd = reinterpret_cast<std::uint64_t>(pidfd);
  arguments.exit_signal = SIGCHLD;
  arguments.stack = reinterpret_cast<std::uint64_t>(stack);
  arguments.stack_size = stack_size;
  const long result = clone3_and_call(&arguments, set_up_and_exec, &setup);
  // Old kernels, and containers whose seccomp filter does not know clone3, say one of these.
  if (result != -ENOSYS && result != -EPERM && result != -EINVAL) return static_cast<pid_t>(result);
#endif
  setup.signals_to_reset = ~std::uint64_t{0} & ~(std::uint64_t{1} << (SIGKILL - 1)) &
                           ~(std::uint64_t{1} << (SIGSTOP - 1));
  const int pid = ::clone(set_up_and_exec, static_cast<char*>(stack) + stack_size,
                          static_cast<int>(clone_flags | share_table) | SIGCHLD, &setup, pidfd);
  return pid < 0 ? -errno : pid;
}

}  // namespace unirun
