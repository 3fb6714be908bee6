#include "python_bindings/pools/process_crew.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>

#include "framework/futex.h"
#include "python_bindings/pools/process_files.h"

namespace unirun::bindings {
namespace {

constexpr std::size_t least_room = 64U << 10;

}  // namespace

int ProcessTask::traverse(visitproc visit, void* arg) const {
  Py_VISIT(future.get());
  Py_VISIT(callable.get());
  Py_VISIT(arguments.get());
  Py_VISIT(keywords.get());
  return 0;
}

ProcessWorker::ProcessWorker(std::uint64_t number, int file)
    : id(number),
      memory(file, worker_memory_size),
      tasks(memory.start() == nullptr ? nullptr : &words()->tasks, memory.start() + words_size),
      results(memory.start() == nullptr ? nullptr : &words()->results,
              memory.start() + words_size + ring_capacity) {}

void ProcessWorker::close_ends() {
  close_one(life);
  close_one(socket);
}

std::optional<ProcessCrew::Ends> ProcessCrew::open() {
  Ends ends;
  std::array<int, 2> life{-1, -1};
  std::array<int, 2> sockets{-1, -1};
  ends.memory = shared_file("unirun-worker", worker_memory_size);
  std::shared_ptr<ProcessWorker> worker;
  if (ends.memory >= 0 && ::pipe2(life.data(), O_CLOEXEC) == 0 &&
      ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets.data()) == 0)
    worker = std::make_shared<ProcessWorker>(last_ + 1, ends.memory);
  // A forked worker has our address space, and the limit of that, and maps the memory once more.
  if (worker == nullptr || worker->memory.start() == nullptr ||
      SharedMemory(ends.memory, worker_memory_size).start() == nullptr) {
    const int why = errno;
    for (int number : {ends.memory, life[0], life[1], sockets[0], sockets[1]}) close_one(number);
    errno = why;
    return std::nullopt;
  }
  worker->life = life[1];
  worker->socket = sockets[0];
  ends.life = life[0];
  ends.socket = sockets[1];
  ++last_;
  workers_.push_back(std::move(worker));
  return ends;
}

std::shared_ptr<ProcessWorker> ProcessCrew::find(std::uint64_t id) const {
  for (const auto& worker : workers_)
    if (worker->id == id) return worker;
  return nullptr;
}

void ProcessCrew::remove(std::uint64_t id) {
  std::erase_if(workers_, [id](const auto& one) { return one->id == id; });
}

ProcessWorker* ProcessCrew::choose(const ProcessTask& task) const {
  ProcessWorker* best = nullptr;
  for (const auto& worker : workers_) {
    if (!worker->attached || worker->told_dead) continue;
    const std::size_t calls = worker->calls.size();
    if (calls == 0) return worker.get();
    if (task.timeout != Duration{} || worker->deadline != Instant{} || calls >= worker->window ||
        worker->tasks.room() < least_room)
      continue;
    if (best == nullptr || calls < best->calls.size()) best = worker.get();
  }
  return best;
}

void ProcessCrew::wake() const {
  for (const auto& worker : workers_) {
    if (!worker->to_be_woken) continue;
    worker->to_be_woken = false;
    std::atomic<std::uint32_t>& parked = worker->words()->tasks.reader_parked;
    if (claim_wake(parked)) futex_wake(parked, 1, FutexScope::shared);
  }
}

bool ProcessCrew::has_idle() const {
  return std::any_of(workers_.begin(), workers_.end(),
                     [](const auto& worker) { return worker->attached && worker->calls.empty(); });
}

bool ProcessCrew::has_more_than_one_call() const {
  return std::any_of(workers_.begin(), workers_.end(),
                     [](const auto& worker) { return worker->calls.size() > 1; });
}

bool ProcessCrew::has_results() const {
  std::atomic_thread_fence(std::memory_order_seq_cst);  // After we have said that we sleep.
  return std::any_of(workers_.begin(), workers_.end(), [](const auto& worker) {
    return worker->attached && !worker->results.empty();
  });
}

// The time of a call counts from its beginning, which the worker has noted: a new worker that is
// still importing is not over any time, and is looked at again.
std::vector<std::uint64_t> ProcessCrew::overdue(Instant now) {
  std::vector<std::uint64_t> ids;
  for (const auto& worker : workers_) {
    if (worker->deadline == Instant{} || worker->deadline > now || worker->calls.empty()) continue;
    const ProcessTask& task = worker->calls.front();
    const bool begun = task.frame->claim.load() == Claim::taken;
    worker->deadline = (begun ? Instant{Duration{task.frame->started_ns}} : now) + task.timeout;
    if (worker->deadline <= now) ids.push_back(worker->id);
  }
  return ids;
}

Instant ProcessCrew::next_deadline() const {
  Instant next = Instant::max();
  for (const auto& worker : workers_)
    if (worker->deadline != Instant{}) next = std::min(next, worker->deadline);
  return next;
}

void ProcessCrew::close_ends() {
  for (const auto& worker : workers_) worker->close_ends();
}

}  // namespace unirun::bindings
