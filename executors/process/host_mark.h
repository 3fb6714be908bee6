// HostMark names one host process, for all time: "pid.start-time.pid-namespace.uid.chance". It
// stands as UNIRUN_HOST in the environment of everything that the host runs, and goes on to all
// that those start: by it, what is left of a host that died is found and ended.
//
// A value. Without heap, for the guard is a tiny program.

#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>

namespace unirun {

inline constexpr const char* host_mark_variable = "UNIRUN_HOST";

// Which launch of that host: a number that grows from launch to launch, which a RunId need not do.
inline constexpr const char* launch_mark_variable = "UNIRUN_LAUNCH";

// Of no launch, but of what runs inside the host: it ends with the host.
inline constexpr const char* launch_of_host = "0";

struct HostMark {
  static constexpr std::size_t max_text = 96;

  pid_t pid = 0;
  std::uint64_t start_time = 0;     // In clock ticks since boot: a pid comes again, both do not.
  std::uint64_t pid_namespace = 0;  // Its inode: a pid means something in its namespace only.
  uid_t user = 0;
  std::uint64_t chance = 0;

  [[nodiscard]] static HostMark of_this_process(std::uint64_t chance);

  // False if `text` is no mark.
  [[nodiscard]] static bool parse(const char* text, HostMark& mark);

  // Writes the text and a final zero.
  void write(char (&text)[max_text]) const;

  // Is the host of this mark gone? Only for a mark of our own namespace: of others we know nothing.
  [[nodiscard]] bool is_dead() const;
};

// The inode of this process's pid namespace.
[[nodiscard]] std::uint64_t own_pid_namespace();

}  // namespace unirun
