// A program that supervises its own Python contexts: each account is a service on a thread, has a
// context of its own, and when its Python code fails it is started anew, as any child of a
// supervisor's is.
//
// usage: supervised ACCOUNT.PY [SECONDS]
#include <Python.h>
// Python.h first.

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>

#include "unirun/executors/native/service_registry.h"
#include "unirun/executors/output/output_store.h"
#include "unirun/executors/python/python_executor.h"
#include "unirun/executors/thread/thread_executor.h"
#include "unirun/framework/event_bus.h"
#include "unirun/framework/event_loop.h"
#include "unirun/framework/random.h"
#include "unirun/supervisors/supervision_tree.h"

using namespace unirun;
using python::PythonExecutor;
using namespace std::chrono_literals;

namespace {

std::string code;  // Of every account: each runs it in a context of its own.

class Account final : public Service {
  void run(ServiceContext& context) override {
    auto account = PythonExecutor::bind({.name = context.id(), .preload = code});
    if (!account.ok()) throw std::runtime_error(account.error().message);
    context.ready();
    while (!context.cancellation().wait(20ms)) {
      const auto balance = account->call("__main__", "step");
      if (!balance.ok())
        throw std::runtime_error(balance.error().type + ": " + balance.error().message);
      context.count("steps", 1);
    }
  }
};
UNIRUN_REGISTER_SERVICE(Account, "account")

ChildSpec account(const std::string& name) {
  ServiceSpec service;
  service.target = NativeTarget{"account"};
  ChildSpec child;
  child.id = name;
  child.executor = "thread";
  child.service = std::make_shared<const ServiceSpec>(service);
  return child;
}

// Until it has lived for so long. How often an account was started, or nothing: it did not start.
unsigned supervise(Duration time) {
  const SystemClock clock;
  EventLoop loop(clock);
  EventBus bus(clock);
  OutputStore output(loop, bus);
  ThreadExecutor threads({loop, bus, output, &ServiceRegistry::of_program()});
  Executors executors;
  executors.add("thread", threads);
  Random random(1);
  RunIds runs;

  SupervisorSpec spec;
  spec.max_restarts = 1000;
  for (const char* const name : {"ada", "grace", "edsger"}) spec.children.push_back(account(name));

  unsigned starts = 0;
  const Subscription telling = bus.subscribe(
      EventKinds(EventKind::service_started) | EventKind::service_exited, [&](const Event& event) {
        if (event.kind() == EventKind::service_started) ++starts;
        std::printf("%-7s %s\n", event.path.c_str(), describe(event).c_str());
      });
  SupervisionTree tree(SupervisionWorld{clock, loop, random, bus, executors, runs},
                       std::make_shared<const SupervisorSpec>(spec));
  TimerId end{};
  const Status started = tree.start(
      [&](const Status&) { end = loop.start_timer(clock.now() + time, [&] { tree.stop(); }); },
      [&](const ExitReason&) { loop.stop(); });
  if (started) loop.run();
  return starts;
}

}  // namespace

int main(int count, char** arguments) {
  std::ifstream file(count > 1 ? arguments[1] : "");
  if (!file) {
    std::fprintf(stderr, "usage: supervised ACCOUNT.PY [SECONDS]\n");
    return 2;
  }
  code.assign(std::istreambuf_iterator<char>(file), {});
  if (PythonExecutor::initialize({.num_workers = 2}) != 0) return 1;
  const double seconds = count > 2 ? std::atof(arguments[2]) : 3.0;
  const unsigned starts =
      supervise(std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds)));
  std::printf("%u lives of 3 accounts\n", starts);
  return PythonExecutor::shutdown() == 0 && PythonExecutor::finalize().ok() && starts >= 3 ? 0 : 1;
}
