#include "executors/process/death_board.h"

#include <doctest/doctest.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <latch>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "executors/process/unique_fd.h"
#include "framework/clock.h"
#include "framework/event_loop.h"
#include "tests/host/run_loop_until.h"

namespace unirun {
namespace {

// The board as a worker sees it: the shared memory, mapped once more.
class Mapped {
 public:
  explicit Mapped(const DeathBoard& board)
      : memory_(static_cast<char*>(
            ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, board.descriptor(), 0))) {}
  ~Mapped() { ::munmap(memory_, size); }
  Mapped(const Mapped&) = delete;
  Mapped& operator=(const Mapped&) = delete;

  void hold(std::size_t place) {
    ::pthread_mutex_lock(reinterpret_cast<pthread_mutex_t*>(memory_ + place));
  }

 private:
  static constexpr std::size_t size = std::size_t{64} * 4096;
  char* const memory_;
};

// Old kernels (before Linux 5.16) have no board, which is to be seen and no error.
bool there_is_none(DeathBoard& board) {
  if (board.descriptor() >= 0) return false;
  CHECK_FALSE(board.take());
  MESSAGE("this kernel cannot wait for many locks: there is no board to test");
  return true;
}

TEST_CASE("the board tells of a worker that was killed, and of none that lives") {
  SystemClock clock;
  EventLoop loop(clock);
  DeathBoard board(loop);
  if (there_is_none(board)) return;
  const std::size_t place = *board.take();
  std::array<int, 2> said{};
  REQUIRE(::pipe(said.data()) == 0);
  const UniqueFd reading(said[0]);
  const pid_t worker = ::fork();
  if (worker == 0) {
    Mapped mapped(board);  // To its death: the kernel looks into it then.
    mapped.hold(place);
    if (::write(said[1], "held", 4) != 4) ::_exit(1);
    while (true) ::pause();
  }
  ::close(said[1]);
  char word[4];
  REQUIRE(::read(reading.get(), word, sizeof word) == 4);

  bool told = false;
  board.watch(place, [&] { told = true; });
  int turns = 0;
  loop.post([&] { ++turns; });
  run_loop_until(loop, [&] { return turns == 1; });
  CHECK_FALSE(told);
  ::kill(worker, SIGKILL);
  run_loop_until(loop, [&] { return told; });
  CHECK(::waitpid(worker, nullptr, 0) == worker);
  board.give_back(place);
  CHECK(board.take() == place);
}

TEST_CASE("a lock that nobody holds is told at once, and a place that was given back never") {
  SystemClock clock;
  EventLoop loop(clock);
  DeathBoard board(loop);
  if (there_is_none(board)) return;
  const std::size_t returned = *board.take();
  const std::size_t released = *board.take();
  bool told_of_returned = false;
  bool told = false;
  board.watch(returned, [&] { told_of_returned = true; });
  board.give_back(returned);
  board.watch(released, [&] { told = true; });
  run_loop_until(loop, [&] { return told; });
  CHECK_FALSE(told_of_returned);
}

TEST_CASE("more workers than one thread can wait for are all told of") {
  constexpr std::size_t count = 300;
  SystemClock clock;
  EventLoop loop(clock);
  DeathBoard board(loop);
  if (there_is_none(board)) return;
  Mapped mapped(board);
  std::latch held(count);
  std::latch over(1);
  std::vector<std::size_t> places;
  std::vector<std::thread> workers;  // A thread that ends lets go as a process does.
  for (std::size_t worker = 0; worker < count; ++worker) {
    places.push_back(*board.take());
    workers.emplace_back([&, place = places.back()] {
      mapped.hold(place);
      held.count_down();
      over.wait();
    });
  }
  held.wait();
  std::size_t told = 0;
  for (const std::size_t place : places) board.watch(place, [&] { ++told; });
  over.count_down();
  run_loop_until(loop, [&] { return told == count; });
  for (std::thread& worker : workers) worker.join();
  CHECK(told == count);
}

}  // namespace
}  // namespace unirun
