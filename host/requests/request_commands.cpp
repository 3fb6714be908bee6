// The requests that change the tree, or end it.

#include <algorithm>
#include <utility>

#include "host/requests/gathered_reply.h"
#include "host/requests/request_arguments.h"
#include "host/requests/request_handler.h"

namespace unirun {

using nlohmann::json;

namespace {

// Answers a command of the tree with the child that it was about.
SupervisionTree::Reply with_handle(HostHandle::Reply reply) {
  return [reply = std::move(reply)](Result<ChildSnapshot> child) {
    if (!child) return reply(child.error());
    reply(handle_json(*child));
  };
}

}  // namespace

void RequestHandler::on_each(const json& arguments, Reply reply, const Command& command) {
  const auto children = names_.resolve(RequestArguments(arguments).text("path"));
  if (!children) return reply(children.error());
  const auto gathered =
      std::make_shared<GatheredReply>(std::move(reply), json{{"services", json::array()}});
  for (const ChildSnapshot& child : *children) {
    gathered->expect();
    command(split_path(child.path).first, child.id,
            [this, gathered, path = child.path](Result<ChildSnapshot> result) {
              if (result) {
                gathered->succeed()["services"].push_back(to_json(*result));
              } else {
                gathered->fail({result.error().code, path + ": " + result.error().message});
              }
            });
  }
}

// Idempotent: what runs is fine, and what waits for its restart need not wait any longer.
void RequestHandler::start(const json& arguments, Reply reply) {
  on_each(
      arguments, std::move(reply),
      [this](const std::string& supervisor, const std::string& id, SupervisionTree::Reply done) {
        scope_.tree.restart_child(supervisor, id,
                                  [this, supervisor, id, done](Result<ChildSnapshot> result) {
                                    if (!result && result.error().code == Errc::running) {
                                      return done(scope_.tree.which_child(supervisor, id));
                                    }
                                    if (!result && result.error().code == Errc::restarting) {
                                      return scope_.tree.restart(supervisor, id, done);
                                    }
                                    done(std::move(result));
                                  });
      });
}

void RequestHandler::stop(const json& arguments, Reply reply) {
  on_each(
      arguments, std::move(reply),
      [this](const std::string& supervisor, const std::string& id, SupervisionTree::Reply done) {
        scope_.tree.terminate_child(supervisor, id, std::move(done));
      });
}

void RequestHandler::restart(const json& arguments, Reply reply) {
  on_each(
      arguments, std::move(reply),
      [this](const std::string& supervisor, const std::string& id, SupervisionTree::Reply done) {
        scope_.tree.restart(supervisor, id, std::move(done));
      });
}

void RequestHandler::kill(const json& arguments, Reply reply) {
  on_each(
      arguments, std::move(reply),
      [this](const std::string& supervisor, const std::string& id, SupervisionTree::Reply done) {
        scope_.tree.kill(supervisor, id, std::move(done));
      });
}

void RequestHandler::scale(const json& arguments, Reply reply) {
  const RequestArguments given(arguments);
  const std::string path = given.text("path");
  ServiceGroup* scaled = names_.find(path);
  if (!scaled) {
    if (!scope_.tree.find(path)) return reply(names_.unknown(path));
    return reply(
        Error{Errc::invalid_argument, "\"" + path +
                                          "\" is a single service; only one that was written with "
                                          "\"instances\" can be scaled"});
  }
  if (!given.has("instances")) {
    return reply(Error{Errc::invalid_argument, "how many? Give instances"});
  }
  const Result<std::uint64_t> wanted = given.number("instances", 0, most_instances);
  if (!wanted) return reply(wanted.error());

  const unsigned before = scaled->instances;
  scaled->instances = static_cast<unsigned>(*wanted);
  const ServiceGroup group = *scaled;
  const auto gathered = std::make_shared<GatheredReply>(
      [this, reply, path, alive = std::weak_ptr<bool>(alive_)](Result<json> done) {
        if (!done || !alive.lock()) return reply(std::move(done));
        on_each(json{{"path", path}}, reply,
                [this](const std::string& supervisor, const std::string& id,
                       const SupervisionTree::Reply& tell) {
                  tell(scope_.tree.which_child(supervisor, id));
                });
      },
      json::object());
  const auto note = [gathered](const Result<ChildSnapshot>& result, Errc fine) {
    if (result || result.error().code == fine) {
      gathered->succeed();
    } else {
      gathered->fail(result.error());
    }
  };
  for (unsigned instance = before + 1; instance <= group.instances; ++instance) {
    gathered->expect();
    scope_.tree.start_child(
        group.supervisor, instance_of(group, instance),
        [note](Result<ChildSnapshot> result) { note(result, Errc::already_started); });
  }
  for (unsigned instance = before; instance > group.instances; --instance) {
    const std::string id = instance_of(group, instance).id;
    gathered->expect();
    scope_.tree.terminate_child(
        group.supervisor, id, [this, note, group, id](Result<ChildSnapshot> stopped) {
          if (!stopped) return note(stopped, Errc::not_found);
          scope_.tree.delete_child(group.supervisor, id, [note](Result<ChildSnapshot> deleted) {
            note(deleted, Errc::not_found);
          });
        });
  }
}

void RequestHandler::start_child(const json& arguments, Reply reply) {
  const std::string supervisor = RequestArguments(arguments).text("path");
  if (arguments.contains("arguments") && arguments["arguments"].is_array()) {
    return scope_.tree.start_child(supervisor, arguments["arguments"].get<std::vector<json>>(),
                                   with_handle(std::move(reply)));
  }
  if (!arguments.contains("child")) {
    return reply(Error{Errc::invalid_argument,
                       "give a child (as in a configuration), or arguments (a list) where the "
                       "supervisor is simple_one_for_one"});
  }
  // Reading a spec looks at files, which the loop must not wait for.
  auto parsed = std::make_shared<ChildOutcome>();
  LoadOptions options;
  options.python_in_host = scope_.python_in_host;
  scope_.loop.run_blocking(
      [parsed, child = arguments["child"], supervisor, config = scope_.config, options] {
        *parsed = child_from_json(child, supervisor, *config, options);
      },
      [this, parsed, supervisor, reply = std::move(reply), alive = std::weak_ptr<bool>(alive_)] {
        if (alive.lock()) start_parsed(supervisor, *parsed, reply);
      });
}

void RequestHandler::start_parsed(const std::string& supervisor, const ChildOutcome& parsed,
                                  Reply reply) {
  if (!parsed.ok()) {
    return reply(Error{Errc::invalid_child_spec, describe(parsed.faults, "child")});
  }
  for (const ServiceGroup& added : parsed.groups) names_.add(added);
  // Groups further down, in a supervisor that joins, do not make many of the one that was asked
  // for.
  const bool many =
      std::any_of(parsed.groups.begin(), parsed.groups.end(),
                  [&](const ServiceGroup& added) { return added.supervisor == supervisor; });
  if (!many) {
    return scope_.tree.start_child(supervisor, parsed.children.front(),
                                   with_handle(std::move(reply)));
  }
  const auto gathered =
      std::make_shared<GatheredReply>(std::move(reply), json{{"children", json::array()}});
  for (std::size_t number = 0; number < parsed.children.size(); ++number) {
    gathered->expect();
    const ChildSpec& child = parsed.children[number];
    scope_.tree.start_child(supervisor, child, [gathered, number](Result<ChildSnapshot> result) {
      if (result) {
        gathered->succeed()["children"][number] = handle_json(*result);
      } else {
        gathered->fail(result.error());
      }
    });
  }
}

void RequestHandler::terminate_child(const json& arguments, Reply reply) {
  const RequestArguments given(arguments);
  const Result<ChildRef> child = given.child();
  if (!child) return reply(child.error());
  scope_.tree.terminate_child(given.text("path"), *child, with_handle(std::move(reply)));
}

void RequestHandler::restart_child(const json& arguments, Reply reply) {
  const RequestArguments given(arguments);
  const Result<ChildRef> child = given.child();
  if (!child) return reply(child.error());
  scope_.tree.restart_child(given.text("path"), *child, with_handle(std::move(reply)));
}

void RequestHandler::delete_child(const json& arguments, Reply reply) {
  const RequestArguments given(arguments);
  const Result<ChildRef> child = given.child();
  if (!child) return reply(child.error());
  scope_.tree.delete_child(given.text("path"), *child, with_handle(std::move(reply)));
}

void RequestHandler::shutdown(const json& arguments, Reply reply) {
  const bool now = RequestArguments(arguments).flag("now");
  reply(json::object());
  scope_.shut_down("unirun shutdown");
  if (now) scope_.shut_down("unirun shutdown --now");
}

}  // namespace unirun
