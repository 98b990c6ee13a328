// Variants of the starts: the same method with all directions at another norm, or preheated at another rank
// or for other steps. A variant is a method of its own in tables and files: "hrp_x64_k4_n0.3".
#pragma once
#include <charconv>
#include <optional>
#include <string>
#include <string_view>
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

// "hrp_x64_k4_n0.3" of the method "hrp": the variant that it is. Nothing if it is none, "hrp" itself included.
inline std::optional<start_variant> variant_from(std::string_view id, std::string_view method) {
  if (!id.starts_with(method) || id.size() == method.size()) {
    return {};
  }
  start_variant v;
  for (std::string_view rest = id.substr(method.size()); !rest.empty();) {
    const std::string_view part = rest.substr(0, rest.find('_', 1));
    if (part.size() < 3 || part[0] != '_') {
      return {};
    }
    const char* const begin = part.data() + 2;
    const char* const end = part.data() + part.size();
    const auto read = [&](auto& number) {
      const auto result = std::from_chars(begin, end, number);
      return result.ec == std::errc() && result.ptr == end && number > 0;
    };
    const char kind = part[1];
    const bool good = kind == 'x'   ? read(v.preheat_multiple)
                      : kind == 'k' ? read(v.preheat_steps)
                      : kind == 'n' ? read(v.row_norm)
                                    : false;
    if (!good) {
      return {};
    }
    rest.remove_prefix(part.size());
  }
  return v;
}

}  // namespace studies::lm
