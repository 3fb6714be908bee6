// How long a C++ service on a thread is away when it crashes: from the throw in the dying thread to
// the first line of its successor, beside floors of the same run.
//
//   bare        a thread is made and joined; the time to its first line
//   told        a thread ends, tells a loop, and the loop makes the next: the same way, no unirun
//   executor    ThreadExecutor, launched again from on_exited
//   supervised  a whole supervisor above it: judged, counted, logged among events, restarted
//
// Also: resident memory of an idle service beyond its stack, and its growth over many restarts.
//
// usage: thread_restart [RESTARTS [SERVICES]]     one JSON object on stdout

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "executors/native/service_registry.h"
#include "executors/output/output_store.h"
#include "executors/thread/thread_executor.h"
#include "framework/clock.h"
#include "framework/event_bus.h"
#include "framework/event_loop.h"
#include "framework/random.h"
#include "supervisors/supervision_tree.h"

namespace {

using namespace unirun;

const SystemClock system_clock;

// What one kind of restart took, life by life.
class Gaps {
 public:
  explicit Gaps(std::size_t wanted) : wanted_(wanted) { gaps_.reserve(wanted); }

  // On the thread that lives now. True while there is more to measure.
  bool began() {
    const Instant now = system_clock.now();
    if (died_ != Instant{}) gaps_.push_back(now - died_);
    return gaps_.size() < wanted_;
  }
  void dies() { died_ = system_clock.now(); }

  [[nodiscard]] double microseconds(double quantile) {
    std::sort(gaps_.begin(), gaps_.end());
    const auto at = static_cast<std::size_t>(quantile * static_cast<double>(gaps_.size() - 1));
    return std::chrono::duration<double, std::micro>(gaps_[at]).count();
  }

 private:
  const std::size_t wanted_;
  std::vector<Duration> gaps_;
  Instant died_{};
};

Gaps* measured = nullptr;        // By the service of this moment: one life at a time.
EventLoop* measuring = nullptr;  // To be stopped when it has seen enough.

class Crashing final : public Service {
 public:
  void run(ServiceContext& context) override {
    if (!measured->began()) {
      measuring->stop();
      while (!context.cancellation().wait(std::chrono::hours{1})) {
      }
      return;
    }
    measured->dies();
    throw std::runtime_error("crash");
  }
};

class Idle final : public Service {
 public:
  void run(ServiceContext& context) override {
    while (!context.cancellation().wait(std::chrono::hours{1})) {
    }
  }
};

std::shared_ptr<ServiceSpec> native(const char* name) {
  auto spec = std::make_shared<ServiceSpec>();
  spec->target = NativeTarget{name};
  return spec;
}

// ---- The floors ----

Gaps bare(std::size_t count) {
  Gaps gaps(count);
  for (bool more = true; more;) {
    gaps.dies();
    std::thread([&] { more = gaps.began(); }).join();
  }
  return gaps;
}

Gaps told(std::size_t count) {
  Gaps gaps(count);
  EventLoop loop(system_clock);
  std::thread living;
  std::function<void()> live = [&] {
    if (living.joinable()) living.detach();  // As quick as it gets; a real one has to join.
    living = std::thread([&] {
      if (!gaps.began()) return loop.stop();
      gaps.dies();
      loop.post(live);
    });
  };
  loop.post(live);
  loop.run();
  living.join();
  return gaps;
}

// ---- What we measure ----

struct World {
  EventLoop loop{system_clock};
  EventBus bus{system_clock};
  OutputStore output{loop, bus};
  ServiceRegistry registry;
  ThreadExecutor executor{{.loop = loop, .bus = bus, .output = output, .native = &registry}};

  World() {
    registry.add("crashing", new_service<Crashing>);
    registry.add("idle", new_service<Idle>);
  }
};

class Relauncher final : public RunObserver {
 public:
  Relauncher(ThreadExecutor& executor, std::shared_ptr<const ServiceSpec> spec)
      : executor_(executor), spec_(std::move(spec)) {}
  void launch() {
    Launch launch;
    launch.run = RunId{++last_};
    launch.path = launch.id = "bench";
    launch.service = spec_;
    if (executor_.launch(launch, *this).state == LaunchOutcome::State::failed) std::abort();
  }
  void on_ready(RunId) override {}
  void on_exited(RunId, ExitReason) override { launch(); }

 private:
  ThreadExecutor& executor_;
  const std::shared_ptr<const ServiceSpec> spec_;
  std::uint64_t last_ = 0;
};

Gaps executor(std::size_t count) {
  Gaps gaps(count);
  World world;
  measured = &gaps;
  measuring = &world.loop;
  Relauncher relauncher(world.executor, native("crashing"));
  world.loop.post([&] { relauncher.launch(); });
  world.loop.run();
  return gaps;
}

std::size_t resident() {
  std::size_t pages = 0;
  if (std::FILE* file = std::fopen("/proc/self/statm", "re")) {
    if (std::fscanf(file, "%*u %zu", &pages) != 1) pages = 0;
    std::fclose(file);
  }
  return pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

// A tree of one supervisor and its children.
class Tree {
 public:
  Tree(World& world, const char* service, std::size_t count) : world_(world) {
    executors_.add("thread", world.executor);
    auto root = std::make_shared<SupervisorSpec>();
    root->max_restarts = 1'000'000'000;
    const std::shared_ptr<const ServiceSpec> spec = native(service);
    for (std::size_t i = 0; i < count; ++i) {
      ChildSpec child;
      child.id = "w" + std::to_string(i);
      child.service = spec;
      child.executor = "thread";
      root->children.push_back(std::move(child));
    }
    tree_ = std::make_unique<SupervisionTree>(
        SupervisionWorld{system_clock, world.loop, random_, world.bus, executors_, runs_}, root);
  }
  void start(std::function<void()> on_started) {
    const Status fine = tree_->start([on_started](const Status&) { on_started(); },
                                     [this](const ExitReason&) { world_.loop.stop(); });
    if (!fine) std::abort();
  }
  void stop() {
    world_.loop.post([this] { tree_->stop(ExitReason::shutdown()); });
    world_.loop.run();
  }

 private:
  World& world_;
  Random random_{1};
  Executors executors_;
  RunIds runs_;
  std::unique_ptr<SupervisionTree> tree_;
};

struct Supervised {
  Gaps gaps;
  std::int64_t grown;  // Bytes, over the second half of the restarts.
};

Supervised supervised(std::size_t count) {
  World world;
  std::size_t events = 0;
  const Subscription watch =
      world.bus.subscribe(EventKinds::all(), [&](const Event&) { ++events; });
  Tree tree(world, "crashing", 1);
  measuring = &world.loop;
  Gaps first(count);
  measured = &first;
  tree.start([] {});
  world.loop.run();
  const auto half = static_cast<std::int64_t>(resident());
  tree.stop();

  World second_world;
  Gaps second(count);
  measured = &second;
  measuring = &second_world.loop;
  Tree again(second_world, "crashing", 1);
  again.start([] {});
  second_world.loop.run();
  const auto end = static_cast<std::int64_t>(resident());
  again.stop();
  return {std::move(first), end - half};
}

// Resident bytes of an idle service, its thread's stack included.
double idle_bytes(std::size_t count) {
  World world;
  Tree tree(world, "idle", count);
  const std::size_t before = resident();
  tree.start([&] { world.loop.stop(); });
  world.loop.run();
  static_cast<void>(CancellationToken().wait(std::chrono::seconds{1}));  // Until all wait.
  const std::size_t after = resident();
  tree.stop();
  return static_cast<double>(after - before) / static_cast<double>(count);
}

// The same of bare threads that wait.
double bare_idle_bytes(std::size_t count) {
  CancellationSource source;
  std::vector<std::thread> threads;
  threads.reserve(count);
  const std::size_t before = resident();
  for (std::size_t i = 0; i < count; ++i) {
    threads.emplace_back([token = source.token()] {
      while (!token.wait(std::chrono::hours{1})) {
      }
    });
  }
  static_cast<void>(CancellationToken().wait(std::chrono::seconds{1}));
  const std::size_t after = resident();
  source.request_cancellation();
  for (std::thread& thread : threads) thread.join();
  return static_cast<double>(after - before) / static_cast<double>(count);
}

void print(const char* name, Gaps& gaps) {
  std::printf("\"%s_p50_us\": %.1f, \"%s_p99_us\": %.1f, ", name, gaps.microseconds(0.5), name,
              gaps.microseconds(0.99));
}

}  // namespace

int main(int argc, char** argv) {
  const std::size_t restarts = argc > 1 ? std::stoul(argv[1]) : 5'000;
  const std::size_t services = argc > 2 ? std::stoul(argv[2]) : 500;
  const double bare_idle = bare_idle_bytes(services);
  const double idle = idle_bytes(services);
  Gaps a = bare(restarts);
  Gaps b = told(restarts);
  Gaps c = executor(restarts);
  Supervised d = supervised(restarts);
  std::printf("{\"restarts\": %zu, \"services\": %zu, ", restarts, services);
  print("bare", a);
  print("told", b);
  print("executor", c);
  print("supervised", d.gaps);
  std::printf("\"grown_bytes\": %lld, \"idle_bytes\": %.0f, \"bare_idle_bytes\": %.0f}\n",
              static_cast<long long>(d.grown), idle, bare_idle);
  return 0;
}
