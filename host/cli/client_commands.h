// The commands that speak to a running host, through its control socket and nothing else.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "host/cli/console.h"
#include "host/control/control_client.h"

namespace unirun {

class ClientCommands {
 public:
  ClientCommands(ControlClient client, bool as_json, Console console)
      : client_(std::move(client)), as_json_(as_json), console_(console) {}

  [[nodiscard]] ExitCode status();
  [[nodiscard]] ExitCode tree();

  struct EventQuery {
    bool follow = false;
    std::uint64_t count = 20;  // The latest so many of the past.
    std::string path;          // That of a service or supervisor, and what is below it.
    std::vector<std::string> kinds;
  };
  [[nodiscard]] ExitCode events(const EventQuery& query);

  [[nodiscard]] ExitCode logs(const std::string& service, bool follow, std::uint64_t count);
  [[nodiscard]] ExitCode why(const std::string& service, std::uint64_t count);

  // `verb` is "start", "stop", "restart" or "kill".
  [[nodiscard]] ExitCode command(const std::string& verb, const std::string& service);
  [[nodiscard]] ExitCode scale(const std::string& service, unsigned instances);

  // `now`: without waiting for anyone.
  [[nodiscard]] ExitCode shutdown(bool now);

 private:
  using Render = std::string (*)(const nlohmann::json&, const TextStyle&);

  [[nodiscard]] ExitCode show(const Result<nlohmann::json>& answer, Render render) const;

  ControlClient client_;
  bool as_json_;
  Console console_;
};

}  // namespace unirun
