// Full fine-tuning as an adapter: y = W'·x + b', where W' and b' start as copies of W and b and are
// trained whole. The reference every low-rank method is measured against, and the way to pretrain.
// It needs no factors, hence no init and no rank. Memory: one m×n copy, as much for the gradient.
#pragma once
#include <tuple>

#include "../core/concepts.hpp"

namespace preheat::adapter {

struct full {
  using axis = axes::adapter;
  using hooks = hook_list<>;
  static constexpr bool has_factors = false;
  static constexpr bool any_product = false;
  static constexpr side directions = side::automatic;

  template <class Be>
  struct params {
    mat<Be> W;
    mat<Be> b;
    static constexpr auto parts() {
      return std::tuple(make_part<role::weight>("W", &params::W),
                        make_part<role::bias>("b", &params::b));
    }
  };
  template <class Be>
  struct tape {};

  template <backend Be>
  params<Be> start(Be& be, const frozen_linear<Be>& base, const generator&) const {
    return {clone<Be>(be, base.W), clone<Be>(be, base.b)};
  }

  template <backend Be>
  void forward(Be& be, const params<Be>& p, const frozen_linear<Be>&, const layer_input<Be>& x,
               out<Be> Y, tape<Be>&) const {
    be.gemm(1, op::none, p.W, op::none, x.base, 0, Y);
    if (p.b.rows() > 0) {
      be.add_to_cols(p.b, Y);
    }
  }

  template <backend Be>
  void backward(Be& be, const params<Be>& p, const frozen_linear<Be>&, const layer_input<Be>& x,
                in<Be> dY, params<Be>& gradient, const input_gradient<Be>& dx, tape<Be>&) const {
    be.gemm(1, op::none, dY, op::trans, x.base, 1, gradient.W);
    if (p.b.rows() > 0) {
      be.add_row_sums(1, dY, gradient.b);
    }
    if (dx.wanted()) {
      be.gemm(1, op::trans, p.W, op::none, dY, 0, dx.base);
    }
  }

  template <backend Be>
  void merge(Be& be, const params<Be>& p, scalar_of<Be>, out<Be> W, out<Be> b) const {
    be.copy(op::none, p.W, W);
    if (!b.empty()) {
      be.copy(op::none, p.b, b);
    }
  }
};

}  // namespace preheat::adapter
