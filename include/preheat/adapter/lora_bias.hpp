// LoRA with a trained bias b_B behind B, PEFT's lora_bias (its config option; no paper):
//
//   y = W·x + s·(B·A·x + b_B) + b,   ∂b_B += s·Σ_j dY_j;   start: b_B = 0
//
// For a full layer's difference written as factors and a bias. Dropout does not touch b_B. It is
// merged into b; a layer without a bias has no place for it and merging throws, W unchanged (as in
// PEFT): such a layer also takes no chain that folds. A is r×n, B m×r, b_B m×1. Cost over LoRA: a
// pass over dY.
#pragma once
#include <tuple>

#include "../linalg/elementwise.hpp"
#include "lora.hpp"

namespace preheat::adapter {

struct lora_bias {
  using axis = axes::adapter;
  using hooks = hook_list<>;
  static constexpr bool has_factors = true;
  static constexpr bool any_product = true;
  static constexpr side directions = side::automatic;

  template <class Be>
  struct params : lora::params<Be> {  // A, B
    mat<Be> bias;                     // b_B
    static constexpr auto parts() {
      return std::tuple_cat(lora::params<Be>::parts(),
                            std::tuple(make_part<role::bias>("bias", &params::bias)));
    }
  };
  template <class Be>
  struct tape {
    lora::tape<Be> pair;
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
               out<Be> Y, tape<Be>& t) const {
    lora{}.forward<Be>(be, p, base, x, Y, t.pair);
    be.resize(t.scaled_bias, p.bias.rows(), 1);
    be.copy(op::none, p.bias, t.scaled_bias);
    be.each(linalg::scale<scalar_of<Be>>{base.scaling}, t.scaled_bias);
    be.add_to_cols(t.scaled_bias, Y);
  }

  template <backend Be>
  void backward(Be& be, const params<Be>& p, const frozen_linear<Be>& base,
                const layer_input<Be>& x, in<Be> dY, params<Be>& gradient,
                const input_gradient<Be>& dx, tape<Be>& t) const {
    be.add_row_sums(base.scaling, dY, gradient.bias);
    lora{}.backward<Be>(be, p, base, x, dY, gradient, dx, t.pair);
  }

  // The weight's part, s·B·A; the bias is not in it.
  template <backend Be>
  factors<Be> product(Be& be, const params<Be>& p) const {
    return lora{}.product<Be>(be, p);
  }
  template <class Be>
  index_t rank(const params<Be>& p) const {
    return p.A.rows();
  }
  // W += s·B·A, b += s·b_B; with −s it is unmerged.
  template <backend Be>
  void merge(Be& be, const params<Be>& p, scalar_of<Be> s, out<Be> W, out<Be> b) const {
    require(!b.empty(),
            "adapter::lora_bias: a layer without a bias cannot take up the adapter's; give the "
            "layer a bias (zeros), or use adapter::lora");
    lora{}.merge<Be>(be, p, s, W, b);
    be.each(linalg::axpby<scalar_of<Be>>{s, 1}, b, p.bias);
  }
};

}  // namespace preheat::adapter
