#include "executors/python/asgi/asgi_words.h"

#include <algorithm>
#include <memory>
#include <string_view>

#include "executors/python/interpreter/kept_object.h"

namespace unirun::python {
namespace {

constexpr const char* words_capsule = "unirun.asgi";

constexpr std::array<std::string_view, static_cast<std::size_t>(AsgiWord::count)> key_names{
    "type",        "asgi",    "version",      "spec_version", "http_version", "method",
    "scheme",      "path",    "raw_path",     "query_string", "root_path",    "headers",
    "client",      "server",  "subprotocols", "extensions",   "state",        "body",
    "more_body",   "status",  "text",         "bytes",        "code",         "reason",
    "subprotocol", "message",
};

// Both are coroutine functions, as applications may ask of them. What take() and put() give is
// awaited until there is an event, or room for another.
constexpr const char* ends_code = R"(
def make_ends(take, put):
    async def receive():
        while type(event := take()) is not dict:
            await event
        return event

    async def send(event):
        if (room := put(event)) is not None:
            await room

    return receive, send
)";

void destroy_words(PyObject* capsule) {
  delete static_cast<AsgiWords*>(PyCapsule_GetPointer(capsule, words_capsule));
}

}  // namespace

bool AsgiWords::fill() {
  for (std::size_t at = 0; at < keys_.size(); ++at) keys_[at] = interned(key_names[at]);
  for (std::size_t at = 0; at < types_.size(); ++at)
    types_[at] = interned(to_string(static_cast<AsgiEvent::Type>(at)));
  const Reference names = Reference::steal(
      Py_BuildValue("{s:O,s:s}", "__builtins__", PyEval_GetBuiltins(), "__name__", "unirun.asgi"));
  if (!names || !Reference::steal(PyRun_String(ends_code, Py_file_input, names.get(), names.get())))
    return false;
  make_ends_ = Reference::borrow(PyDict_GetItemString(names.get(), "make_ends"));
  const auto is_there = [](const Reference& word) { return static_cast<bool>(word); };
  return std::ranges::all_of(keys_, is_there) && std::ranges::all_of(types_, is_there);
}

AsgiWords* AsgiWords::of_this_interpreter() {
  PyObject* const capsule = kept_object(words_capsule, [] {
    auto made = std::unique_ptr<AsgiWords>(new AsgiWords);
    Reference holder = Reference::steal(
        made->fill() ? PyCapsule_New(made.get(), words_capsule, destroy_words) : nullptr);
    if (holder) static_cast<void>(made.release());
    return holder;
  });
  if (capsule == nullptr) return nullptr;
  return static_cast<AsgiWords*>(PyCapsule_GetPointer(capsule, words_capsule));
}

AsgiWords* AsgiWords::current() {
  struct Last {
    std::int64_t interpreter_id = -1;  // Never given to another.
    AsgiWords* words = nullptr;
  };
  thread_local Last last;
  const std::int64_t id = PyInterpreterState_GetID(PyInterpreterState_Get());
  if (last.words == nullptr || last.interpreter_id != id) last = {id, of_this_interpreter()};
  return last.words;
}

std::optional<AsgiEvent::Type> AsgiWords::type_named(PyObject* name) const {
  constexpr auto first = static_cast<std::size_t>(AsgiEvent::Type::http_response_start);
  for (std::size_t at = first; at < types_.size(); ++at) {
    if (types_[at].get() == name) return static_cast<AsgiEvent::Type>(at);
  }
  for (std::size_t at = first; at < types_.size(); ++at) {
    if (PyUnicode_Compare(types_[at].get(), name) == 0) return static_cast<AsgiEvent::Type>(at);
  }
  return std::nullopt;
}

}  // namespace unirun::python
