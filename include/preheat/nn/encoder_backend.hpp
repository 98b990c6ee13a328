// What a transformer encoder requires of a backend besides concept `backend`: softmax and layer
// normalization, whose result at an entry depends on the whole column, and their gradients. They
// are not in `backend`, because policies never need them.
#pragma once
#include "../core/concepts.hpp"

namespace preheat::nn {

template <class Be>
concept encoder_backend = backend<Be> &&
    requires(Be& be, scalar_of<Be> epsilon, const_view_of<Be> a, view_of<Be> x) {
  // x_ij = exp(x_ij)/Σ_k exp(x_kj), without overflow.
  { be.softmax_cols(x) } -> std::same_as<void>;
  // p is a softmax and x the gradient with respect to it:  x_ij = p_ij·(x_ij − Σ_k p_kj·x_kj).
  { be.softmax_cols_gradient(a, x) } -> std::same_as<void>;
  // layer_norm(ε, γ, β, x, r, y): with μ_j and σ²_j the mean and the variance (over rows) of column
  // j, r_j = 1/√(σ²_j + ε), x_ij = r_j·(x_ij − μ_j), y_ij = γ_i·x_ij + β_i. γ, β are rows×1, r is
  // cols×1.
  { be.layer_norm(epsilon, a, a, x, x, x) } -> std::same_as<void>;
  // layer_norm_gradient(γ, x, r, d): x and r are as layer_norm left them; d is the gradient with
  // respect to y and becomes that with respect to layer_norm's input. With g_ij = γ_i·d_ij and
  // means over the rows of a column, d_ij = r_j·(g_ij − mean(g_j) − x_ij·mean(g_j⊙x_j)).
  { be.layer_norm_gradient(a, a, a, x) } -> std::same_as<void>;
};

}  // namespace preheat::nn
