#include "executors/process/process_table.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace unirun {
namespace {

int open_of(pid_t pid, const char* what) {
  char path[48];
  std::snprintf(path, sizeof path, "/proc/%d/%s", pid, what);
  return ::open(path, O_RDONLY | O_CLOEXEC);
}

ssize_t read_some(int descriptor, char* into, std::size_t size) {
  ssize_t count = 0;
  do {
    count = ::read(descriptor, into, size);
  } while (count < 0 && errno == EINTR);
  return count;
}

// As the kernel lays it out; getdents64 has no type of its own in libc.
struct DirectoryEntry {
  std::uint64_t inode;
  std::int64_t next;
  std::uint16_t length;
  std::uint8_t type;
  char name[1];
};

// Compares a stream of "NAME=value\0" with one name, and keeps the value where it agrees.
class EnvironmentMatch {
 public:
  EnvironmentMatch(const char* name, char* value, std::size_t size)
      : name_(name), name_length_(std::strlen(name)), value_(value), size_(size) {}

  // True once the value is whole.
  bool feed(char byte) {
    if (byte == '\0') {
      if (in_value_) {
        value_[length_] = '\0';
        return true;
      }
      position_ = 0;
      agrees_ = true;
      return false;
    }
    if (in_value_) {
      if (length_ + 1 < size_) {
        value_[length_++] = byte;
      } else {
        in_value_ = agrees_ = false;  // Longer than what we look for can be.
      }
    } else if (agrees_) {
      if (position_ == name_length_) {
        in_value_ = byte == '=';
        agrees_ = in_value_;
        length_ = 0;
      } else {
        agrees_ = name_[position_++] == byte;
      }
    }
    return false;
  }

 private:
  const char* name_;
  std::size_t name_length_;
  char* value_;
  std::size_t size_;
  std::size_t position_ = 0;
  std::size_t length_ = 0;
  bool agrees_ = true;
  bool in_value_ = false;
};

}  // namespace

bool read_process(pid_t pid, ProcessEntry& entry) {
  const int descriptor = open_of(pid, "stat");
  if (descriptor < 0) return false;
  char text[1024];
  const ssize_t count = read_some(descriptor, text, sizeof text - 1);
  ::close(descriptor);
  if (count <= 0) return false;
  text[count] = '\0';
  // The name may hold anything, blanks and brackets too: it ends at the last bracket.
  const char* after_name = std::strrchr(text, ')');
  if (after_name == nullptr) return false;
  entry.pid = pid;
  constexpr unsigned kernel_thread = 0x00200000;  // PF_KTHREAD
  unsigned flags = 0;
  std::uint64_t environment_end = 0;
  // See proc(5): fields 3 to 6, 9, 22 and 51 of 52.
  const int found = std::sscanf(
      after_name + 1,
      " %c %d %d %d %*d %*d %u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %" SCNu64
      " %*u %*d %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*d %*d %*u %*u %*u %*u %*d"
      " %*u %*u %*u %*u %*u %*u %" SCNu64,
      &entry.state, &entry.parent, &entry.group, &entry.session, &flags, &entry.start_time,
      &environment_end);
  entry.is_kernel_thread = (flags & kernel_thread) != 0;
  entry.has_environment = environment_end != 0;
  return found >= 6;
}

int status_of_dying(pid_t pid) {
  const int descriptor = open_of(pid, "stat");
  if (descriptor < 0) return -1;
  char text[1024];
  const ssize_t count = read_some(descriptor, text, sizeof text - 1);
  ::close(descriptor);
  if (count <= 0) return -1;
  text[count] = '\0';
  const char* after_name = std::strrchr(text, ')');
  const char* last = std::strrchr(text, ' ');  // Field 52, the status, is the last.
  unsigned flags = 0;
  constexpr unsigned exiting = 0x4;  // PF_EXITING
  if (after_name == nullptr || last == nullptr ||
      std::sscanf(after_name + 1, " %*c %*d %*d %*d %*d %*d %u", &flags) != 1) {
    return -1;
  }
  return (flags & exiting) != 0 ? std::atoi(last + 1) : -1;
}

Found read_environment(pid_t pid, const char* name, char* value, std::size_t size) {
  const int descriptor = open_of(pid, "environ");
  if (descriptor < 0) return Found::no;
  EnvironmentMatch match(name, value, size);
  bool found = false;
  bool anything = false;
  char text[4096];
  ssize_t count = 0;
  while (!found && (count = read_some(descriptor, text, sizeof text)) > 0) {
    anything = true;
    for (ssize_t i = 0; i < count && !found; ++i) found = match.feed(text[i]);
  }
  ::close(descriptor);
  if (found) return Found::yes;
  ProcessEntry entry;
  if (anything || !read_process(pid, entry) || entry.is_dead()) return Found::no;
  return entry.is_kernel_thread || entry.has_environment ? Found::no : Found::unclear;
}

ProcessWalk::ProcessWalk() : directory_(::open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {}

ProcessWalk::~ProcessWalk() {
  if (directory_ >= 0) ::close(directory_);
}

pid_t ProcessWalk::next() {
  while (true) {
    if (offset_ >= filled_) {
      filled_ = directory_ < 0 ? 0 : ::syscall(SYS_getdents64, directory_, buffer_, sizeof buffer_);
      offset_ = 0;
      if (filled_ <= 0) return 0;
    }
    const auto* entry = reinterpret_cast<const DirectoryEntry*>(buffer_ + offset_);
    offset_ += entry->length;
    const char* name = buffer_ + (offset_ - entry->length) + offsetof(DirectoryEntry, name);
    if (name[0] < '1' || name[0] > '9') continue;
    return static_cast<pid_t>(std::atoi(name));
  }
}

}  // namespace unirun
