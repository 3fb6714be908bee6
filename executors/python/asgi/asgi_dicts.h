// Scopes and events of ASGI as the dicts that an application knows.
//
// Thread: with the GIL.

#pragma once

#include "executors/python/python.h"
// Python.h first.

#include <optional>

#include "executors/python/asgi/asgi_event.h"
#include "executors/python/asgi/asgi_scope.h"
#include "executors/python/asgi/asgi_words.h"

namespace unirun::python {

// Null, here and below: an exception is set; of what is no UTF-8, for example. `state` is that of
// the lifespan, of which a copy goes along; null: none.
[[nodiscard]] Reference scope_dict(const AsgiWords& words, const Scope& scope, PyObject* state);
[[nodiscard]] Reference lifespan_dict(const AsgiWords& words, PyObject* state);

[[nodiscard]] Reference event_dict(const AsgiWords& words, const AsgiEvent& event);

// What an application sends. Nothing: an exception is set, a TypeError or ValueError that names the
// event and the key.
[[nodiscard]] std::optional<AsgiEvent> event_of(const AsgiWords& words, PyObject* dict);

}  // namespace unirun::python
