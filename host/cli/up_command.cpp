#include "host/cli/up_command.h"

#include <fmt/format.h>

#include <csignal>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "executors/service_factory.h"
#include "framework/clock.h"
#include "framework/event_loop.h"
#include "host/cli/event_printer.h"
#include "host/cli/python_door.h"
#include "host/cli/run_summary.h"
#include "host/config/load_config.h"
#include "host/host.h"
#include "host/spare_memory.h"

namespace unirun {
namespace {

// Its numbers are those of ExitCode; this is where the two lists meet.
constexpr ExitCode exit_code_for(HostExit exit) {
  switch (exit) {
    case HostExit::done: return ExitCode::done;
    case HostExit::gave_up: return ExitCode::failure;
    case HostExit::required_service_failed: return ExitCode::service_failed;
  }
  return ExitCode::failure;
}

ExitCode refuse(const std::vector<ConfigFault>& faults, const UpOptions& options,
                const Console& console) {
  if (options.as_json) {
    console.out << nlohmann::json{{"faults", to_json(faults)}}.dump() << std::endl;
  }
  console.error << describe(faults, options.config);
  return ExitCode::invalid_configuration;
}

void show_summary(const RunSummary& summary, const UpOptions& options, const Console& console) {
  if (options.as_json) {
    console.out << summary.to_json().dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)
                << std::endl;
  } else {
    console.out << '\n' << summary.render(console.out_style) << std::flush;
  }
}

// ProcessExecutor takes it by a descriptor: no thread may take it away.
void block_child_signal() {
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  ::pthread_sigmask(SIG_BLOCK, &child, nullptr);
}

ExitCode run_host(HostConfig config, const UpOptions& options, const Console& console,
                  const CommandDoor& door) {
  // Before the first thread is made; a Python service's own children would inherit it.
  if (door.python_services == nullptr) block_child_signal();
  const SystemClock clock;
  EventLoop loop(clock);
  const Severity least = config.log_level;
  HostOptions host_options;
  host_options.handle_signals = true;
  host_options.owns_process = true;
  host_options.python_services = door.python_services;
  // A Python service may start processes of its own, whose ends are its own affair.
  host_options.sole_parent = door.python_services == nullptr;
  host_options.journal = config.journal_file.has_value();
  Host host(std::move(config), loop, host_options);

  RunSummary summary;
  const Subscription counting = host.events().subscribe(
      EventKinds::all(), [&](const Event& event) { summary.add(event); }, "the summary");
  SpareMemory spare_memory(loop, host.events());
  EventPrinter printer(host.events(), console.out, {options.as_json, least, console.out_style});

  if (const Status started = host.start(); !started) {
    printer.finish();
    return console.fail(started.error());
  }
  std::optional<HostExit> exit;
  Status tried;
  host.on_started([&](const Status& status) {
    tried = status;
    spare_memory.release_soon();
  });
  host.on_ended([&](HostExit ended) {
    exit = ended;
    loop.stop();
  });
  TimerId limit = TimerId::none;
  if (options.run_for) {
    limit = loop.start_timer(clock.now() + *options.run_for, [&] {
      host.request_stop(fmt::format("--for {} is over", format_duration(*options.run_for)));
    });
  }
  loop.run();
  if (door.python_services != nullptr) door.python_services->leave(loop);
  loop.cancel_timer(limit);
  printer.finish();
  show_summary(summary, options, console);
  if (!tried) {
    const char* const what = exit == HostExit::done ? "stopped before every service had started: "
                                                    : "a required service could not start: ";
    console.fail(exit_code_of(tried.error().code), what + tried.error().message);
  }
  return exit_code_for(exit.value_or(HostExit::gave_up));
}

}  // namespace

ExitCode up_command(const UpOptions& options, const Console& console, const CommandDoor& door) {
  // Whoever reads the log may leave; that ends the log, not the services.
  std::signal(SIGPIPE, SIG_IGN);
  // A file that may not grow is an error to be handled, not an end.
  std::signal(SIGXFSZ, SIG_IGN);
  keep_heap_small();
  LoadOptions load;
  load.check_python = !door.targets_are_checked;
  load.python_in_host = true;
  load.python = door.python;
  LoadOutcome outcome = load_config(options.config, load);
  if (!outcome.ok()) return refuse(outcome.faults, options, console);
  if (door.python_services == nullptr && has_python_inside(outcome.config->root)) {
    return console.fail(go_on_in_python(*outcome.config, options.words));
  }
  return run_host(std::move(*outcome.config), options, console, door);
}

}  // namespace unirun
