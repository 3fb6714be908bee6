// Do the things exist that a configuration names: programs, directories, users, groups? Better a
// fault before anything has started than a service that fails for ever.

#pragma once

#include <string>
#include <vector>

#include "host/config/internal/fault_list.h"
#include "host/config/internal/spec_reader.h"

namespace unirun {

void check_targets(const SpecReader& reader, FaultList& faults);

// Imports every Python target: one process per interpreter, each target in a fork of its own, so
// that it cannot disturb the others. Takes as long as the imports do, at most `timeout` each
// interpreter.
void check_python_targets(const SpecReader& reader, Duration timeout, FaultList& faults);

// The program that execvp would run with this PATH, relative paths seen from `cwd`; empty if none.
[[nodiscard]] std::string find_program(const std::string& name, const std::string& path,
                                       const std::string& cwd);

}  // namespace unirun
