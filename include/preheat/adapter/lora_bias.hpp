// LoRA with a trained bias b_B behind B, PEFT's lora_bias (its config option; no paper):
//
//   y = W·x + s·(B·A·x + b_B) + b,   ∂b_B += s·Σ_j dY_j;   start: b_B = 0
//
// For a full layer's difference written as factors and a bias. Dropout does not apply to b_B. It is
// merged into b; merging into a layer without a bias throws and leaves W unchanged [PEFT], so such a
// layer cannot be trained by a chain that merges. A is r×n, B m×r, b_B m×1. Cost over LoRA: a pass
// over dY.
#pragma once
#include <tuple>

#include "../linalg/elementwise.hpp"
#include "lora.hpp"

namespace preheat::adapter {

struct lora_bias {
  using axis = axes::adapter;
  static constexpr bool has_factors = true;
  static constexpr bool represents_any_product = true;
  static constexpr singular_side side = singular_side::automatic;

  template <class Be>
  struct params : lora::params<Be> {  // A, B
    mat<Be> bias;                     // b_B
    static constexpr auto parameters() {
      return std::tuple_cat(
          lora::params<Be>::parameters(),
          std::tuple(make_parameter<parameter_role::bias>("bias", &params::bias)));
    }
  };
  template <class Be>
  struct saved_activations {
    lora::saved_activations<Be> pair;
    mat<Be> scaled_bias;  // s·b_B
  };

  template <backend Be>
  params<Be> start(Be& be, const frozen_linear<Be>&, factors<Be> f, const generator&) const {
    require_no_core(f);
    mat<Be> bias = be.zeros(f.B.rows(), 1);
    return {{std::move(f.A), std::move(f.B)}, std::move(bias)};
  }

  template <backend Be>
  void forward(Be& be, const params<Be>& p, const frozen_linear<Be>& base, const layer_input<Be>& x,
               view_of<Be> Y, saved_activations<Be>& t) const {
    lora{}.forward(be, p, base, x, Y, t.pair);
    be.resize(t.scaled_bias, p.bias.rows(), 1);
    be.copy(transpose::no, p.bias, t.scaled_bias);
    be.apply(linalg::scale<scalar_of<Be>>{base.scaling}, t.scaled_bias);
    be.add_to_cols(t.scaled_bias, Y);
  }

  template <backend Be>
  void backward(Be& be, const params<Be>& p, const frozen_linear<Be>& base,
                const layer_input<Be>& x, const_view_of<Be> dY, params<Be>& gradient,
                const input_gradient<Be>& dx, saved_activations<Be>& t) const {
    be.add_row_sums(base.scaling, dY, gradient.bias);
    lora{}.backward(be, p, base, x, dY, gradient, dx, t.pair);
  }

  // The factors of s·B·A, the change of W; the bias is not in it.
  template <backend Be>
  factors<Be> product(Be& be, const params<Be>& p) const {
    return lora{}.product(be, p);
  }
  // W += s·B·A, b += s·b_B; with −s it is unmerged.
  template <backend Be>
  void merge(Be& be, const params<Be>& p, scalar_of<Be> s, view_of<Be> W, view_of<Be> b) const {
    require(!b.empty(),
            "adapter::lora_bias: a layer without a bias cannot take up the adapter's; give the "
            "layer a bias (zeros), or use adapter::lora");
    lora{}.merge(be, p, s, W, b);
    be.apply(linalg::axpby<scalar_of<Be>>{s, 1}, b, p.bias);
  }
};

}  // namespace preheat::adapter
