// The statements of the theory, each with what it says and what a simulation gives.
#pragma once
#include <cmath>
#include <string>
#include <vector>

#include "problem.hpp"

namespace studies::theory {

enum class relation { equal, at_most, at_least };

struct check {
  std::string statement;
  std::string formula;
  double says;      // the formula's value
  double measured;  // the simulation's
  double allowed;   // deviation
  relation kind = relation::equal;
  std::string reason = "rounding and step length";  // for `allowed`

  double deviation() const { return measured - says; }
  bool holds() const {
    switch (kind) {
      case relation::at_most:
        return deviation() <= allowed;
      case relation::at_least:
        return deviation() >= -allowed;
      default:
        return std::abs(deviation()) <= allowed;
    }
  }
};

// One curve or cloud of points of a figure.
struct series {
  std::string figure;
  std::string name;
  bool line;  // what the theory says; else what was measured
  std::vector<double> x, y, error;
};

struct results {
  std::vector<check> checks;
  std::vector<series> figures;
};

// Sizes of the simulations; `draws` random starts for every mean.
struct settings {
  index_t m = 40;
  index_t n = 30;
  index_t r = 4;
  int draws = 400;
};

void asymmetric_flow(const settings& s, results& out);
void random_start(const settings& s, results& out);
void exact_start(const settings& s, results& out);
void preheated_start(const settings& s, results& out);
void orientation(const settings& s, results& out);
void chain_of_random_starts(const settings& s, results& out);
void one_step_limit(const settings& s, results& out);

inline results all_statements(const settings& s) {
  results out;
  asymmetric_flow(s, out);
  random_start(s, out);
  exact_start(s, out);
  preheated_start(s, out);
  orientation(s, out);
  chain_of_random_starts(s, out);
  one_step_limit(s, out);
  return out;
}

}  // namespace studies::theory
