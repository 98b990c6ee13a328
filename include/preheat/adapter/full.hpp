// Full fine-tuning as an adapter: y = W'·x + b', where W' and b' start as copies of W and b and are
// trained in full: the reference for every low-rank method, and the way to pretrain. It has no factors,
// so no init and no rank. Memory: one m×n copy, and as much for the gradient.
#pragma once
#include <tuple>

#include "../core/concepts.hpp"

namespace preheat::adapter {

struct full {
  using axis = axes::adapter;
  static constexpr bool has_factors = false;
  static constexpr bool represents_any_product = false;
  static constexpr singular_side side = singular_side::automatic;

  template <class Be>
  struct params {
    mat<Be> W;
    mat<Be> b;
    static constexpr auto parameters() {
      return std::tuple(make_parameter<parameter_role::weight>("W", &params::W),
                        make_parameter<parameter_role::bias>("b", &params::b));
    }
  };
  template <class Be>
  struct saved_activations {};

  template <backend Be>
  params<Be> start(Be& be, const frozen_linear<Be>& base, const generator&) const {
    return {clone(be, base.W), clone(be, base.b)};
  }

  template <backend Be>
  void forward(Be& be, const params<Be>& p, const frozen_linear<Be>&, const layer_input<Be>& x,
               view_of<Be> Y, saved_activations<Be>&) const {
    be.gemm(1, transpose::no, p.W, transpose::no, x.base, 0, Y);
    if (p.b.rows() > 0) {
      be.add_to_cols(p.b, Y);
    }
  }

  template <backend Be>
  void backward(Be& be, const params<Be>& p, const frozen_linear<Be>&, const layer_input<Be>& x,
                const_view_of<Be> dY, params<Be>& gradient, const input_gradient<Be>& dx,
                saved_activations<Be>&) const {
    be.gemm(1, transpose::no, dY, transpose::yes, x.base, 1, gradient.W);
    if (p.b.rows() > 0) {
      be.add_row_sums(1, dY, gradient.b);
    }
    if (dx.wanted()) {
      be.gemm(1, transpose::yes, p.W, transpose::no, dY, 0, dx.base);
    }
  }

  template <backend Be>
  void merge(Be& be, const params<Be>& p, scalar_of<Be>, view_of<Be> W, view_of<Be> b) const {
    be.copy(transpose::no, p.W, W);
    if (!b.empty()) {
      be.copy(transpose::no, p.b, b);
    }
  }
};

}  // namespace preheat::adapter
