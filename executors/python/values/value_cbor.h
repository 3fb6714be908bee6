// A Value as bytes and back: CBOR (RFC 8949), in the order and with the kinds that it has.
//
// Thread: any.

#pragma once

#include <string>
#include <string_view>

#include "executors/python/error.h"
#include "executors/python/values/value.h"

namespace unirun::python {

// Errors: conversion, with the place: a Ref, or deeper than max_depth.
[[nodiscard]] Result<std::string> to_cbor(const Value& value);

// Reads what to_cbor() writes. Errors: conversion, with the offset, for all else: it reads no tag,
// no half precision and nothing of indefinite length.
[[nodiscard]] Result<Value> from_cbor(std::string_view bytes);

}  // namespace unirun::python
