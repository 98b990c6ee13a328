// What several processes have to give: the run of one, up to the order in which gradients are added, with equal bits in
// all of them.
#pragma once
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "support/small_problem.hpp"

namespace comm_test {

using namespace preheat;
using conformance::problem;

// Every number that a run leaves: losses, parameters, base weights.
template <class Be, class Report>
std::vector<double> numbers(problem<Be>& p, const Report& report) {
  std::vector<double> all = report.losses;
  for (const evaluation& e : report.evaluations) {
    all.push_back(e.loss);
  }
  const auto add = [&](const mat<Be>& x) {
    const auto host = p.be.download(x);
    all.insert(all.end(), host.begin(), host.end());
  };
  for (const auto& l : report.layers) {
    for_each([&](auto, const auto& x) { add(x); }, l.parameters);
  }
  for (const auto& l : p.net.layers()) {
    add(l.W);
    add(l.b);
  }
  return all;
}

// The largest difference between two runs, against the largest number.
inline double gap(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double most = 0;
  double difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    most = std::max(most, std::abs(a[i]));
    difference = std::max(difference, std::abs(a[i] - b[i]));
  }
  return difference / most;
}

inline void require_same_bits(const process_group& processes, const std::vector<double>& x,
                              const std::string& what) {
  bit_hash hash;
  hash.add(std::span<const double>(x));
  processes.require_same(hash.value(), what);
}

// One process alone and all together, each on a problem of its own.
template <class Be, class Method, class... Validation>
void check_same(const process_group& processes, const Method& m, fit_options options,
                Validation... validation) {
  problem<Be> one;
  const auto alone = fit(m, one.net, one.batches, options, validation(one)...);
  options.processes = processes;
  problem<Be> shared;
  const auto together = fit(m, shared.net, shared.batches, options, validation(shared)...);

  CHECK(together.steps == alone.steps);
  CHECK(together.calibration_steps == alone.calibration_steps);
  CHECK(together.validation_passes == alone.validation_passes);
  REQUIRE(together.layers.size() == alone.layers.size());
  for (std::size_t l = 0; l < alone.layers.size(); ++l) {
    CHECK(together.layers[l].rank == alone.layers[l].rank);
  }
  CHECK(alone.losses.back() < alone.losses.front());
  const std::vector<double> result = numbers(shared, together);
  // Each of up to 40 steps adds the gradients in another order, which rounds them once more.
  const double limit = 64 * static_cast<double>(std::numeric_limits<scalar_of<Be>>::epsilon());
  CHECK(gap(numbers(one, alone), result) < limit);
  CHECK_NOTHROW(require_same_bits(processes, result, "result"));
}

}  // namespace comm_test
