// Adapters that are put together to one: what they must have in common, and the terms s·w·B·A of every
// module. The numbers stay in the files.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "../convert/concatenate.hpp"
#include "reader.hpp"

namespace preheat::peft {

// One adapter's part in a module of the result. The weights are on A and on B.
struct term {
  const reader* adapter = nullptr;
  const adapter_layer* layer = nullptr;
  factor_weights weights{};
};

// Refuses two adapters whose layers cannot be put together.
inline void require_same_kind(const reader& a, const reader& b) {
  const auto require_equal = [&](bool equal, const std::string& what) {
    if (!equal) {
      throw invalid_argument(a.path().string() + " and " + b.path().string() + " differ in " +
                             what);
    }
  };
  require_equal(a.is_folder() == b.is_folder(), "kind: a PEFT folder and a kohya file");
}

// The terms of each module that any of the adapters has, each with its adapter's weight times s on A.
// Errors: a module that has other shapes in another adapter.
inline std::map<std::string, std::vector<term>> terms_by_module(
    const std::vector<reader>& adapters, const std::vector<double>& weights) {
  require(adapters.size() == weights.size(), "one weight per adapter", adapters.size(),
          weights.size());
  std::map<std::string, std::vector<term>> all;
  for (std::size_t i = 0; i < adapters.size(); ++i) {
    for (const adapter_layer& l : adapters[i].layers()) {
      std::vector<term>& terms = all[l.module];
      if (!terms.empty()) {
        const adapter_layer& first = *terms.front().layer;
        if (first.out != l.out || first.in != l.in || first.embedding != l.embedding) {
          throw invalid_argument("module " + l.module + ": " + std::to_string(first.out) + "×" +
                                 std::to_string(first.in) + " in " +
                                 terms.front().adapter->path().string() + ", " +
                                 std::to_string(l.out) + "×" + std::to_string(l.in) + " in " +
                                 adapters[i].path().string());
        }
      }
      terms.push_back({&adapters[i], &l, {weights[i] * l.scaling, 1}});
    }
  }
  return all;
}

}  // namespace preheat::peft
