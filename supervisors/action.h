// Actions: what Supervision wants done, as values, in this order.
//
// Whoever carries them out does so at once, but keeps every Reply and Publish, in their order,
// until nothing else is left to do: a crashed service is launched again before anyone is told of
// the crash, and those who are told find it true.

#pragma once

#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "framework/event.h"
#include "framework/exit_reason.h"
#include "framework/result.h"
#include "framework/run_id.h"
#include "supervisors/command.h"
#include "supervisors/snapshot.h"

namespace unirun {

namespace action {
struct Launch {  // on_launched() follows, before any other news of this run.
  RunId run{};
  std::string id;
  std::shared_ptr<const ChildSpec> spec;
  std::shared_ptr<const Arguments> arguments;  // Null: none beside the spec's own.
};
struct RequestStop {
  RunId run{};
};
struct Kill {
  RunId run{};
};
struct Reply {
  CallId call{};
  Result<ChildSnapshot> outcome;
};
struct Publish {
  std::string id;  // The child's; empty: of the supervisor itself.
  EventPayload payload;
};
struct Started {};  // Every child of the initial start has been ready. At most once, before Ended.
struct Ended {      // Nothing runs any more. Once, and the last of all.
  ExitReason reason;
};
}  // namespace action

using Action = std::variant<action::Launch, action::RequestStop, action::Kill, action::Reply,
                            action::Publish, action::Started, action::Ended>;
using Actions = std::vector<Action>;

}  // namespace unirun
