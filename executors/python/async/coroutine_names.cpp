#include "executors/python/async/coroutine_names.h"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace unirun::python {
namespace {

// Of two names that share a place the later stays, and the other is looked up again.
constexpr std::size_t places = 4096;

std::array<std::atomic<std::uint64_t>, places> prints{};

// Never 0, which is nobody's.
std::uint64_t print_of(std::string_view module, std::string_view function) {
  constexpr std::uint64_t odd = 0x9e3779b97f4a7c15U;
  const std::hash<std::string_view> hash;
  return (std::uint64_t{hash(module)} * odd + std::uint64_t{hash(function)}) | 1U;
}

std::atomic<std::uint64_t>& place_of(std::uint64_t print) { return prints[(print >> 1U) % places]; }

}  // namespace

bool CoroutineNames::contains(std::string_view module, std::string_view function) {
  const std::uint64_t print = print_of(module, function);
  return place_of(print).load(std::memory_order_relaxed) == print;
}

void CoroutineNames::remember(std::string_view module, std::string_view function) {
  const std::uint64_t print = print_of(module, function);
  place_of(print).store(print, std::memory_order_relaxed);
}

void CoroutineNames::forget(std::string_view module, std::string_view function) {
  std::uint64_t print = print_of(module, function);
  place_of(print).compare_exchange_strong(print, 0, std::memory_order_relaxed);
}

}  // namespace unirun::python
