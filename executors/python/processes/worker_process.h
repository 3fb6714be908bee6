// WorkerProcess is a process of our own that runs Python: the program unirun-python-worker, begun
// anew and never forked off a program with threads, with a channel to it. It ends with its owner,
// however that ends.
//
// Thread: the loop's.

#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "executors/python/processes/callback_desk.h"
#include "executors/python/processes/message_channel.h"
#include "framework/event_loop.h"

namespace unirun::python {

// Where it finds its end of the channel.
inline constexpr int worker_socket = 3;
// And that over which it sends the host's ends of lines of its own: see CallbackDesk.
inline constexpr int lines_socket = 4;

// The program and its arguments. `program` names it outright; empty: it is looked for in the folder
// that UNIRUN_LIBEXEC names, beside the program or library that this is part of, and where it was
// installed; but in a host's Python `host`, unless empty, is the command. Errors: unsupported, it
// is in none of the places (all named).
[[nodiscard]] Result<std::vector<std::string>> worker_command(
    const std::string& program, const std::vector<std::string>& host = {});

class WorkerProcess {
 public:
  // Called once, when it has ended and each question to it has been answered: may destroy it.
  using OnEnd = std::function<void()>;

  // `threads` run the functions that it calls back; they outlive it. Errors: unsupported, with the
  // system's words.
  [[nodiscard]] static Result<std::unique_ptr<WorkerProcess>> start(
      EventLoop& loop, CallbackThreads& threads, const std::vector<std::string>& command,
      OnEnd on_end);
  // Kills it and what it has started, if it has not ended.
  ~WorkerProcess();
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  // As MessageChannel::ask(); worker_lost says how it ended.
  void ask(std::string word, Value body, MessageChannel::OnAnswer on_answer);

  // Answers what is open with `error`; it ends by itself, and nothing can be asked any more.
  void dismiss(const Error& error) { channel_.end(error); }

  // It waits for a function of this process.
  [[nodiscard]] bool calls_back() const { return desk_.is_busy(); }

  // To it and what it has started.
  void signal(int number);

  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  struct Sockets {
    int channel;
    int lines;
  };
  WorkerProcess(EventLoop& loop, CallbackThreads& threads, pid_t pid, int pidfd, Sockets sockets,
                OnEnd on_end);
  void on_died();

  EventLoop& loop_;
  const pid_t pid_;
  int pidfd_;
  OnEnd on_end_;
  MessageChannel channel_;
  CallbackDesk desk_;
  Watch death_;
};

}  // namespace unirun::python
