// Kept runs by condition: what there is of one task, number of steps and rank, start by start, and how far
// every start is from tuned Kaiming.
#pragma once
#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "methods.hpp"
#include "studies/common/selection.hpp"

namespace studies::lm {

using common::estimate;
using common::run_group;
using common::run_record;

inline constexpr const char* full_method = "full";  // full fine-tuning's identifier

// A method in one condition, or a variant of one, whose identifier goes on with "_" (variants.hpp).
struct start_runs {
  method_entry method;
  std::string origin;  // the identifier of the method that it is a variant of, or its own
  start_variant variant{};
  run_group all{};     // at every rate
  run_group chosen{};  // at its best rate
  common::summary_row summary{};
  bool widely_run =
      true;  // not a variant, or one that stands for its method: it is in several conditions

  bool is_full() const { return method.id == full_method; }
};
// So many conditions.
inline constexpr std::size_t several_conditions = 3;

struct condition {
  std::string problem;
  int steps = 0;
  int rank = 0;
  std::string settings;  // that all its runs share
  std::vector<start_runs> starts{};

  // Null if there is none.
  const start_runs* find(const std::string& id) const;
  // What a variant is compared with: its method, or the variant that stands for it.
  const start_runs* usual_of(const start_runs& s) const;
  std::string title() const;  // "definitions, 32 steps, rank 4"
};

// The rates of a method that have at least half as many seeds as any of them, with their seeds.
std::map<double, std::set<int>> rates_with_seeds(const run_group& runs);

// Of the runs that differ in nothing but the machine, the build or what was measured besides, the first, with the
// measures that only a later one has.
std::vector<run_record> without_repeats(const std::vector<run_record>& runs);

// In the order of tasks, steps and ranks; methods in the order of `known`, variants after their method. Runs
// without a rank are in the conditions of all ranks. A method's best rate is that of the least validation loss, by
// the seeds that all its rates have; a rate with less than half as many seeds as another does not count. What only
// measured a start, and where a run was made, are no settings of a condition. `runs` must outlive the result.
std::vector<condition> conditions_of(const std::vector<run_record>& runs,
                                     const std::vector<method_entry>& known);

// What a number of a start at its best rate is above Kaiming's at its own, seed by seed; empty without either.
std::vector<double> above_kaiming(const condition& c, const start_runs& s,
                                  double (*number)(const run_record&));

// A comparison: a start, or another method, against tuned Kaiming.
struct comparison {
  const condition* where;
  const start_runs* who;
  estimate difference;  // of the test losses
  double p = 1;         // by a t-test over the seeds
  double adjusted = 1;  // by Holm, for all comparisons together
  bool excludes_zero() const;
  bool remains() const { return adjusted <= 0.05; }
};

// All of at least this many seeds, without full fine-tuning, whose distance is the room.
inline constexpr std::size_t least_compared_seeds = 3;
// `conditions` must outlive the result.
std::vector<comparison> comparisons_of(const std::vector<condition>& conditions);

double test_loss_of(const run_record& r);
double validation_loss_of(const run_record& r);

// The mean over all runs of a start that measured this; NaN without.
double mean_measure(const start_runs& s, const char* name);

// What tuned Kaiming's loss on test is above tuned full fine-tuning's; NaN without either.
estimate room_of(const condition& c);

// A start whose curvature was measured, and the rate predicted from Kaiming's: rate ∝ 1/λ.
struct predicted_rate {
  const start_runs* who;
  double curvature, predicted, tuned;
};
// Kaiming's is the first; empty without it.
std::vector<predicted_rate> predicted_rates(const condition& c);

}  // namespace studies::lm
