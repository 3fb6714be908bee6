// A C++ program of somebody else's: keeps a command alive that always fails, until its supervisor
// gives up. Ends with 0 if supervision did just that.

#include <cstdio>
#include <memory>

#include "unirun/executors/output/output_store.h"
#include "unirun/executors/process/process_executor.h"
#include "unirun/framework/event_bus.h"
#include "unirun/framework/event_loop.h"
#include "unirun/supervisors/supervision_tree.h"

using namespace unirun;

int main() {
  const SystemClock clock;
  EventLoop loop(clock);
  EventBus bus(clock);
  OutputStore output(loop, bus);
  ProcessExecutor processes(loop, bus, output);
  if (const Status status = processes.start(); !status) {
    std::fprintf(stderr, "%s\n", status.error().message.c_str());
    return 1;
  }

  ServiceSpec service;
  service.target = CommandTarget{{"false"}};
  ChildSpec child;
  child.id = "failing";
  child.service = std::make_shared<const ServiceSpec>(service);
  SupervisorSpec spec;
  spec.max_restarts = 3;
  spec.children.push_back(child);

  unsigned deaths = 0;
  const Subscription subscription =
      bus.subscribe(EventKind::service_exited, [&](const Event&) { ++deaths; });
  Executors executors;
  executors.add("process", processes);
  Random random(1);
  RunIds runs;
  SupervisionTree tree(SupervisionWorld{clock, loop, random, bus, executors, runs},
                       std::make_shared<const SupervisorSpec>(spec));
  const Status started =
      tree.start([](const Status&) {},
                 [&](const ExitReason& reason) {
                   std::printf("gave up after %u deaths: %s\n", deaths, reason.describe().c_str());
                   processes.drain([&] { loop.stop(); });
                 });
  if (!started) return 1;
  loop.run();
  return deaths == 4 ? 0 : 1;
}
