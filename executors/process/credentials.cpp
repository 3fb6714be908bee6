#include "executors/process/credentials.h"

#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>

namespace unirun {
namespace {

template <class Number>
std::optional<Number> as_number(const std::string& text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// The *_r calls say ERANGE until their buffer is large enough.
template <class Record, class Call>
bool look_up(std::vector<char>& buffer, Record& record, Call&& call) {
  for (buffer.resize(1024);; buffer.resize(buffer.size() * 2)) {
    Record* found = nullptr;
    const int error = call(&record, buffer.data(), buffer.size(), &found);
    if (error != ERANGE || buffer.size() > (1 << 20)) return found != nullptr;
  }
}

bool find_user(const std::string& user, std::vector<char>& buffer, passwd& record) {
  if (const auto number = as_number<uid_t>(user)) {
    return look_up(buffer, record, [&](auto... rest) { return getpwuid_r(*number, rest...); });
  }
  return look_up(buffer, record, [&](auto... rest) { return getpwnam_r(user.c_str(), rest...); });
}

Result<gid_t> find_group(const std::string& group) {
  if (const auto number = as_number<gid_t>(group)) return *number;
  std::vector<char> buffer;
  struct group record {};
  if (!look_up(buffer, record, [&](auto... rest) { return getgrnam_r(group.c_str(), rest...); })) {
    return Error{Errc::start_failed, fmt::format("group '{}': there is no such group", group)};
  }
  return record.gr_gid;
}

std::vector<gid_t> groups_of(const std::string& user, gid_t group) {
  int count = 32;
  std::vector<gid_t> groups(static_cast<std::size_t>(count));
  while (getgrouplist(user.c_str(), group, groups.data(), &count) < 0) {
    groups.resize(static_cast<std::size_t>(count));
  }
  groups.resize(static_cast<std::size_t>(count));
  return groups;
}

// An ordinary user may name itself: what changes nothing needs no right.
void leave_out_what_is_so_already(Credentials& credentials) {
  if (credentials.user != geteuid() || geteuid() == 0) return;
  credentials.user.reset();
  if (credentials.group == getegid()) credentials.group.reset();
  credentials.groups.reset();
}

}  // namespace

Result<Credentials> resolve_credentials(const std::string& user, const std::string& group,
                                        const std::vector<std::string>& groups) {
  Credentials credentials;
  if (!user.empty()) {
    std::vector<char> buffer;
    passwd record{};
    if (find_user(user, buffer, record)) {
      credentials.user = record.pw_uid;
      credentials.group = record.pw_gid;
      credentials.name = record.pw_name;
      credentials.home = record.pw_dir;
    } else if (const auto number = as_number<uid_t>(user); number && !group.empty()) {
      credentials.user = *number;
    } else {
      const char* remedy = number ? "there is no such user; a bare number needs a group beside it"
                                  : "there is no such user";
      return Error{Errc::start_failed, fmt::format("user '{}': {}", user, remedy)};
    }
  }
  if (!group.empty()) {
    const auto found = find_group(group);
    if (!found) return found.error();
    credentials.group = *found;
  }
  if (!groups.empty()) {
    credentials.groups.emplace();
    for (const std::string& name : groups) {
      const auto found = find_group(name);
      if (!found) return found.error();
      credentials.groups->push_back(*found);
    }
  } else if (credentials.user) {
    credentials.groups = credentials.name.empty() ? std::vector<gid_t>{*credentials.group}
                                                  : groups_of(credentials.name, *credentials.group);
  }
  if (groups.empty()) leave_out_what_is_so_already(credentials);
  return credentials;
}

}  // namespace unirun
