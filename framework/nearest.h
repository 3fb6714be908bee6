// The known word that a wrong one was probably meant to be.

#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace unirun {

// The number of insertions, deletions, replacements and swaps of neighbours between the two.
[[nodiscard]] std::size_t edit_distance(std::string_view a, std::string_view b);

// The nearest of `known`, or "" if none is near: at most a third of the word may be wrong.
[[nodiscard]] std::string nearest(std::string_view word, const std::vector<std::string>& known);

}  // namespace unirun
