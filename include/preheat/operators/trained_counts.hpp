// How many matrices and entries the adapters of an operator train.
#pragma once
#include "../core/complete.hpp"

namespace preheat {

// By role, in an otherwise empty context.
template <class AdaptedLayers>
[[gnu::cold]] step_context trained_counts(const AdaptedLayers& layers) {
  step_context counts{};
  for (const auto& s : layers) {
    if (s.attached) {
      for_each_trained(
          [&](auto parameter, const auto& x) {
            counts.matrices[int(parameter.role)] += x.rows() * x.cols() > 0;
            counts.entries[int(parameter.role)] += x.rows() * x.cols();
          },
          s.parameters);
    }
  }
  return counts;
}

}  // namespace preheat
