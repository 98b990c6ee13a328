// The input of layers behind a norm of a decoder's block, in backward: it is written again if it was not kept, before
// the layers read it (make of nn/layers_together.hpp), and its gradient becomes that of the norm's input, which is added
// to `sum`.
#pragma once
#include "pre_norm.hpp"

namespace preheat::nn {

template <class Be>
class normed_input {
 public:
  // X is where the norm wrote, or writes again.
  normed_input(Be& be, const decoder_config& c, bool again, const norm_weights<Be>& weights,
               pre_norm<Be>& norm, activations<Be>& X, activation_view<Be> sum)
      : be_(be), config_(c), again_(again), weights_(weights), norm_(norm), X_(X), sum_(sum) {
    if (again) {
      norm.place(be, X);
    }
  }
  const_activation_view<Be> view_of_it() const { return view(X_).row_range(0, sum_.rows()); }
  void operator()(activation_view<Be> gradient) {
    if (!again_) {
      return;
    }
    if (gradient.cols() > 0) {
      norm_.backward_and_repeat(be_, config_.norm, config_.norm_epsilon, weights_, gradient, sum_,
                                X_);
      done_ = true;
    } else {
      norm_.repeat(be_, config_.norm, config_.norm_epsilon, weights_, X_);
    }
  }
  void finish(activation_view<Be> gradient) {
    if (!done_) {
      norm_.backward(be_, config_.norm, weights_, gradient, sum_);
    }
  }

 private:
  Be& be_;
  const decoder_config& config_;
  bool again_;
  const norm_weights<Be>& weights_;
  pre_norm<Be>& norm_;
  activations<Be>& X_;
  activation_view<Be> sum_;
  bool done_ = false;
};

}  // namespace preheat::nn
