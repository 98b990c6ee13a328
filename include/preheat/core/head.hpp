// The contract of a network's trained head: a linear layer at its end that AdamW trains beside the
// adapters (train/head.hpp), in the same way for every method.
//
// A network has a head if it has the member head(). It computes the head's gradient itself:
//
//   template <preheat::backend Be>
//   class classifier {
//    public:
//     preheat::trained_head<Be>& head() { return head_; }
//
//     template <class Linear>
//     preheat::scalar_of<Be> loss_and_gradient(const batch_type& batch, Linear& linear) {
//       // … with the features X and the gradient dY of the head's outputs W·X + b:
//       be_->gemm(1, preheat::transpose::no, dY, preheat::transpose::yes, X, 1, head_.gradient.W);
//       be_->add_row_sums(1, dY, head_.gradient.b);
//       // …
//     }
//     // … and the other members of a network (core/network.hpp)
//
//    private:
//     preheat::trained_head<Be> head_;
//   };
#pragma once
#include <concepts>
#include <tuple>

#include "backend.hpp"
#include "network.hpp"
#include "parameters.hpp"

namespace preheat {

// The parameters of a head: W is outputs×features, b is outputs×1.
template <class Be>
struct head_params {
  mat<Be> W;
  mat<Be> b;
  static constexpr auto parameters() {
    return std::tuple(make_parameter<parameter_role::weight>("W", &head_params::W),
                      make_parameter<parameter_role::bias>("b", &head_params::b));
  }
};
template <class Be>
struct trained_head {
  head_params<Be> parameters;
  head_params<Be> gradient;
};

// A network that has a trained head. Its loss_and_gradient adds to head().gradient; a run sets this
// gradient to zero before each step and updates head().parameters.
template <class N>
concept trains_head = network<N> && requires(N& net) {
  { net.head() } -> std::same_as<trained_head<typename N::backend_type>&>;
};

}  // namespace preheat
