// The loss of a batch, whose number the host reads after it has asked a device for the backward pass too:
//
//   late_loss<Be, cross_entropy> loss;
//   loss.evaluate(be, Z, target, dZ);   // dZ = ∂loss/∂Z
//   …                                   // the backward pass is asked for
//   const T value = loss.value(be);     // once; a device is waited for here, until the forward pass is over
//
// That is so for a loss that can be added up on the device (adds_to_total), which cross entropy can on a backend with
// sums_losses (nn/decoder_backend.hpp). Any other is waited for in evaluate.
#pragma once
#include "decoder_backend.hpp"
#include "loss.hpp"

namespace preheat::nn {

// add(Z, target, dZ, total): writes dZ; total, which is 1×1, += the loss. The host does not wait.
// require_valid(target, Z): an error if the target alone makes the loss NaN; Z is overwritten.
template <class Loss, class Be>
concept adds_to_total = sums_losses<Be> && requires(Be& be, const_view_of<Be> Z, view_of<Be> d) {
  Loss::add(be, Z, Z, d, d);
  Loss::require_valid(be, Z, d);
};

template <class Be, class Loss>
class late_loss {
 public:
  using T = scalar_of<Be>;

  // Errors: invalid_argument, for a target that does not fit. The target and dZ must stay until value().
  void evaluate(Be& be, const_view_of<Be> Z, const_view_of<Be> target, view_of<Be> dZ) {
    value_ = Loss::template evaluate(be, Z, target, dZ);
  }
  T value(Be&) { return value_; }

 private:
  T value_ = 0;
};

template <class Be, adds_to_total<Be> Loss>
class late_loss<Be, Loss> {
 public:
  using T = scalar_of<Be>;

  void evaluate(Be& be, const_view_of<Be> Z, const_view_of<Be> target, view_of<Be> dZ) {
    be.resize(total_, 1, 1);
    be.fill(0, total_);
    Loss::add(be, Z, target, dZ, total_);
    be.send(total_, sent_);
    target_ = target;
    dZ_ = dZ;
  }
  T value(Be& be) {
    const T loss = be.receive(sent_);
    if (loss != loss) {
      Loss::require_valid(be, target_, dZ_);
    }
    return loss;
  }

 private:
  mat<Be> total_;
  typename Be::sent_number sent_;
  const_view_of<Be> target_;
  view_of<Be> dZ_;
};

}  // namespace preheat::nn
