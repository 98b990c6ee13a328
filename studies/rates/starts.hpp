// The starts of the comparison whose curvature is measured, seen from the driver.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "studies/common/results.hpp"
#include "studies/digits/classifier.hpp"

namespace studies::rates {

// The ends of the Hessian's spectrum in the adapters' parameters at the start of a run, over all training
// digits as one batch.
struct spectrum_ends {
  double largest = 0, smallest = 0;
};
struct start_point {
  std::string id;  // as in the comparison
  std::function<spectrum_ends(const digits::base_model&, const digits::shift_data&,
                              const digits::training_settings&, const common::run_definition&)>
      curvature;
};

// Every start of plain LoRA, and of which the training is AdamW's.
std::vector<start_point> all_starts();

}  // namespace studies::rates
