// RequestHandler carries out the requests of host/requests/requests.h against a tree: the one place
// where a name and JSON arguments become a call, whichever door they came through.
//
// Thread: the loop's. Every request is answered exactly once; queries before handle() returns,
// unless they look into the journal.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include <nlohmann/json.hpp>

#include "executors/output/output_store.h"
#include "framework/event_bus.h"
#include "framework/event_loop.h"
#include "host/config/host_config.h"
#include "host/config/load_config.h"
#include "host/host_handle.h"
#include "host/journal/journal.h"
#include "host/metrics/metrics.h"
#include "host/requests/requests.h"
#include "host/requests/service_json.h"
#include "host/requests/service_names.h"
#include "supervisors/supervision_tree.h"

namespace unirun {

// What the requests are about. All outlive the handler.
struct RequestScope {
  EventLoop& loop;
  EventBus& events;
  SupervisionTree& tree;
  OutputStore& output;
  Journal& journal;
  Metrics& metrics;
  std::shared_ptr<const HostConfig> config;
  bool python_in_host = false;  // As in LoadOptions, for children that come later.
  std::function<nlohmann::json()> describe_host;  // The member "host" of status and tree.
  std::function<void(std::string cause)> shut_down;
};

class RequestHandler {
 public:
  using Reply = HostHandle::Reply;

  // The list behind requests().
  static const std::vector<RequestInfo>& infos();

  explicit RequestHandler(RequestScope scope);
  ~RequestHandler();
  RequestHandler(const RequestHandler&) = delete;
  RequestHandler& operator=(const RequestHandler&) = delete;

  void handle(Request request, Reply reply);

  // The answer to "tree", for the snapshot in a file too.
  [[nodiscard]] nlohmann::json tree_json() const;

 private:
  using Method = void (RequestHandler::*)(const nlohmann::json&, Reply);
  struct Entry;
  static const std::vector<Entry>& table();

  void version(const nlohmann::json& arguments, Reply reply);
  void status(const nlohmann::json& arguments, Reply reply);
  void tree(const nlohmann::json& arguments, Reply reply);
  void service(const nlohmann::json& arguments, Reply reply);
  void start(const nlohmann::json& arguments, Reply reply);
  void stop(const nlohmann::json& arguments, Reply reply);
  void restart(const nlohmann::json& arguments, Reply reply);
  void kill(const nlohmann::json& arguments, Reply reply);
  void scale(const nlohmann::json& arguments, Reply reply);
  void start_child(const nlohmann::json& arguments, Reply reply);
  void terminate_child(const nlohmann::json& arguments, Reply reply);
  void restart_child(const nlohmann::json& arguments, Reply reply);
  void delete_child(const nlohmann::json& arguments, Reply reply);
  void which_children(const nlohmann::json& arguments, Reply reply);
  void count_children(const nlohmann::json& arguments, Reply reply);
  void get_childspec(const nlohmann::json& arguments, Reply reply);
  void events(const nlohmann::json& arguments, Reply reply);
  void metrics(const nlohmann::json& arguments, Reply reply);
  void logs(const nlohmann::json& arguments, Reply reply);
  void why(const nlohmann::json& arguments, Reply reply);
  void shutdown(const nlohmann::json& arguments, Reply reply);

  void start_parsed(const std::string& supervisor, const ChildOutcome& parsed, Reply reply);
  [[nodiscard]] nlohmann::json to_json(const ChildSnapshot& child) const;
  void add_services(const TreeSnapshot& node, nlohmann::json& services) const;

  // Runs `command` on every child that `path` names and answers with all of them as they then are.
  using Command = std::function<void(const std::string& supervisor, const std::string& id,
                                     SupervisionTree::Reply)>;
  void on_each(const nlohmann::json& arguments, Reply reply, const Command& command);

  RequestScope scope_;
  ServiceNames names_;
  StatusTexts status_texts_;
  Subscription subscription_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace unirun
