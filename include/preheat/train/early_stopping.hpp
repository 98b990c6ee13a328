// Decides when the validation loss has stopped falling.
#pragma once
#include <limits>

#include "../core/types.hpp"

namespace preheat {

class early_stopping {
 public:
  // Records one evaluation. Returns true if it is the `patience`-th in a row that is not better
  // than the best by more than `min_improvement`. With patience 0 it never returns true.
  bool update(double loss, index_t patience, double min_improvement) {
    if (loss < best_ - min_improvement) {
      best_ = loss;
      without_gain_ = 0;
      return false;
    }
    ++without_gain_;
    return patience > 0 && without_gain_ >= patience;
  }
  template <class Archive>
  void archive(Archive& ar) {
    ar("best", best_);
    ar("without_gain", without_gain_);
  }

 private:
  double best_ = std::numeric_limits<double>::infinity();
  index_t without_gain_ = 0;
};

}  // namespace preheat
