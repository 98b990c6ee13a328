// What a transformer encoder requires of a backend besides concept `backend`: softmax and layer
// normalization, whose result at an entry depends on the whole column, and their gradients. They
// are not in `backend`, because policies never need them.
#pragma once
#include <span>

#include "../core/block_grid.hpp"
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

// What a backend may have besides, and a device should, because a call for every token or every head takes it
// longer than the work. Without them the networks make these calls.

// x_j = table_{ids_j}: columns by their numbers. Errors: a number that is no column of the table.
template <class Be>
concept gathers_columns = backend<Be> &&
    requires(Be& be, const_view_of<Be> table, std::span<const index_t> ids, view_of<Be> x) {
  { be.gather_cols(table, ids, x) } -> std::same_as<void>;
};

// x = s·op(a)·op(b) + t·x for every triple of blocks.
template <class Be>
concept multiplies_grids = backend<Be> &&
    requires(Be& be, scalar_of<Be> s, transpose t, const block_grid<const scalar_of<Be>>& a,
             const block_grid<scalar_of<Be>>& x) {
  { be.gemm_grid(s, t, a, t, a, s, x) } -> std::same_as<void>;
};

// f(worker, i) for i = 0 … count − 1, several at a time, 0 <= worker < threads().
template <class Be>
concept works_in_parallel = backend<Be> &&
    requires(Be& be, index_t count, void (*f)(index_t, index_t)) {
  { be.in_parallel(count, f) } -> std::same_as<void>;
  { be.threads() } -> std::same_as<int>;
};
template <backend Be>
index_t workers_of(const Be& be) {
  if constexpr (works_in_parallel<Be>) {
    return be.threads();
  } else {
    return 1;
  }
}
// The same by any backend.
template <backend Be, class F>
void in_parallel(Be& be, index_t count, const F& f) {
  if constexpr (works_in_parallel<Be>) {
    be.in_parallel(count, f);
  } else {
    for (index_t i = 0; i < count; ++i) {
      f(index_t(0), i);
    }
  }
}

}  // namespace preheat::nn
