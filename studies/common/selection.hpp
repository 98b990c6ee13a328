// The learning rate of a method, chosen on validation data, and what its runs then gave on test
// data.
//
// A *group* is all runs of one method at one rank on one shift. Its rate is the one with the
// smallest validation loss, averaged over bases and seeds. Test results never choose anything.
#pragma once
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "results.hpp"
#include "statistics.hpp"

namespace studies::common {

using run_group = std::vector<const run_record*>;

struct rate_choice {
  double rate = 0;
  double validation_loss = std::numeric_limits<double>::infinity();  // mean over the rate's runs
  bool at_edge = false;  // no tried rate on one of its sides: a better one may lie there
};

// The mean validation loss of each rate. A rate with a run that did not end with a finite loss
// counts as infinite: a rate that fails now and then is no rate to recommend.
inline std::map<double, double> validation_by_rate(const run_group& runs) {
  std::map<double, std::vector<double>> losses;
  for (const run_record* r : runs) {
    losses[r->rate].push_back(r->validation_loss);
  }
  std::map<double, double> by_rate;
  for (const auto& [rate, values] : losses) {
    const double average = mean(values);
    by_rate[rate] = std::isfinite(average) ? average : std::numeric_limits<double>::infinity();
  }
  return by_rate;
}

// The best rate; of equals the smallest. Nothing if every rate fails. A single rate has no edge.
inline std::optional<rate_choice> choose_rate(const run_group& runs) {
  const std::map<double, double> by_rate = validation_by_rate(runs);
  std::optional<rate_choice> best;
  for (const auto& [rate, loss] : by_rate) {
    if (std::isfinite(loss) && (!best || loss < best->validation_loss)) {
      best = rate_choice{rate, loss, false};
    }
  }
  if (best && by_rate.size() > 1) {
    best->at_edge = best->rate == by_rate.begin()->first || best->rate == by_rate.rbegin()->first;
  }
  return best;
}

// The number of two significant digits that is nearest: 0.3333 -> 0.33.
inline double two_digits(double value) {
  std::array<char, 32> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value,
                                 std::chars_format::scientific, 1);
  double rounded = value;
  std::from_chars(text.data(), end.ptr, rounded);
  return rounded;
}

// The rate to try next when the best one is at the edge of the grid: further on by the factor of
// the grid's last two rates, to two digits. Nothing when the best rate is inside, when there is no
// grid (fewer than two rates), or after `most` added rates.
inline std::optional<double> rate_to_add(const run_group& runs, int added, int most) {
  const std::optional<rate_choice> best = choose_rate(runs);
  if (!best || !best->at_edge || added >= most) {
    return {};
  }
  std::vector<double> rates;
  for (const auto& [rate, loss] : validation_by_rate(runs)) {
    rates.push_back(rate);
  }
  const std::size_t n = rates.size();
  const bool upwards = best->rate == rates.back();
  const double factor = upwards ? rates[n - 1] / rates[n - 2] : rates[0] / rates[1];
  return two_digits(best->rate * factor);
}

// --------------------------------------------------------------------------------------- summaries

// What a number of the chosen rate's runs is, one value per base: the mean over the base's seeds.
// Ordered by base.
template <class Number>
std::map<int, double> by_base(const run_group& runs, double rate, Number number) {
  std::map<int, std::vector<double>> values;
  for (const run_record* r : runs) {
    if (r->rate == rate) {
      values[r->base].push_back(number(*r));
    }
  }
  std::map<int, double> means;
  for (const auto& [base, all] : values) {
    means[base] = mean(all);
  }
  return means;
}

inline std::vector<double> values_of(const std::map<int, double>& by_key) {
  std::vector<double> values;
  for (const auto& [key_unused, value] : by_key) {
    values.push_back(value);
  }
  return values;
}

// How much a number of one method's runs is above another's, each at its own best rate: base by base,
// on the bases that both have. Empty if one of them has no rate.
template <class Number>
std::vector<double> paired_differences(const run_group& runs, const run_group& reference,
                                       Number number) {
  const std::optional<rate_choice> best = choose_rate(runs);
  const std::optional<rate_choice> other = choose_rate(reference);
  if (!best || !other) {
    return {};
  }
  const std::map<int, double> compared = by_base(reference, other->rate, number);
  std::vector<double> differences;
  for (const auto& [base, value] : by_base(runs, best->rate, number)) {
    const auto it = compared.find(base);
    if (it != compared.end()) {
      differences.push_back(value - it->second);
    }
  }
  return differences;
}
// Their mean with its interval; NaN if there are none.
template <class Number>
estimate paired_difference(const run_group& runs, const run_group& reference, Number number,
                           double confidence = 0.95) {
  return mean_with_interval(paired_differences(runs, reference, number), confidence);
}

// One row of a table. Intervals are t-intervals over bases: bases are what differs between two
// users, seeds within a base are averaged first.
struct summary_row {
  std::string shift;
  std::string method;  // identifier
  std::string name;
  int rank = 0;
  bool failed = false;  // no rate gave finite losses: no other number below has a meaning
  double rate = not_a_number;
  bool at_edge = false;
  int bases = 0;
  int runs = 0;  // at the chosen rate
  double validation_loss = not_a_number;
  estimate test_accuracy;
  estimate test_loss;
  estimate gain;  // test accuracy above the reference method's, base by base
  long trainable_parameters = 0;
  double seconds = not_a_number;  // mean over all runs of the group
};

// The gain compares with `reference`, the runs of another method, at its own best rate; on the
// bases that both have. Without reference it stays NaN. Throws nothing; `runs` must not be empty.
inline summary_row summarize(const run_group& runs, const run_group& reference = {}) {
  const run_record& first = *runs.front();
  summary_row row;
  row.shift = first.shift;
  row.method = first.method;
  row.name = first.name;
  row.rank = first.rank;
  row.trainable_parameters = first.trainable_parameters;
  std::vector<double> seconds;
  for (const run_record* r : runs) {
    seconds.push_back(r->seconds);
  }
  row.seconds = mean(seconds);

  const std::optional<rate_choice> best = choose_rate(runs);
  if (!best) {
    row.failed = true;
    return row;
  }
  row.rate = best->rate;
  row.at_edge = best->at_edge;
  row.validation_loss = best->validation_loss;
  row.runs = int(std::count_if(runs.begin(), runs.end(),
                               [&](const run_record* r) { return r->rate == best->rate; }));

  const auto accuracy = [](const run_record& r) { return r.test_accuracy; };
  const auto loss = [](const run_record& r) { return r.test_loss; };
  const std::map<int, double> accuracies = by_base(runs, best->rate, accuracy);
  row.bases = int(accuracies.size());
  row.test_accuracy = mean_with_interval(values_of(accuracies));
  row.test_loss = mean_with_interval(values_of(by_base(runs, best->rate, loss)));

  row.gain = paired_difference(runs, reference, accuracy);
  return row;
}

}  // namespace studies::common
