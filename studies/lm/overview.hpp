// What all kept runs together say: tables over conditions and the sentences of docs/evidence.md, and the points
// of its figures.
#pragma once
#include <string>
#include <vector>

#include "conditions.hpp"

namespace studies::lm {

// Markdown, with "-" for minus.
std::string overview_of(const std::vector<condition>& conditions);

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
