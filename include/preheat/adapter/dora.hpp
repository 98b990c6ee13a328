// DoRA ("DoRA: Weight-Decomposed Low-Rank Adaptation", arXiv 2402.09353): the rows of W + s·B·A give
// the directions of the weight, a trained magnitude μ gives their lengths.
//
//   V = W + s·B·A,  n_i = ‖V_i‖,  c = μ/n,  y = c⊙(V·x) + b;  start: μ = n, so that c = 1
//   backward  E = c⊙dY:  ∂A, ∂B, dX are LoRA's for E in place of dY;  ∂μ_i += Σ_j dY_ij·(V·X)_ij/n_i
//
// n is computed in every forward pass and is a constant of the gradient ([paper], as a saving;
// [PEFT], always). The norm is over a row of W (out×in) [authors' code, PEFT].
//
// Dropout: x̃ = dropout(x) is the input of all that DoRA adds, the change of W's own part included
// [authors' code, PEFT]: y = W·x + (c − 1)⊙(W·x̃) + c⊙(s·B·A·x̃) + b. It costs a second product with
// W forward, and another backward.
// A zero row of V (n_i = 0, also by underflow) has no direction: there c_i = 1 and ∂μ_i = 0, so that
// the row changes as with LoRA [preheat]; PEFT divides by zero.
//
// V is never formed: its norms are summed over blocks of 64 columns, in 2·m·n·r operations and m×64
// numbers. (‖w_i‖² + 2s·(W·Aᵀ)_i·b_i + s²·b_i·A·Aᵀ·b_iᵀ costs as many and cancels where a row of V
// is short.) A is r×n, B m×r, μ m×1, X n×N. Saved activations: two m×N buffers, with dropout also
// one of n×N.
#pragma once
#include <algorithm>
#include <tuple>

#include "../linalg/elementwise.hpp"
#include "lora.hpp"

namespace preheat::adapter {

template <class T>
struct magnitude_over_norm {  // c = μ/n, 1 where n = 0
  constexpr void operator()(T& c, const T& magnitude, const T& norm) const {
    c = norm == 0 ? T(1) : magnitude / norm;
  }
};
template <class T>
struct add_over_norm {  // g += sum/n, nothing where n = 0
  constexpr void operator()(T& g, const T& sum, const T& norm) const {
    g += norm == 0 ? T(0) : sum / norm;
  }
};
template <class T>
struct reciprocal {
  constexpr void operator()(T& x) const { x = 1 / x; }
};

struct dora {
  using axis = axes::adapter;
  static constexpr bool has_factors = true;
  static constexpr bool represents_any_product = true;
  static constexpr singular_side side = singular_side::automatic;
  static constexpr index_t block_columns = 64;  // of V at a time

  template <class Be>
  struct params : lora::params<Be> {  // A, B
    mat<Be> magnitude;                // μ
    static constexpr auto parameters() {
      return std::tuple_cat(
          lora::params<Be>::parameters(),
          std::tuple(make_parameter<parameter_role::magnitude>("magnitude", &params::magnitude)));
    }
  };
  template <class Be>
  struct row_scales {
    mat<Be> norms;  // n, m×1
    mat<Be> c;      // m×1
    mat<Be> block;  // of V
  };
  template <class Be>
  struct saved_activations {
    lora::saved_activations<Be> pair;
    row_scales<Be> rows;
    mat<Be> VX;          // V·x̃
    mat<Be> E;           // c⊙dY
    mat<Be> dropped;     // x − x̃
    mat<Be> row_sums{};  // Σ_j dY_ij·(V·x̃)_ij
  };

  template <backend Be>
  params<Be> start(Be& be, const frozen_linear<Be>& base, factors<Be> f, const generator&) const {
    require_no_core(f);
    row_scales<Be> rows;
    measure_norms(be, f.A, f.B, base.W, base.scaling, rows);
    return {{std::move(f.A), std::move(f.B)}, std::move(rows.norms)};
  }

  template <backend Be>
  void forward(Be& be, const params<Be>& p, const frozen_linear<Be>& base, const layer_input<Be>& x,
               view_of<Be> Y, saved_activations<Be>& t) const {
    const index_t m = base.W.rows();
    measure_scales(be, p, base.W, base.scaling, t.rows);
    be.resize(t.VX, m, x.base.cols());
    lora{}.forward(be, p, {base.W, {}, base.scaling}, {x.adapter_input, x.adapter_input}, t.VX,
                   t.pair);
    be.copy(transpose::no, t.VX, Y);
    be.scale_rows(t.rows.c, Y);
    if (drops(x)) {
      be.resize(t.dropped, x.base.rows(), x.base.cols());
      be.copy(transpose::no, x.base, t.dropped);
      be.apply(linalg::axpby<scalar_of<Be>>{-1, 1}, t.dropped, x.adapter_input);
      be.gemm(1, transpose::no, base.W, transpose::no, t.dropped, 1, Y);  // W·x̃ is in c⊙(V·x̃)
    }
    if (!base.b.empty()) {
      be.add_to_cols(base.b, Y);
    }
  }

  template <backend Be>
  void backward(Be& be, const params<Be>& p, const frozen_linear<Be>& base,
                const layer_input<Be>& x, const_view_of<Be> dY, params<Be>& gradient,
                const input_gradient<Be>& dx, saved_activations<Be>& t) const {
    using T = scalar_of<Be>;
    be.resize(t.row_sums, dY.rows(), 1);
    be.fill(0, t.row_sums);
    be.add_row_dots(1, dY, t.VX, t.row_sums);
    be.apply(add_over_norm<T>{}, gradient.magnitude, t.row_sums, t.rows.norms);

    be.resize(t.E, dY.rows(), dY.cols());
    be.copy(transpose::no, dY, t.E);
    be.scale_rows(t.rows.c, t.E);
    const bool dropping = drops(x);
    const input_gradient<Be> plain = dropping ? input_gradient<Be>{} : dx;
    lora{}.backward(be, p, base, x, t.E, gradient, plain, t.pair);
    if (dropping && dx.wanted()) {
      frozen_backward(be, base, dY, dx.base);
      be.apply(linalg::axpby<T>{-1, 1}, t.E, dY);  // (c − 1)⊙dY
      be.gemm(1, transpose::yes, base.W, transpose::no, t.E, 1, dx.adapter_input);
      be.gemm(base.scaling, transpose::yes, p.A, transpose::no, t.pair.D, 1, dx.adapter_input);
    }
  }

  // The factors of s·B·A, the change of the directions; the magnitudes are not in it.
  template <backend Be>
  factors<Be> product(Be& be, const params<Be>& p) const {
    return lora{}.product(be, p);
  }
  // c, m×1, of a W that nothing is merged into.
  template <backend Be>
  mat<Be> scales(Be& be, const params<Be>& p, scalar_of<Be> s, const_view_of<Be> W) const {
    row_scales<Be> rows;
    measure_scales(be, p, W, s, rows);
    return std::move(rows.c);
  }
  // W ← diag(c)·(W + s·B·A)
  template <backend Be>
  void merge(Be& be, const params<Be>& p, scalar_of<Be> s, view_of<Be> W, view_of<Be>) const {
    const mat<Be> c = scales(be, p, s, W);
    be.gemm(s, transpose::no, p.B, transpose::no, p.A, 1, W);
    be.scale_rows(c, W);
  }
  // W ← diag(c)⁻¹·W − s·B·A, the W before the merge. c, `scales` of that W, cannot be computed from
  // the merged one: keep it. Throws if a c is 0, because the merge has set that row to zero.
  template <backend Be>
  void unmerge(Be& be, const params<Be>& p, scalar_of<Be> s, const_view_of<Be> c,
               view_of<Be> W) const {
    for (const scalar_of<Be> row : be.download(c)) {
      require(row != 0, "adapter::dora: a row merged with magnitude 0 cannot be unmerged");
    }
    mat<Be> inverse = clone(be, c);
    be.apply(reciprocal<scalar_of<Be>>{}, inverse);
    be.scale_rows(inverse, W);
    be.gemm(-s, transpose::no, p.B, transpose::no, p.A, 1, W);
  }

 private:
  template <class Be>
  static bool drops(const layer_input<Be>& x) {
    return x.adapter_input.data() != x.base.data();
  }
  template <backend Be>
  static void measure_norms(Be& be, const_view_of<Be> A, const_view_of<Be> B, const_view_of<Be> W,
                            scalar_of<Be> s, row_scales<Be>& rows) {
    be.resize(rows.norms, W.rows(), 1);
    be.fill(0, rows.norms);
    for (index_t j = 0; j < W.cols(); j += block_columns) {
      const index_t count = std::min(block_columns, W.cols() - j);
      be.resize(rows.block, W.rows(), count);
      be.copy(transpose::no, W.col_range(j, count), rows.block);
      be.gemm(s, transpose::no, B, transpose::no, A.col_range(j, count), 1, rows.block);
      be.add_row_dots(1, rows.block, rows.block, rows.norms);
    }
    be.apply(linalg::root<scalar_of<Be>>{1}, rows.norms);
  }
  template <backend Be>
  static void measure_scales(Be& be, const params<Be>& p, const_view_of<Be> W, scalar_of<Be> s,
                             row_scales<Be>& rows) {
    measure_norms(be, p.A, p.B, W, s, rows);
    be.resize(rows.c, W.rows(), 1);
    be.apply(magnitude_over_norm<scalar_of<Be>>{}, rows.c, p.magnitude, rows.norms);
  }
};

}  // namespace preheat::adapter
