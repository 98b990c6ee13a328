// Parts of the overview (overview.hpp) that are about why starts differ.
#pragma once
#include <string>
#include <vector>

#include "conditions.hpp"
#include "markdown.hpp"

namespace studies::lm {

// "+0.012 ± 0.020", or nothing for fewer than least_compared_seeds.
inline std::string difference_cell(const std::vector<double>& differences) {
  return differences.size() < least_compared_seeds
             ? std::string()
             : signed_cell(common::mean_with_interval(differences));
}

// Our variant of HRP less the plain reading of the paper, each at its best rate.
std::string plain_table(const std::vector<condition>& conditions);
// How loss and drift go together over the starts of a condition.
std::string drift_sentences(const std::vector<condition>& conditions,
                            const std::vector<comparison>& compared);
// Rates predicted by curvature, and tuned ones.
std::string prediction_text(const std::vector<condition>& conditions);

}  // namespace studies::lm
