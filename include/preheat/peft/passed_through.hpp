// What goes with the layers of adapters that are put together with weights: tensors of modules_to_save and
// other whole tensors as they are, differences times the weights, a single adapter's DoRA magnitudes.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <map>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "adapter_plan.hpp"
#include "further_tensors.hpp"

namespace preheat::peft {

// Σ weight·tensor of the same name.
struct summed_tensor {
  std::string name;
  struct part {
    const safetensors::tensor_files* from = nullptr;
    double weight = 1;
  };
  std::vector<part> parts;
};

struct passed_tensors {
  std::vector<copied_tensor> copied;
  std::vector<summed_tensor> sums;
};

namespace detail {

// Whether all adapters have this tensor and their weights have the sum 1: equal ones stay as they are.
inline bool is_mean_of_equals(std::span<const reader> adapters, std::span<const double> weights,
                              const std::string& name) {
  constexpr double rounding = 1e-9;
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  return std::abs(sum - 1) < rounding &&
         std::all_of(adapters.begin(), adapters.end(),
                     [&](const reader& a) { return a.files().contains(name); });
}

}  // namespace detail

// A weight for what belongs to a module, beside its adapter's; 0 leaves it out.
using module_weight = std::function<double(const std::string& module)>;

// Errors: invalid_argument, naming the tensor: one that is not understood, empty or not finite; a whole one that
// a weight other than 1 would scale, but for equal ones whose weights have the sum 1; the same in two adapters
// with other contents.
inline passed_tensors passed_through(
    std::span<const reader> adapters, std::span<const double> weights,
    const module_weight& of_module = [](const std::string&) { return 1.0; }) {
  std::map<std::string, copied_tensor> whole;
  std::map<std::string, summed_tensor> sums;
  const auto keep = [&](const reader& a, const std::string& name, const std::string& as) {
    require_sound(a.files(), name);
    const auto [known, is_new] = whole.try_emplace(as, copied_tensor{&a.files(), name, as});
    const copied_tensor& first = known->second;
    const auto same = [&] {
      return std::ranges::equal(first.from->info(first.name).bytes, a.files().info(name).bytes) &&
             first.from->info(first.name).shape == a.files().info(name).shape;
    };
    if (!is_new && !same()) {
      throw invalid_argument("tensor " + files::in_quotes(name) + " is in " +
                             first.from->source().string() + " and, different, in " +
                             a.files().source().string());
    }
  };
  for (std::size_t i = 0; i < adapters.size(); ++i) {
    const reader& a = adapters[i];
    for (const std::string& name : a.others()) {
      const further_tensor t = understood(name);
      if (t.kind == further_kind::unknown) {
        refuse_unknown(a.files(), name);
      }
      const double own = of_module(t.target);
      if (own == 0) {
        continue;
      }
      const double weight = weights[i] * own;
      if (t.kind == further_kind::difference) {
        require_sound(a.files(), name);
        summed_tensor& sum = sums[t.canonical];
        if (!sum.parts.empty() &&
            sum.parts.front().from->info(sum.name).shape != a.files().info(name).shape) {
          throw invalid_argument("tensor " + files::in_quotes(name) + " has other shapes in " +
                                 sum.parts.front().from->source().string() + " and " +
                                 a.files().source().string());
        }
        sum.name = name;
        sum.parts.push_back({&a.files(), weight});
        continue;
      }
      if (weight != 1 && t.kind != further_kind::base_layer &&
          (own != 1 || !detail::is_mean_of_equals(adapters, weights, name))) {
        throw invalid_argument(a.files().source().string() + ": tensor " + files::in_quotes(name) +
                               " is no difference but takes the base's place; it cannot be "
                               "scaled by the weight " +
                               preheat::detail::shown_number(weight).text());
      }
      keep(a, name, t.canonical);
    }
    for (const adapter_layer& l : a.layers()) {
      if (const double own = of_module(l.module); !l.magnitude.empty() && own != 0) {
        if (weights[i] * own != 1) {
          throw invalid_argument(a.files().source().string() + ": module " + l.module +
                                 " is DoRA, which a weight cannot scale; the weight is " +
                                 preheat::detail::shown_number(weights[i] * own).text());
        }
        keep(a, l.magnitude, detail::without_adapter_name(l.magnitude, l.adapter));
      }
    }
  }
  passed_tensors passed;
  for (auto& [name, sum] : sums) {
    if (sum.parts.size() == 1 && sum.parts.front().weight == 1) {
      whole[name] = {sum.parts.front().from, sum.name, name};
    } else {
      passed.sums.push_back(std::move(sum));
    }
  }
  for (auto& [name, tensor] : whole) {
    passed.copied.push_back(std::move(tensor));
  }
  return passed;
}

// Those of one adapter with the weight 1.
inline std::vector<copied_tensor> passed_through(const reader& adapter) {
  const double one = 1;
  passed_tensors passed = passed_through(std::span(&adapter, 1), std::span(&one, 1));
  return std::move(passed.copied);
}

}  // namespace preheat::peft
