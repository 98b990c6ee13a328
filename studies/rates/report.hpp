// Tables, rows and pictures of best rates: against the rank, and against those that curvature predicts.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "apps/console/gnuplot.hpp"
#include "studies/common/selection.hpp"

namespace studies::rates {

// A method's best rate at one rank, on one problem.
struct rate_at_rank {
  std::string problem;
  std::string method;  // its name
  int rank = 0;
  common::rate_choice best;
  double test_accuracy = 0;
  std::optional<double> with_first_rate;  // validation loss at the best rate of the least rank
};
// The groups of one method, in the order of their ranks; those without a rate are left out.
std::vector<rate_at_rank> rates_by_rank(const std::vector<common::run_group>& groups);

// A start's best rate, its curvature (the geometric mean over the bases), and the mean of the Hessian's
// smallest eigenvalue.
struct rate_of_start {
  std::string id, name;
  double curvature = 0;
  double smallest = 0;
  double tuned = 0;
  bool at_edge = false;
};

// How well rate ∝ curvature^(−power) predicts the tuned rates from that of the first start.
struct prediction {
  double power = 1;
  double rank_correlation = 0;  // Spearman's, of 1/curvature and the tuned rate, all starts
  double mean_factor = 1;       // exp of the mean |log(predicted/tuned)|, without the first start
  double worst_factor = 1;
  std::string worst;
};
prediction predict(const std::vector<rate_of_start>& starts, double power);
// What the tuned rate of the first start, taken for all, would do: power 0.
prediction same_rate(const std::vector<rate_of_start>& starts);

std::string rank_table(const std::vector<rate_at_rank>& rows);
std::string start_table(const std::vector<rate_of_start>& starts,
                        const std::vector<prediction>& by_power);
std::string rank_csv(const std::vector<rate_at_rank>& rows);
std::string start_csv(const std::vector<rate_of_start>& starts);
apps::console::picture rank_picture(const std::vector<rate_at_rank>& rows);
apps::console::picture start_picture(const std::vector<rate_of_start>& starts, double power);

}  // namespace studies::rates
