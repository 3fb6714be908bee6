// executors_test_helper: a program that behaves as its arguments say. Used by the tests of the
// process executor; no shell could be trusted to make exactly these processes.
//
// - exit CODE, signal NUMBER, wait, ignore SIGNAL, show, newline-on FD, listen PORT, fill BYTES
// - descend KINDS PIDFILE [exit]: leaves a descendant of each kind (a to e), then waits or exits
// - notify TEXT...: sends each to NOTIFY_SOCKET, then waits
// - bomb: multiplies until it may not
// - exec-for-ever PIDFILE: leaves a descendant that does nothing but exec itself
// - -m unirun.worker: speaks the worker's protocol, as $HELPER_SCRIPT says

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

using Arguments = std::vector<std::string>;

[[noreturn]] void wait_for_ever() {
  while (true) ::pause();
}

void say(const std::string& line) {
  std::puts(line.c_str());
  std::fflush(stdout);
}

void append_pid(const std::string& file) {
  std::FILE* out = std::fopen(file.c_str(), "a");
  if (out == nullptr) std::_Exit(9);
  std::fprintf(out, "%d\n", ::getpid());
  std::fclose(out);
}

int lines_in(const std::string& file) {
  std::FILE* in = std::fopen(file.c_str(), "r");
  if (in == nullptr) return 0;
  int lines = 0;
  for (int c = 0; (c = std::fgetc(in)) != EOF;) lines += c == '\n' ? 1 : 0;
  std::fclose(in);
  return lines;
}

// The five kinds of the survivors table (supervision, section 2), each as hard to find as it can
// be: only `e` holds the pipes of its parent, only `a` stays in its group.
void make_descendant(char kind, const std::string& pid_file) {
  const pid_t child = ::fork();
  if (child < 0) std::_Exit(9);  // Else everybody waits for ever for one who never was.
  if (child > 0) return;
  if (kind != 'e') {
    ::close(STDOUT_FILENO);
    ::close(STDERR_FILENO);
  }
  if (kind != 'a') ::setsid();
  if (kind == 'c' && ::fork() != 0) ::_exit(0);
  if (kind == 'd') {
    for (const int signal_number : {SIGTERM, SIGINT, SIGHUP, SIGQUIT}) {
      std::signal(signal_number, SIG_IGN);
    }
  }
  append_pid(pid_file);
  wait_for_ever();
}

int descend(const Arguments& arguments) {
  const std::string& kinds = arguments.at(0);
  for (const char kind : kinds) make_descendant(kind, arguments.at(1));
  // Only once they are there: their end is what the test is about.
  while (lines_in(arguments.at(1)) < static_cast<int>(kinds.size())) ::usleep(1000);
  say("descended");
  if (arguments.size() > 2 && arguments[2] == "exit") return 3;
  wait_for_ever();
}

int notify(const Arguments& texts) {
  const std::string name = std::getenv("NOTIFY_SOCKET");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, name.data(), name.size());
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';
  const int socket = ::socket(AF_UNIX, SOCK_DGRAM, 0);
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  for (const std::string& text : texts) {
    if (::sendto(socket, text.data(), text.size(), 0, reinterpret_cast<sockaddr*>(&address),
                 length) < 0) {
      return 9;
    }
  }
  wait_for_ever();
}

int listen_on(int port) {
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  const int yes = 1;
  ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  if (::bind(socket, reinterpret_cast<sockaddr*>(&address), sizeof address) < 0) return 9;
  if (::listen(socket, 8) < 0) return 9;
  wait_for_ever();
}

// Every process makes others, each in a session of its own, as long as the limit lets it. The
// first one says when that is reached.
[[noreturn]] void bomb() {
  bool first = true;
  while (true) {
    const pid_t child = ::fork();
    if (child == 0) {
      first = false;
      ::setsid();
      ::close(STDOUT_FILENO);
      ::close(STDERR_FILENO);
    }
    if (child < 0 && first) {
      say("bombing");
      first = false;
    }
    ::usleep(200);
  }
}

// A daemon that does nothing but become itself again. It says so once, by a line in its file.
[[noreturn]] void exec_for_ever(const std::string& pid_file, bool said) {
  if (!said) append_pid(pid_file);
  ::execl("/proc/self/exe", "executors_test_helper", "exec-again", pid_file.c_str(), nullptr);
  std::_Exit(9);
}

int begin_exec_for_ever(const std::string& pid_file) {
  if (::fork() == 0) {
    ::setsid();
    exec_for_ever(pid_file, false);
  }
  while (lines_in(pid_file) == 0) ::usleep(1000);
  say("it goes on");
  wait_for_ever();
}

int show() {
  char cwd[4096];
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  sigset_t blocked;
  sigprocmask(SIG_SETMASK, nullptr, &blocked);
  int blocked_count = 0;
  for (int i = 1; i < 32; ++i) blocked_count += sigismember(&blocked, i) == 1 ? 1 : 0;
  struct sigaction on_pipe {};
  sigaction(SIGPIPE, nullptr, &on_pipe);
  int death_signal = 0;
  ::prctl(PR_GET_PDEATHSIG, &death_signal);
  int descriptors = 0;
  for (int i = 0; i < 256; ++i) descriptors += ::fcntl(i, F_GETFD) >= 0 ? 1 : 0;
  std::printf("cwd=%s\numask=%o\n", ::getcwd(cwd, sizeof cwd), ::umask(0));
  std::printf("nofile=%llu/%llu\n", static_cast<unsigned long long>(files.rlim_cur),
              static_cast<unsigned long long>(files.rlim_max));
  std::printf("nice=%d\nuid=%u\n", ::getpriority(PRIO_PROCESS, 0), ::getuid());
  std::printf("no_new_privs=%d\nblocked=%d\n", ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0),
              blocked_count);
  std::printf("sigpipe=%s\n", on_pipe.sa_handler == SIG_DFL ? "default" : "changed");
  std::printf("death_signal=%d\ndescriptors=%d\n", death_signal, descriptors);
  std::printf("own_group=%d\n", ::getpgrp() == ::getpid() ? 1 : 0);
  return 0;
}

// ---- The worker's protocol ----

int control_descriptor() { return std::atoi(std::getenv("UNIRUN_CONTROL_FD")); }

void send_bytes(const std::string& bytes) {
  for (std::size_t sent = 0; sent < bytes.size();) {
    const ssize_t count = ::write(control_descriptor(), bytes.data() + sent, bytes.size() - sent);
    if (count <= 0) std::_Exit(8);
    sent += static_cast<std::size_t>(count);
  }
}

void send_frame(const std::string& json) {
  std::string frame;
  for (int shift = 0; shift < 32; shift += 8) {
    frame.push_back(static_cast<char>((json.size() >> shift) & 0xff));
  }
  send_bytes(frame + json);
}

std::string receive_exactly(std::size_t size) {
  std::string bytes(size, '\0');
  for (std::size_t got = 0; got < size;) {
    const ssize_t count = ::read(control_descriptor(), bytes.data() + got, size - got);
    if (count <= 0) std::_Exit(7);
    got += static_cast<std::size_t>(count);
  }
  return bytes;
}

std::string receive_frame() {
  const std::string head = receive_exactly(4);
  std::size_t length = 0;
  for (std::size_t i = head.size(); i-- > 0;) {
    length = (length << 8) | static_cast<unsigned char>(head[i]);
  }
  return receive_exactly(length);
}

// Run by the test as the "interpreter" of a Python target.
int work() {
  say("start " + receive_frame());
  const std::string script = std::getenv("HELPER_SCRIPT");
  if (script == "ignore") {
    send_frame(R"({"type":"ignore"})");
    return 0;
  }
  if (script == "wrong-types") {
    send_frame(R"({"type":7})");
    send_frame(R"({"type":"log","level":[],"message":null,"line":"seven"})");
    send_frame(R"({"type":"exception","exception":"none"})");
    send_frame(R"({"type":"metrics","counters":7,"gauges":{"depth":null}})");
    send_frame(R"({"type":"something new"})");
  }
  if (script == "until-cancelled") std::signal(SIGTERM, SIG_IGN);
  send_frame(R"({"type":"ready"})");
  if (script == "until-cancelled") {
    say("then " + receive_frame());
    return 0;
  }
  if (script == "exception") {
    send_frame(R"({"type":"log","level":"ERROR","logger":"app","message":"oh","file":"a.py",)"
               R"("line":7,"extra":{"job":"7","odd":7}})");
    send_frame(R"({"type":"metrics","counters":{"done":2.5,"odd":"x"},"gauges":{"depth":7}})");
    send_frame(R"({"type":"status","text":"half way"})");
    send_frame(R"({"type":"exception","exception":{"type":"ValueError",)"
               R"("message":"no such job","traceback":"Traceback ..."}})");
    return 1;
  }
  if (script == "garbage") send_bytes(std::string("\xff\xff\xff\xff is no length of a frame", 30));
  if (script == "silent") {
    const std::string stacks = "Fatal Python error: Aborted\nThread 0x1\n";
    const int fault = std::atoi(std::getenv("UNIRUN_FAULT_FD"));
    if (::write(fault, stacks.data(), stacks.size()) < 0) return 8;
  }
  wait_for_ever();
}

int behave(const std::string& verb, const Arguments& arguments) {
  if (verb == "-m") return work();
  if (verb == "exit") return std::stoi(arguments.at(0));
  if (verb == "signal") return ::raise(std::stoi(arguments.at(0)));
  if (verb == "wait") wait_for_ever();
  if (verb == "fill") {
    const std::vector<char> filled(std::stoul(arguments.at(0)), 'x');
    return filled.empty() ? 1 : 0;
  }
  if (verb == "ignore") {
    std::signal(std::stoi(arguments.at(0)), SIG_IGN);
    say("ignoring");
    wait_for_ever();
  }
  if (verb == "descend") return descend(arguments);
  if (verb == "notify") return notify(arguments);
  if (verb == "listen") return listen_on(std::stoi(arguments.at(0)));
  if (verb == "bomb") bomb();
  if (verb == "exec-for-ever") return begin_exec_for_ever(arguments.at(0));
  if (verb == "exec-again") exec_for_ever(arguments.at(0), true);
  if (verb == "newline-on") {
    if (::write(std::stoi(arguments.at(0)), "\n", 1) != 1) return 9;
    wait_for_ever();
  }
  if (verb == "show") return show();
  std::fprintf(stderr, "executors_test_helper: what is '%s'?\n", verb.c_str());
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  return behave(argv[1], Arguments(argv + 2, argv + argc));
}
