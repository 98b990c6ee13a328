// Kept runs by condition: what there is of one task, number of steps and rank, start by start, and how far
// every start is from tuned Kaiming.
#pragma once
#include <cstddef>
#include <string>
#include <vector>

#include "methods.hpp"
#include "studies/common/selection.hpp"

namespace studies::lm {

using common::estimate;
using common::run_group;
using common::run_record;

// A method in one condition, or a variant of one, whose identifier goes on with "_" (variants.hpp).
struct start_runs {
  method_entry method;
  std::string origin;  // the identifier of the method that it is a variant of, or its own
  start_variant variant{};
  run_group all{};     // at every rate
  run_group chosen{};  // at the rates that have the most seeds: these choose the best one
  common::summary_row summary{};

  bool is_variant() const { return origin != method.id; }
};

struct condition {
  std::string problem;
  int steps = 0;
  int rank = 0;
  std::string settings;  // that all its runs share
  std::vector<start_runs> starts{};

  // Null if there is none.
  const start_runs* find(const std::string& id) const;
  std::string title() const;  // "definitions, 32 steps, rank 4"
};

// In the order of tasks, steps and ranks; methods in the order of `known`, variants after their method. Runs
// without a rank are in the conditions of all ranks. What only measured a start, and where a run was made, are
// no settings of a condition. `runs` must outlive the result.
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

// All of at least this many seeds.
inline constexpr std::size_t least_compared_seeds = 3;
// `conditions` must outlive the result.
std::vector<comparison> comparisons_of(const std::vector<condition>& conditions);

double test_loss_of(const run_record& r);
double validation_loss_of(const run_record& r);

}  // namespace studies::lm
