#include "host/cli/render_answers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "framework/time.h"
#include "host/cli/render_table.h"

namespace unirun {
namespace {

using nlohmann::json;

// The value as text; "-" where there is none.
std::string text_of(const json& object, const char* key) {
  const auto member = object.find(key);
  if (!object.is_object() || member == object.end() || member->is_null()) return "-";
  return member->is_string() ? one_line(member->get_ref<const std::string&>()) : member->dump();
}

const json& member_of(const json& object, const char* key) {
  static const json nothing;
  if (!object.is_object()) return nothing;
  const auto member = object.find(key);
  return member == object.end() ? nothing : *member;
}

std::uint64_t number_of(const json& object, const char* key) {
  const json& value = member_of(object, key);
  return value.is_number_unsigned() ? value.get<std::uint64_t>() : 0;
}

std::string last_exit_of(const json& service) {
  const json& last = member_of(service, "last_exit");
  return last.is_object() ? text_of(last, "summary") : "-";
}

// What a state leaves open: how long until the next try, for whom it waits.
std::string state_of(const json& service) {
  std::string state = text_of(service, "state");
  const json& retry = member_of(service, "retry_in");
  if (retry.is_number()) state += fmt::format(" ({} left)", render_seconds(retry));
  const json& waiting = member_of(service, "waiting_for");
  if (waiting.is_array() && !waiting.empty()) {
    state += fmt::format(" (waits for {})", waiting[0].get<std::string>());
  }
  return state;
}

std::string plural(std::uint64_t count, std::string_view one, std::string_view many) {
  return fmt::format("{} {}", count, count == 1 ? one : many);
}

std::string host_line(const json& host, const TextStyle& style) {
  std::string line = "host " + paint(text_of(host, "name"), Colour::bold, style);
  if (member_of(host, "pid").is_number()) line += ", pid " + text_of(host, "pid");
  if (member_of(host, "uptime").is_number()) {
    line += ", up " + render_seconds(member_of(host, "uptime"));
  }
  if (member_of(host, "version").is_string()) line += ", unirun " + text_of(host, "version");
  if (const std::uint64_t abandoned = number_of(host, "abandoned_threads"); abandoned > 0) {
    line += ", " +
            paint(plural(abandoned, "abandoned thread", "abandoned threads"), Colour::red, style);
  }
  return line + '\n';
}

// How the tasks of its pools stand; "-" where it has none.
std::string tasks_of(const json& service) {
  const json& tasks = member_of(service, "tasks");
  if (!tasks.is_object()) return "-";
  std::string text;
  for (const char* how : {"running", "queued", "completed", "failed", "cancelled"}) {
    const std::uint64_t count = number_of(tasks, how);
    if (count > 0) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, how);
  }
  return text.empty() ? "none yet" : text;
}

bool lives_elsewhere(const json& service) {
  const json& executor = member_of(service, "executor");
  return executor.is_string() && executor != "process";
}

}  // namespace

std::string render_seconds(const json& seconds) {
  if (!seconds.is_number()) return "-";
  return describe_duration(Duration{std::llround(seconds.get<double>() * 1e9)});
}

Colour colour_of_state(std::string_view state) {
  if (state == "running" || state == "completed") return Colour::green;
  if (state == "failed") return Colour::red;
  if (state == "backing_off" || state == "starting" || state == "stopping") return Colour::yellow;
  return Colour::dim;
}

std::string render_services(const json& services, const TextStyle& style) {
  std::vector<TableColumn> columns{
      {"SERVICE", false, true}, {"STATE"},          {"PID", true},
      {"UPTIME", true},         {"RESTARTS", true}, {"LAST EXIT", false, true}};
  const json none = json::array();
  const json& listed = services.is_array() ? services : none;
  // Where all are processes, that goes without saying.
  const bool says_where = std::any_of(listed.begin(), listed.end(), lives_elsewhere);
  if (says_where) columns.insert(columns.begin() + 1, TableColumn{"EXECUTOR"});
  const bool with_tasks = std::any_of(listed.begin(), listed.end(), [](const json& service) {
    return member_of(service, "tasks").is_object();
  });
  if (with_tasks) columns.push_back({"TASKS", false, true});
  // What services say of themselves has a column where one of them says something.
  const bool with_words = std::any_of(listed.begin(), listed.end(), [](const json& service) {
    return member_of(service, "status").is_string();
  });
  if (with_words) columns.push_back({"SAYS", false, true});
  std::vector<TableRow> rows;
  for (const json& service : listed) {
    TableRow row{{text_of(service, "path")},
                 {state_of(service), colour_of_state(text_of(service, "state"))},
                 {text_of(service, "pid")},
                 {render_seconds(member_of(service, "uptime"))},
                 {text_of(service, "restarts")},
                 {last_exit_of(service)}};
    if (says_where) row.insert(row.begin() + 1, TableCell{text_of(service, "executor")});
    if (with_tasks) row.push_back({tasks_of(service)});
    if (with_words) row.push_back({text_of(service, "status")});
    rows.push_back(std::move(row));
  }
  return render_table(columns, rows, style);
}

std::string render_status(const json& answer, const TextStyle& style) {
  return host_line(member_of(answer, "host"), style) + '\n' +
         render_services(member_of(answer, "services"), style);
}

// ---- The tree ----

namespace {

struct Branches {
  std::string_view tee, corner, bar, space;
};
constexpr Branches drawn{"├─ ", "└─ ", "│  ", "   "};
constexpr Branches typed{"|- ", "`- ", "|  ", "   "};

std::string node_text(const json& node, const TextStyle& style) {
  const std::string state = text_of(node, "state");
  std::string line = paint(text_of(node, "id"), Colour::bold, style) + "  " +
                     paint(state_of(node), colour_of_state(state), style);
  if (member_of(node, "strategy").is_string()) line += "  " + text_of(node, "strategy");
  if (member_of(node, "probing") == true) line += "  probing";
  if (lives_elsewhere(node)) line += "  " + text_of(node, "executor");
  if (member_of(node, "pid").is_number()) line += "  pid " + text_of(node, "pid");
  if (number_of(node, "restarts") > 0) {
    line += "  " + plural(number_of(node, "restarts"), "restart", "restarts");
    const json& last = member_of(node, "last_exit");
    if (last.is_object()) line += ": " + text_of(last, "summary");
  }
  if (member_of(node, "status").is_string()) {
    line += "  " + paint(text_of(node, "status"), Colour::dim, style);
  }
  return line;
}

void draw(const json& nodes, const std::string& prefix, const TextStyle& style,
          std::string& drawing) {
  if (!nodes.is_array()) return;
  const Branches& branches = style.unicode ? drawn : typed;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const bool is_last = i + 1 == nodes.size();
    drawing += prefix + std::string(is_last ? branches.corner : branches.tee);
    // Colours take no columns, so a line is cut only where it has none.
    const std::string line = node_text(nodes[i], style);
    const std::size_t used = columns_of(prefix) + 3;
    const bool can_cut = !style.colour && style.width > used;
    drawing += (can_cut ? fit(line, style.width - used, style) : line) + '\n';
    draw(member_of(nodes[i], "children"),
         prefix + std::string(is_last ? branches.space : branches.bar), style, drawing);
  }
}

}  // namespace

std::string render_tree(const json& answer, const TextStyle& style) {
  std::string drawing = host_line(member_of(answer, "host"), style);
  draw(member_of(answer, "supervisors"), "", style, drawing);
  return drawing;
}

// ---- Why ----

namespace {

std::string indented(const std::string& text) {
  std::string result = "    ";
  for (const char c : text) {
    result += c;
    if (c == '\n') result += "    ";
  }
  while (!result.empty() && (result.back() == ' ' || result.back() == '\n')) result.pop_back();
  return result + '\n';
}

std::string listed(const json& words) {
  std::string text;
  for (const json& word : words) {
    if (!text.empty()) text += ", ";
    text += word.is_string() ? word.get<std::string>() : word.dump();
  }
  return text;
}

std::string size_text(std::uint64_t bytes) {
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20));
}

// One death, in the order in which one asks: what, when, why, and what was done.
std::string death_text(const json& death, const TextStyle& style) {
  const json& reason = member_of(death, "reason");
  std::string text = fmt::format(
      "{}  {}\n", paint(text_of(death, "time"), Colour::dim, style),
      paint(fmt::format("{} ended: {}", text_of(death, "path"), text_of(death, "summary")),
            Colour::red, style));
  const bool has_process = number_of(death, "pid") > 0;
  text +=
      fmt::format("  It had run for {}{} ({}run {}).\n", render_seconds(member_of(death, "uptime")),
                  member_of(death, "was_ready") == false ? " and was not ready yet" : "",
                  has_process ? "pid " + text_of(death, "pid") + ", " : "inside the host, ",
                  text_of(death, "run"));
  if (number_of(reason, "peak_rss") > 0) {
    text +=
        fmt::format("  It used {} of memory at most.\n", size_text(number_of(reason, "peak_rss")));
  }
  const json& exception = member_of(reason, "exception");
  if (member_of(exception, "traceback").is_string()) {
    text += "  Its traceback:\n" + indented(exception.at("traceback").get<std::string>());
  }
  if (member_of(reason, "stacks").is_string()) {
    text += "  Its threads' stacks:\n" + indented(reason.at("stacks").get<std::string>());
  }
  const json& lines = member_of(death, "last_lines");
  if (lines.is_array() && !lines.empty()) {
    text += "  Its last words:\n";
    for (const json& line : lines) {
      text +=
          indented(line.is_string() ? one_line(line.get_ref<const std::string&>()) : line.dump());
    }
  }
  if (const json& seen = member_of(death, "seen"); number_of(seen, "count") > 1) {
    text +=
        fmt::format("  This cause has been seen {} times since {}: {}.\n", number_of(seen, "count"),
                    text_of(seen, "since"), text_of(death, "fingerprint"));
  } else if (seen.is_object()) {
    text += fmt::format("  This cause is new: {}.\n", text_of(death, "fingerprint"));
  }
  if (text_of(death, "rule") != "-" && !text_of(death, "rule").empty()) {
    text += fmt::format("  The rule: {}.\n", text_of(death, "rule"));
  }
  if (text_of(death, "decision") != "-" && !text_of(death, "decision").empty()) {
    text += fmt::format("  So it was {}", text_of(death, "decision"));
    const json& delay = member_of(death, "delay");
    if (delay.is_number() && delay.get<double>() > 0) text += ", after " + render_seconds(delay);
    if (number_of(death, "restarts") > 0) {
      text +=
          fmt::format(" ({} so far)", plural(number_of(death, "restarts"), "restart", "restarts"));
    }
    text += ".\n";
  }
  const json& others = member_of(death, "also_stopped");
  if (others.is_array() && !others.empty()) {
    text += fmt::format("  With it went {}.\n", listed(others));
  }
  return text;
}

}  // namespace

std::string render_why(const json& answer, const TextStyle& style) {
  const json& deaths = member_of(answer, "deaths");
  const std::string path = text_of(answer, "path");
  const std::string who = path == "-" ? "This service" : path;
  if (!deaths.is_array() || deaths.empty()) {
    return fmt::format("{} has not died, as far as is known.\n", who);
  }
  std::string text;
  const json& storm = member_of(answer, "storm");
  if (storm.is_object()) {
    text += paint(fmt::format("The last {} deaths had the same cause, since {}: {}.",
                              text_of(storm, "count"), text_of(storm, "since"),
                              text_of(storm, "summary")),
                  Colour::yellow, style) +
            " Look at the cause, not at the service.\n\n";
  }
  for (std::size_t i = 0; i < deaths.size(); ++i) {
    text += (i > 0 ? "\n" : "") + death_text(deaths[i], style);
  }
  return text;
}

std::string render_log_line(const json& line, bool with_path, const TextStyle& style) {
  const json& raw = member_of(line, "text");
  const std::string text = raw.is_string() ? raw.get<std::string>() : "";
  const bool is_error = text_of(line, "stream") == "stderr";
  std::string prefix = text_of(line, "time");
  // The day and the zone say little in what scrolls by: 12:00:00.123 of 2026-03-01T12:00:00.123Z.
  if (prefix.size() == 24) prefix = prefix.substr(11, 12);
  prefix = paint(prefix, Colour::dim, style);
  if (with_path) {
    const std::string path = text_of(line, "path");
    prefix += "  " + paint(path, colour_of(path), style);
  }
  return fmt::format("{}  {}\n", prefix, is_error ? paint(text, Colour::yellow, style) : text);
}

}  // namespace unirun
