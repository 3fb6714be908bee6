// What an async service costs: from its crash to its replacement's first statement, through the
// real supervisor and executor, and its memory when it does nothing.
//
// usage: async_restart [CRASHES] [IDLE]     prints one JSON object

#include <malloc.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "executors/async/async_executor.h"
#include "executors/output/output_store.h"
#include "framework/awaitables.h"
#include "framework/clock.h"
#include "framework/event_bus.h"
#include "framework/event_loop.h"
#include "framework/random.h"
#include "supervisors/supervision_tree.h"

namespace {

using namespace unirun;

SystemClock the_clock;
Instant crashed_at{};
std::vector<double> restarts;  // Microseconds.
std::size_t crashes_wanted = 0;

// Throws as soon as it has had a turn, and says how long its predecessor has been dead.
struct Crasher final : Service {
  Task<> run_async(ServiceContext& context) override {
    if (crashed_at != Instant{}) {
      const auto since = the_clock.now() - crashed_at;
      restarts.push_back(std::chrono::duration<double, std::micro>(since).count());
      if (restarts.size() == crashes_wanted) {
        context.loop().stop();
        co_await cancelled(context);
      }
    }
    co_await next_turn(context);
    crashed_at = the_clock.now();
    throw std::runtime_error("crash");
  }
};

struct Idler final : Service {
  Task<> run_async(ServiceContext& context) override { co_await cancelled(context); }
};

struct Factory final : ServiceFactory {
  Result<std::unique_ptr<Service>> make(const ServiceSpec& spec, ServiceStyle) override {
    if (std::get<NativeTarget>(spec.target).name == "idler")
      return std::unique_ptr<Service>(std::make_unique<Idler>());
    return std::unique_ptr<Service>(std::make_unique<Crasher>());
  }
};

// One tree of `count` services of this name; runs until somebody stops the loop.
struct World {
  World(const std::string& name, std::size_t count) {
    executors.add("async", executor);
    auto root = std::make_shared<SupervisorSpec>();
    root->max_restarts = 1'000'000'000;
    root->period = std::chrono::seconds{1};
    auto service = std::make_shared<ServiceSpec>();
    service->target = NativeTarget{name};
    for (std::size_t i = 0; i < count; ++i) {
      ChildSpec child;
      child.id = name + std::to_string(i);
      child.executor = "async";
      child.service = service;
      root->children.push_back(std::move(child));
    }
    tree = std::make_unique<SupervisionTree>(
        SupervisionWorld{the_clock, loop, random, bus, executors, runs}, root);
  }

  EventLoop loop{the_clock};
  EventBus bus{the_clock};
  OutputStore output{loop, bus};
  Factory factory;
  AsyncExecutor executor{{.loop = loop, .bus = bus, .output = output, .native = &factory}};
  Random random{1};
  RunIds runs;
  Executors executors;
  std::unique_ptr<SupervisionTree> tree;
};

double at(const std::vector<double>& sorted, double share) {
  return sorted[static_cast<std::size_t>(share * static_cast<double>(sorted.size() - 1))];
}

void crash_and_restart(std::size_t count) {
  crashes_wanted = count;
  World& world = *new World("crasher", 1);  // Lives on: its end is not measured.
  if (!world.tree->start([](const Status&) {}, [](const ExitReason&) {})) std::abort();
  world.loop.run();
  std::sort(restarts.begin(), restarts.end());
  std::printf("{\"restarts\": %zu, \"p50_us\": %.2f, \"p99_us\": %.2f", count, at(restarts, 0.5),
              at(restarts, 0.99));
}

void stand_idle(std::size_t count) {
  const std::size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
  World& world = *new World("idler", count);
  const std::size_t specs = mallinfo2().uordblks + mallinfo2().hblkhd;
  if (!world.tree->start([&](const Status&) { world.loop.stop(); }, [](const ExitReason&) {})) {
    std::abort();
  }
  world.loop.run();
  const std::size_t after = mallinfo2().uordblks + mallinfo2().hblkhd;
  const auto each = [&](std::size_t bytes) {
    return static_cast<double>(bytes) / static_cast<double>(count);
  };
  std::printf(", \"idle\": %zu, \"bytes_each\": %.0f, \"bytes_each_running\": %.0f}\n", count,
              each(after - before), each(after - specs));
  std::fflush(stdout);
  std::_Exit(0);  // What ends is not measured.
}

}  // namespace

int main(int argc, char** argv) {
  crash_and_restart(argc > 1 ? std::stoul(argv[1]) : 200'000);
  stand_idle(argc > 2 ? std::stoul(argv[2]) : 100'000);
}
