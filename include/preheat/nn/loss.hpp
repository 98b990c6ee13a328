// Losses over a batch of outputs Z (outputs × N), each with its gradient dZ = ∂loss/∂Z.
//
//   mean_squared    (1/(N·outputs))·Σ (z − t)²; the target has the shape of Z
//   cross_entropy   −(1/N)·Σ log softmax(z)[label]; the target is a 1×N row of labels 0, 1, …
#pragma once
#include "../linalg/elementwise.hpp"

namespace preheat::nn {

// A backend that can also classify. This is not in `backend`, because most policies never need it.
template <class Be>
concept classifier_backend = backend<Be> &&
    requires(Be& be, const_view_of<Be> z, const_view_of<Be> labels, view_of<Be> d) {
  { be.softmax_cross_entropy(z, labels, d) } -> std::same_as<scalar_of<Be>>;
};

struct mean_squared {
  template <backend Be>
  static scalar_of<Be> evaluate(Be& be, const_view_of<Be> Z, const_view_of<Be> target,
                                view_of<Be> dZ) {
    using T = scalar_of<Be>;
    be.copy(transpose::no, Z, dZ);
    be.apply(linalg::axpby<T>{-1, 1}, dZ, target);
    const T loss = be.dot(dZ, dZ) / T(Z.size());
    be.apply(linalg::scale<T>{T(2) / T(Z.size())}, dZ);
    return loss;
  }
};

struct cross_entropy {
  template <classifier_backend Be>
  static scalar_of<Be> evaluate(Be& be, const_view_of<Be> Z, const_view_of<Be> target,
                                view_of<Be> dZ) {
    return be.softmax_cross_entropy(Z, target, dZ);
  }
  // The same where a backend adds losses up on its device (nn/late_loss.hpp).
  template <class Be>
  static void add(Be& be, const_view_of<Be> Z, const_view_of<Be> target, view_of<Be> dZ,
                  view_of<Be> total) requires requires {
    be.add_softmax_cross_entropy(scalar_of<Be>(1), dZ, target, total);
  }
  {
    require_same_shape("cross_entropy", Z, dZ);
    be.copy(transpose::no, Z, dZ);
    be.add_softmax_cross_entropy(scalar_of<Be>(1) / scalar_of<Be>(Z.cols()), dZ, target, total);
  }
  // Errors: invalid_argument, for a label that is no whole number from 0 on, or too large. Zeros for outputs have a
  // loss unless a label is wrong, and evaluate says which one.
  template <classifier_backend Be>
  static void require_valid(Be& be, const_view_of<Be> target, view_of<Be> Z) {
    be.fill(0, Z);
    be.softmax_cross_entropy(Z, target, Z);
  }
};

}  // namespace preheat::nn
