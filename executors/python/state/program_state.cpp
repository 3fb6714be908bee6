#include "executors/python/state/program_state.h"

#include <pthread.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>

#include "executors/python/state/state_server.h"

namespace unirun::python {
namespace {

// Never destroyed: threads may ask after main() has ended.
struct Place {
  std::atomic<const ProgramState*> current{nullptr};
  std::mutex mutex;       // Held while one is made. Nobody asks for the GIL within.
  std::string inherited;  // In a child of fork(): where its parent's is.
};

Place& place() {
  static auto* const only = new Place;
  return *only;
}

// Its parent's is a copy, but for the counters: what the child holds of it is left alone.
void forget_in_child() {
  const ProgramState* const parents = place().current.exchange(nullptr);
  new (&place().mutex) std::mutex;
  if (parents != nullptr) place().inherited = parents->address();
}

std::string address_of_owner() {
  if (!place().inherited.empty()) return place().inherited;
  const char* const given = std::getenv(ProgramState::variable);
  return given != nullptr ? given : "";
}

}  // namespace

struct ProgramStateMaker {
  static Result<const ProgramState*> make() {
    const std::string owner = address_of_owner();
    return owner.empty() ? own() : attached(owner);
  }

  static Result<const ProgramState*> own() {
    Result<SharedState> state = SharedState::create();
    if (!state) return state.error();
    auto made = std::unique_ptr<ProgramState>(new ProgramState(std::move(*state), false));
    Result<std::string> address = serve_state(made->state_);
    if (!address) return address.error();
    made->address_ = std::move(*address);
    return made.release();
  }

  static Result<const ProgramState*> attached(const std::string& owner) {
    Result<StateLink> connected = StateLink::connect(owner);
    if (!connected) return connected.error();
    const auto link = std::make_shared<StateLink>(std::move(*connected));
    Result<SharedState> state =
        SharedState::attach(link->counters_descriptor(),
                            [link](const std::string& request) { return link->ask(request); });
    if (!state) return state.error();
    auto made = std::unique_ptr<ProgramState>(new ProgramState(std::move(*state), true));
    made->address_ = owner;
    return made.release();
  }
};

Result<const ProgramState*> ProgramState::get() {
  if (const ProgramState* const made = place().current.load(std::memory_order_acquire)) return made;
  const std::lock_guard lock(place().mutex);
  if (const ProgramState* const made = place().current.load(std::memory_order_acquire)) return made;
  static const int registered = ::pthread_atfork(nullptr, nullptr, forget_in_child);
  static_cast<void>(registered);
  Result<const ProgramState*> made = ProgramStateMaker::make();
  if (made) place().current.store(*made, std::memory_order_release);
  return made;
}

}  // namespace unirun::python
