// oracle_trace plays the scripts of oracle.py against our supervisors and prints what happened, in
// the very words of otp.escript. Reads the script file that it is given; no clock, no process.

#include <cstdlib>
#include <fstream>
#include <initializer_list>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "tests/supervisors/world.h"

namespace unirun::testing {
namespace {

using Words = std::vector<std::string>;

Words words_of(const std::string& line) {
  std::istringstream in(line);
  Words words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

template <class Enum>
Enum named(const std::string& word, std::initializer_list<Enum> values) {
  for (const Enum value : values) {
    if (to_string(value) == word) return value;
  }
  std::cerr << "oracle_trace: unknown word " << word << '\n';
  std::exit(2);
}

Restart restart_of(const std::string& word) {
  return named(word, {Restart::permanent, Restart::transient, Restart::temporary});
}

ExitReason reason_of(const std::string& word) {
  if (word == "normal") return ExitReason::normal();
  if (word == "shutdown") return ExitReason::shutdown();
  return crash();
}

ChildSpec worker_spec(const std::string& id, const std::string& restart,
                      const std::string& significant) {
  ChildSpec spec = worker(id, restart_of(restart));
  spec.significant = significant == "1";
  return spec;
}

class Player {
 public:
  explicit Player(std::vector<Words> lines) : lines_(std::move(lines)) {}

  void play() {
    std::cout << "script " << lines_[0][1] << '\n';
    world_ = std::make_unique<World>(supervisor_spec("root", ""));
    world_->executor.script = [this](const Launch& launch) { return behave(launch); };
    world_->executor.on_touch = [this](const std::string& line) { touched(line); };
    std::size_t at = 1;
    for (; lines_[at][0] != "go"; ++at) {
      if (lines_[at][0] == "fail" || lines_[at][0] == "ignore") step(lines_[at]);
    }
    world_->start();
    if (world_->ended) {
      const std::string& why = world_->ended->detail;  // failed_to_start_child "b": ...
      const auto quote = why.find('"');
      std::cout << "failed " << why.substr(quote + 1, why.find('"', quote + 1) - quote - 1) << '\n';
      return;
    }
    for (++at; at < lines_.size() && !world_->ended; ++at) {
      std::cout << '>';
      for (const std::string& word : lines_[at]) std::cout << ' ' << word;
      std::cout << '\n';
      step(lines_[at]);
      world_->settle();
      if (world_->ended) {
        const bool normal = world_->ended->kind == ExitKind::normal;
        std::cout << "end "
                  << (normal                      ? "normal"
                      : world_->ended->is_clean() ? "shutdown"
                                                  : "abnormal")
                  << '\n';
      }
    }
  }

 private:
  SupervisorSpec supervisor_spec(const std::string& id, const std::string& path) {
    paths_[id] = path;
    SupervisorSpec spec;
    for (const Words& line : lines_) {
      if (line[0] == "sup" && line[1] == id) {
        spec.strategy =
            named(line[3], {RestartStrategy::one_for_one, RestartStrategy::one_for_all,
                            RestartStrategy::rest_for_one, RestartStrategy::simple_one_for_one});
        spec.max_restarts = std::stoull(line[4]);
        spec.auto_shutdown = named(line[5], {AutoShutdown::never, AutoShutdown::any_significant,
                                             AutoShutdown::all_significant});
        spec.period = 3600s;
      }
    }
    for (const Words& line : lines_) {
      if ((line[0] != "sup" && line[0] != "child") || line[2] != id) continue;
      if (line[0] == "child") {
        spec.children.push_back(worker_spec(line[1], line[3], line[4]));
      } else {
        ChildSpec child = supervisor(
            line[1], supervisor_spec(line[1], path.empty() ? line[1] : path + "/" + line[1]));
        child.restart = restart_of(line[6]);
        child.significant = line[7] == "1";
        spec.children.push_back(std::move(child));
      }
    }
    return spec;
  }

  // ---- The services ----

  Behaviour behave(const Launch& launch) {
    const auto& arguments = launch.service->arguments;
    const std::string name = arguments.empty() ? launch.id : arguments[0].get<std::string>();
    names_[launch.id] = name;
    Behaviour behaviour;
    const bool fails = take(fail_, name);
    const bool ignores = take(ignore_, name);
    if (fails) {
      behaviour.start = Behaviour::Start::fails;
    } else if (ignores) {
      behaviour.start = Behaviour::Start::ignores;
    } else {
      last_run_[name] = launch.run;
    }
    return behaviour;
  }

  static bool take(std::map<std::string, int>& left, const std::string& name) {
    const auto found = left.find(name);
    return found != left.end() && found->second-- > 0;
  }

  void touched(const std::string& line) {
    const Words words = words_of(line);
    if (words[0] == "ready" || words[0] == "exit") return;
    std::cout << words[0] << ' ' << names_[words[1]] << '\n';
  }

  // ---- The steps ----

  void step(const Words& words) {
    const std::string& verb = words[0];
    if (verb == "fail") {
      fail_[words[1]] = std::stoi(words[2]);
    } else if (verb == "ignore") {
      ignore_[words[1]] = std::stoi(words[2]);
    } else if (verb == "die") {
      const auto run = last_run_.find(words[1]);
      if (run == last_run_.end() || world_->executor.runs.count(run->second) == 0) {
        std::cout << "dead\n";
      } else {
        world_->executor.end(run->second, reason_of(words[2]));
      }
    } else if (verb == "shutdown") {
      world_->tree.stop(ExitReason::shutdown());
    } else {
      call(words);
    }
  }

  void call(const Words& words) {
    const std::string& verb = words[0];
    const std::string& path = paths_.at(words[1]);
    if (!world_->tree.snapshot_of(path)) {
      std::cout << "noproc\n";
      return;
    }
    if (verb == "which") return which(path);
    if (verb == "count") {
      const ChildCounts counts = *world_->tree.count_children(path);
      std::cout << "count " << counts.specs << ' ' << counts.active << ' ' << counts.supervisors
                << ' ' << counts.workers << '\n';
      return;
    }
    if (verb == "start_child") {
      return tell(world_->start_child(path, worker_spec(words[2], words[3], words[4])));
    }
    if (verb == "start_dynamic") return tell(world_->start_dynamic(path, {words[2]}));
    if (verb == "terminate") return tell(world_->terminate(path, words[2]));
    if (verb == "restart") return tell(world_->restart_child(path, words[2]));
    if (verb == "delete") return tell(world_->delete_child(path, words[2]));
    if (verb == "terminate_handle") {
      const auto run = last_run_.find(words[2]);
      if (run == last_run_.end()) {
        std::cout << "unknown\n";
        return;
      }
      return tell(world_->terminate(path, run->second));
    }
    std::cerr << "oracle_trace: unknown step " << verb << '\n';
    std::exit(2);
  }

  void which(const std::string& path) {
    const auto children = world_->tree.which_children(path);
    const bool dynamic =
        world_->tree.snapshot_of(path)->strategy == RestartStrategy::simple_one_for_one;
    std::cout << "which";
    if (dynamic && !children->empty()) {
      std::cout << ' ' << children->size() << " dynamic\n";
      return;
    }
    for (const ChildSnapshot& child : children.value()) {
      std::cout << ' ' << child.id << '='
                << (child.active()                             ? "up"
                    : child.state == ServiceState::backing_off ? "restarting"
                                                               : "none");
    }
    std::cout << '\n';
  }

  static void tell(const World::Asked& answer) { std::cout << "reply " << answer->code() << '\n'; }

  std::vector<Words> lines_;
  std::unique_ptr<World> world_;
  std::map<std::string, std::string> paths_;  // Of supervisors, by id.
  std::map<std::string, std::string> names_;  // Of workers, by the id that supervision gave them.
  std::map<std::string, RunId> last_run_;
  std::map<std::string, int> fail_;
  std::map<std::string, int> ignore_;
};

}  // namespace
}  // namespace unirun::testing

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: oracle_trace SCRIPTS\n";
    return 2;
  }
  std::ifstream in(argv[1]);
  if (!in) {
    std::cerr << "oracle_trace: cannot read " << argv[1] << '\n';
    return 2;
  }
  std::vector<std::vector<std::string>> script;
  for (std::string line; std::getline(in, line);) {
    auto words = unirun::testing::words_of(line);
    if (words.empty()) continue;
    if (words[0] == "end") {
      unirun::testing::Player(std::move(script)).play();
      script.clear();
    } else {
      script.push_back(std::move(words));
    }
  }
  return 0;
}
