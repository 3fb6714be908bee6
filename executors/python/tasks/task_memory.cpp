#include "executors/python/tasks/task_memory.h"

#include <array>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

namespace unirun::python {
namespace {

constexpr std::size_t size_step = 64;  // Sizes are multiples of a cache line.
constexpr std::size_t sizes = 6;       // Larger tasks are malloc()'s.
constexpr std::size_t batch = 64;
constexpr std::size_t most_batches = 256;  // Of one size, that no thread has.

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool recycles = false;  // Or nobody would see who touches a task that is gone.
#else
constexpr bool recycles = true;
#endif

struct Block {
  Block* next;
};

// A stack of blocks.
class BlockStack {
 public:
  void push(Block* block) {
    block->next = std::exchange(top_, block);
    ++size_;
  }
  Block* pop() {
    Block* const block = top_;
    if (block != nullptr) {
      top_ = block->next;
      --size_;
    }
    return block;
  }
  [[nodiscard]] std::size_t size() const { return size_; }
  void free_all() {
    while (Block* const block = pop()) ::operator delete (block, std::align_val_t{size_step});
  }

 private:
  Block* top_ = nullptr;
  std::size_t size_ = 0;
};

// What threads have left to each other. Never destroyed: tasks may end after main() has.
class Depot {
 public:
  static Depot& of(std::size_t size) {
    static auto* const all = new std::array<Depot, sizes>;
    return (*all)[size];
  }

  BlockStack take() {
    const std::lock_guard lock(mutex_);
    if (batches_.empty()) return {};
    const BlockStack taken = batches_.back();
    batches_.pop_back();
    return taken;
  }
  void leave(BlockStack blocks) {
    {
      const std::lock_guard lock(mutex_);
      if (batches_.size() < most_batches) return batches_.push_back(blocks);
    }
    blocks.free_all();
  }
  void forget() {
    new (&mutex_) std::mutex;
    batches_.clear();
  }

 private:
  Depot() { batches_.reserve(most_batches); }
  friend struct std::array<Depot, sizes>;

  std::mutex mutex_;  // Guards the next, which never grows.
  std::vector<BlockStack> batches_;
};

// What a thread keeps of one size.
class Shelf {
 public:
  void* take(std::size_t size) {
    if (open_.size() == 0)
      open_ = full_.size() > 0 ? std::exchange(full_, {}) : Depot::of(size).take();
    return open_.pop();
  }
  void put(Block* block, std::size_t size) {
    if (open_.size() == batch) {
      if (full_.size() > 0) Depot::of(size).leave(full_);
      full_ = std::exchange(open_, {});
    }
    open_.push(block);
  }
  void clear(std::size_t size) {
    for (BlockStack* const stack : {&open_, &full_}) {
      if (stack->size() > 0) Depot::of(size).leave(std::exchange(*stack, {}));
    }
  }

 private:
  BlockStack open_;
  BlockStack full_;  // Whole, or nothing.
};

// Of the thread, until it ends: what it drops even later is malloc()'s.
struct Shelves {
  ~Shelves() {
    for (std::size_t size = 0; size < sizes; ++size) of[size].clear(size);
    ended = true;
  }
  std::array<Shelf, sizes> of;
  inline static thread_local bool ended = false;
};

thread_local Shelves shelves;

std::size_t size_of(std::size_t bytes) { return (bytes - 1) / size_step; }

}  // namespace

void* TaskMemory::take(std::size_t bytes) {
  const std::size_t size = size_of(bytes);
  if (!recycles || size >= sizes) return ::operator new(bytes);
  if (!Shelves::ended) {
    if (void* const block = shelves.of[size].take(size); block != nullptr) return block;
  }
  return ::operator new ((size + 1) * size_step, std::align_val_t{size_step});
}

void TaskMemory::give_back(void* block, std::size_t bytes) noexcept {
  const std::size_t size = size_of(bytes);
  if (!recycles || size >= sizes) return ::operator delete(block);
  if (Shelves::ended) return ::operator delete (block, std::align_val_t{size_step});
  shelves.of[size].put(static_cast<Block*>(block), size);
}

void TaskMemory::forget() {
  for (std::size_t size = 0; size < sizes; ++size) Depot::of(size).forget();
}

}  // namespace unirun::python
