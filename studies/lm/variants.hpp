// Variants of the starts: the same method with all directions at another norm, or preheated at another rank
// or for other steps. A variant is a method of its own in tables and files: "hrp_x64_k4_n0.3".
#pragma once
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "apps/console/text_table.hpp"
#include "methods.hpp"

namespace studies::lm {

// Which are asked for; an empty list leaves that setting as the method has it.
struct variant_lists {
  std::vector<double> row_norms;
  std::vector<int> preheat_multiples;  // R over the rank
  std::vector<int> preheat_steps;
};

namespace detail {

inline method_entry variant_of(const method_entry& m, const start_variant& v) {
  method_entry one = m;
  const auto add = [&](const std::string& id, const std::string& name) {
    one.id += "_" + id;
    one.name += ", " + name;
  };
  if (v.preheat_multiple > 0) {
    add(fmt::format("x{}", v.preheat_multiple), fmt::format("R = {} r", v.preheat_multiple));
  }
  if (v.preheat_steps > 0) {
    one.preheat_steps = v.preheat_steps;
    add(fmt::format("k{}", v.preheat_steps),
        fmt::format("{} {}", v.preheat_steps, v.preheat_steps == 1 ? "step" : "steps"));
  }
  if (v.row_norm > 0) {
    const std::string norm = apps::console::to_text(v.row_norm);
    add("n" + norm, "norm " + norm);
  }
  one.run = [run = m.run, v](const base_model& model, const data_set& set,
                             const training_settings& s, const run_definition& definition) {
    training_settings varied = s;
    varied.start = v;
    return run(model, set, varied, definition);
  };
  return one;
}

template <class Number>
std::vector<Number> or_own(const std::vector<Number>& asked, bool can) {
  return can && !asked.empty() ? asked : std::vector<Number>{0};
}

}  // namespace detail

// Every method in all variants that are asked for and that it can have; the others as they are.
inline std::vector<method_entry> with_variants(const std::vector<method_entry>& methods,
                                               const variant_lists& asked) {
  std::vector<method_entry> all;
  for (const method_entry& m : methods) {
    for (const int multiple : detail::or_own(asked.preheat_multiples, m.preheats)) {
      for (const int steps : detail::or_own(asked.preheat_steps, m.preheats)) {
        for (const double norm : detail::or_own(asked.row_norms, m.has_row_norm)) {
          const start_variant v{
              .row_norm = norm, .preheat_multiple = multiple, .preheat_steps = steps};
          all.push_back(v == start_variant{} ? m : detail::variant_of(m, v));
        }
      }
    }
  }
  return all;
}

}  // namespace studies::lm
