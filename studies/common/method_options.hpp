// How methods are named on the command lines of the studies.
#pragma once
#include <algorithm>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

namespace studies::common {

inline constexpr int usage_status = 2;  // the exit status of a mistaken command line

// Whether all methods are asked for. Throws CLI::ValidationError for a name that is none of them.
template <class Entry>
bool asks_for_all(const std::vector<Entry>& known, const std::vector<std::string>& names) {
  std::string all;
  for (const Entry& m : known) {
    all += (all.empty() ? "" : ", ") + m.id;
  }
  for (const std::string& name : names) {
    const bool exists =
        std::any_of(known.begin(), known.end(), [&](const Entry& m) { return m.id == name; });
    if (!exists && name != "all") {
      throw CLI::ValidationError("--methods",
                                 fmt::format("no method '{}'; there are: all, {}", name, all));
    }
  }
  return std::count(names.begin(), names.end(), "all") > 0;
}

// Whether a method is asked for by its name, or by default because none is named.
template <class Entry>
bool is_wanted(const Entry& m, const std::vector<std::string>& names) {
  return names.empty() ? m.by_default : std::count(names.begin(), names.end(), m.id) > 0;
}

}  // namespace studies::common
