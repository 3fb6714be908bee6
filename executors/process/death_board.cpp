#include "executors/process/death_board.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "executors/process/unique_fd.h"
#include "framework/require.h"

namespace unirun {
namespace {

constexpr long futex_waitv_call = 449;  // The same on every architecture.
constexpr std::size_t place_size = 64;  // A cache line each.
constexpr std::size_t place_count = 4096;
constexpr std::size_t board_size = place_size * place_count;
constexpr std::size_t max_waited = 128;  // FUTEX_WAITV_MAX, one of them for news.
static_assert(sizeof(pthread_mutex_t) <= place_size);

struct Waited {  // struct futex_waitv of linux/futex.h, which older headers lack.
  std::uint64_t value = 0;
  std::uint64_t address = 0;
  std::uint32_t flags = 0;
  std::uint32_t reserved = 0;
};
constexpr std::uint32_t futex_32 = 2;
constexpr std::uint32_t futex_private = 128;

bool kernel_waits_for_many() {
  return ::syscall(futex_waitv_call, nullptr, 0, 0, nullptr, 0) < 0 && errno != ENOSYS;
}

using Word = std::atomic<std::uint32_t>;
static_assert(sizeof(Word) == sizeof(std::uint32_t) && Word::is_always_lock_free);

// The kernel's word in glibc's mutex: the holder's thread id, and two bits.
Word& word_of(pthread_mutex_t& mutex) { return *reinterpret_cast<Word*>(&mutex.__data.__lock); }

}  // namespace

// One thread and the places that it waits for.
class DeathWaiter {
 public:
  // `on_released` is called on the waiter's thread.
  DeathWaiter(char* board, std::function<void(std::size_t)> on_released)
      : board_(board), on_released_(std::move(on_released)), thread_([this] { run(); }) {}

  ~DeathWaiter() {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
    }
    tell();
    thread_.join();
  }
  DeathWaiter(const DeathWaiter&) = delete;
  DeathWaiter& operator=(const DeathWaiter&) = delete;

  [[nodiscard]] bool has_room() {
    const std::lock_guard lock(mutex_);
    return places_.size() < max_waited - 1;
  }

  void add(std::size_t place) {
    {
      const std::lock_guard lock(mutex_);
      places_.push_back(place);
    }
    tell();
  }

  // True if it was here. Its memory is not looked at any more, or once more at most.
  bool remove(std::size_t place) {
    {
      const std::lock_guard lock(mutex_);
      if (std::erase(places_, place) == 0) return false;
    }
    tell();
    return true;
  }

 private:
  void tell() {
    news_.fetch_add(1);
    ::syscall(SYS_futex, &news_, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
  }

  Word& word(std::size_t place) const {
    return word_of(*reinterpret_cast<pthread_mutex_t*>(board_ + place));
  }

  void run() {
    std::array<Waited, max_waited> waited;
    while (true) {
      const std::uint32_t seen = news_.load();
      std::size_t count = 0;
      const auto wait_for = [&](Word& word, std::uint32_t value, std::uint32_t flags) {
        waited[count++] = {value, reinterpret_cast<std::uint64_t>(&word), flags, 0};
      };
      wait_for(news_, seen, futex_32 | futex_private);
      {
        const std::lock_guard lock(mutex_);
        if (ending_) return;
        std::erase_if(places_, [&](std::size_t place) {
          const std::optional<std::uint32_t> held = holder(word(place));
          if (held) {
            wait_for(word(place), *held, futex_32);
          } else {
            on_released_(place);
          }
          return !held;
        });
      }
      ::syscall(futex_waitv_call, waited.data(), count, 0, nullptr, 0);
    }
  }

  // What the word is while somebody holds it, with the bit that makes the kernel wake us.
  static std::optional<std::uint32_t> holder(Word& word) {
    std::uint32_t value = word.load();
    while ((value & FUTEX_TID_MASK) != 0 && (value & FUTEX_OWNER_DIED) == 0) {
      if ((value & FUTEX_WAITERS) != 0) return value;
      if (word.compare_exchange_weak(value, value | FUTEX_WAITERS)) return value | FUTEX_WAITERS;
    }
    return std::nullopt;
  }

  char* const board_;
  const std::function<void(std::size_t)> on_released_;
  std::mutex mutex_;
  std::vector<std::size_t> places_;
  bool ending_ = false;
  Word news_{0};
  std::thread thread_;
};

struct DeathBoard::Impl {
  explicit Impl(EventLoop& some_loop) : loop(some_loop) {
    if (!kernel_waits_for_many()) return;
    UniqueFd file(::memfd_create("unirun-deaths", MFD_CLOEXEC));
    if (!file || ::ftruncate(file.get(), board_size) < 0) return;
    void* memory = ::mmap(nullptr, board_size, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
    if (memory == MAP_FAILED) return;
    board = static_cast<char*>(memory);
    descriptor = std::move(file);
  }
  ~Impl() {
    *alive = false;
    waiters.clear();
    if (board != nullptr) ::munmap(board, board_size);
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  DeathWaiter& waiter_with_room() {
    for (const auto& waiter : waiters) {
      if (waiter->has_room()) return *waiter;
    }
    const auto post = [this](std::size_t place) {
      loop.post([this, place, still_alive = alive] {
        if (*still_alive) released(place);
      });
    };
    return *waiters.emplace_back(std::make_unique<DeathWaiter>(board, post));
  }

  void released(std::size_t place) {
    const auto found = watched.find(place);
    if (found == watched.end()) return;
    const std::function<void()> on_released = std::move(found->second);
    watched.erase(found);
    on_released();
  }

  EventLoop& loop;
  UniqueFd descriptor;
  char* board = nullptr;
  std::vector<std::size_t> free;  // Given back.
  std::size_t used = 0;           // Never taken from here on.
  std::unordered_map<std::size_t, std::function<void()>> watched;
  std::vector<std::unique_ptr<DeathWaiter>> waiters;
  std::shared_ptr<bool> alive = std::make_shared<bool>(true);
};

DeathBoard::DeathBoard(EventLoop& loop) : impl_(std::make_unique<Impl>(loop)) {}
DeathBoard::~DeathBoard() = default;

int DeathBoard::descriptor() const { return impl_->descriptor.get(); }

std::optional<std::size_t> DeathBoard::take() {
  std::size_t place = 0;
  if (!impl_->free.empty()) {
    place = impl_->free.back();
    impl_->free.pop_back();
  } else if (impl_->board != nullptr && impl_->used < board_size) {
    place = std::exchange(impl_->used, impl_->used + place_size);
  } else {
    return std::nullopt;
  }
  pthread_mutexattr_t attributes;
  ::pthread_mutexattr_init(&attributes);
  ::pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  ::pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  ::pthread_mutex_init(reinterpret_cast<pthread_mutex_t*>(impl_->board + place), &attributes);
  ::pthread_mutexattr_destroy(&attributes);
  return place;
}

void DeathBoard::watch(std::size_t place, std::function<void()> on_released) {
  UNIRUN_REQUIRE(impl_->watched.count(place) == 0);
  impl_->watched.emplace(place, std::move(on_released));
  impl_->waiter_with_room().add(place);
}

void DeathBoard::give_back(std::size_t place) {
  impl_->watched.erase(place);
  for (const auto& waiter : impl_->waiters) {
    if (waiter->remove(place)) break;
  }
  impl_->free.push_back(place);
}

}  // namespace unirun
