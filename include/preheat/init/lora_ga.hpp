// LoRA-GA (Wang, Yu, Li, "LoRA-GA: Low-Rank Adaptation with Gradient Approximation", arXiv
// 2407.05000). The first step of full fine-tuning changes W along the singular vectors of the
// gradient G = U·S·Vᵀ (m×n) of a few batches at the base weights. The factors start at 2r of them,
// r for each factor, so that the first step of LoRA changes s·B·A in the best 2r-dimensional space.
//
//   direction   A (r×n), rows of Vᵀ     B (m×r), columns of U
//   ArB2r       0 … r−1                 r … 2r−1
//   A2rBr       r … 2r−1                0 … r−1
//   ArBr        1, 3, …, 2r−1           0, 2, …, 2r−2
//
// s·B·A is subtracted from W, so the output is unchanged. There are two forms; the fixtures are
// those of PEFT:
//
//   form     before scaling   stable                      gd_scale        weight_svd           unit
//   peft     A, B·S_B         B × m^¼/√γ                  A and B ÷ s     B × σ₁(W)/S_B[0]     —
//   authors  A, B             A and B × m^¼/√γ            A and B ÷ s     refused              —
//
// S_B are the singular values of B's columns. The defaults are those of [PEFT]: ArB2r, stable, γ =
// 16. Its direction "random" is not implemented. The authors' weight scale differs from PEFT's and
// is refused. [PEFT] computes the triplets by a randomized SVD with 4r columns and 4 power
// iterations; here the template parameter Gradient chooses: dense_gradient exactly,
// sketched_gradient without any m×n matrix.
//
// Calibration: the SVD of G, at least 2r triplets. Errors: 2r > min(m, n); s or γ <= 0; NaN. A zero
// gradient gives a random orthonormal A, and B = 0 in PEFT's form. [preheat] Where S_B[0] is zero
// to rounding, weight_svd leaves B zero instead of dividing by it. Cost:
// gradient.calibration_steps() steps; then O((m + n)·r) per layer, and for weight_svd a randomized
// σ₁(W).
#pragma once
#include <cmath>
#include <vector>

#include "gradient_calibration.hpp"

namespace preheat::init {

enum class lora_ga_direction { ArBr, A2rBr, ArB2r };
enum class lora_ga_scale { stable, weight_svd, gd_scale, unit };
enum class lora_ga_form { peft, authors };

template <class Gradient = dense_gradient>
struct lora_ga {
  using axis = axes::init;
  static constexpr initial_product product = initial_product::residual;
  template <class Be>
  using calibration = svd_result<mat<Be>>;

  Gradient gradient{};
  lora_ga_direction direction = lora_ga_direction::ArB2r;
  lora_ga_scale scale = lora_ga_scale::stable;
  lora_ga_form form = lora_ga_form::peft;
  double stable_gamma = 16;
  linalg::randomized_options weight{};  // for σ₁(W); [PEFT] r columns, 4 power iterations

  index_t calibration_steps(index_t) const { return gradient.calibration_steps(); }

  template <class Context>
  auto calibrate(Context& context) const {
    check();
    return gradient.leading(context,
                            wanted_triplets(context, 2, "init::lora_ga: 2·rank <= min(out, in)"));
  }

  // The start of one layer from the SVD of its gradient.
  template <backend Be>
  factors<Be> operator()(Be& be, const target_layer<Be>& s, const svd_result<mat<Be>>& g) const {
    return start_from(
        be, s, g, [&] { return be.max_abs(linalg::randomized_svd(be, s.W, 1, weight, s.gen).S); });
  }
  // The same with a given test matrix Ω for σ₁(W), min(m, n)×k.
  template <backend Be>
  factors<Be> operator()(Be& be, const target_layer<Be>& s, const svd_result<mat<Be>>& g,
                         const_view_of<Be> omega) const {
    return start_from(be, s, g, [&] {
      return be.max_abs(linalg::randomized_svd(be, s.W, 1, omega, weight.power_iterations).S);
    });
  }

  template <backend Be>
  factors<Be> operator()(Be&, const target_layer<Be>&) const {
    static_assert(never<Be>,
                  "preheat: init::lora_ga needs a gradient. Call fit(method, network, batches, "
                  "options), which computes it, or pass the SVD of the layer's gradient, 2r "
                  "triplets or more, as the third argument");
    return {};
  }

 private:
  // The triplets that a factor takes: first, first + stride, …
  struct triplets {
    index_t first, stride;
  };

  void check() const {
    require(stable_gamma > 0, "init::lora_ga: stable_gamma > 0", stable_gamma, 0.0);
    require(form == lora_ga_form::peft || scale != lora_ga_scale::weight_svd,
            "init::lora_ga: the scale weight_svd is defined for PEFT's form only");
  }

  template <backend Be, class WeightNorm>
  factors<Be> start_from(Be& be, const target_layer<Be>& s, const svd_result<mat<Be>>& g,
                         WeightNorm weight_norm) const {
    using T = scalar_of<Be>;
    check();
    require(s.scaling > 0, "init::lora_ga: scaling > 0", s.scaling, T(0));
    require_gradient(be, s, g, 2 * s.rank, "init::lora_ga");
    const bool alternate = direction == lora_ga_direction::ArBr;
    const bool late_b = direction == lora_ga_direction::ArB2r;
    const triplets of_a = alternate ? triplets{1, 2} : triplets{late_b ? 0 : s.rank, 1};
    const triplets of_b = alternate ? triplets{0, 2} : triplets{late_b ? s.rank : 0, 1};

    mat<Be> V = taken(be, g.V, of_a, s.rank);
    mat<Be> B = taken(be, g.U, of_b, s.rank);
    const mat<Be> S = linalg::transposed(be, taken(be, linalg::transposed(be, g.S), of_b, s.rank));
    if (form == lora_ga_form::peft) {
      be.scale_cols(S, B);
    }
    double a = 1;
    double b = 1;
    switch (scale) {
      case lora_ga_scale::stable:
        b = std::pow(double(s.W.rows()), 0.25) / std::sqrt(stable_gamma);
        a = form == lora_ga_form::authors ? b : 1;
        break;
      case lora_ga_scale::weight_svd: {
        const T first = be.max_abs(S);
        const bool zero = !(first > zero_to_rounding(s, be.max_abs(g.S)));
        b = zero ? 0 : double(weight_norm()) / double(first);
        break;
      }
      case lora_ga_scale::gd_scale:
        a = 1 / double(s.scaling);
        b = a;
        break;
      case lora_ga_scale::unit:
        break;
    }
    be.apply(linalg::scale<T>{T(a)}, V);
    be.apply(linalg::scale<T>{T(b)}, B);
    return {linalg::transposed(be, V), std::move(B)};
  }
  // The columns first, first + stride, … of M, `count` of them.
  template <backend Be>
  static mat<Be> taken(Be& be, const_view_of<Be> M, triplets which, index_t count) {
    mat<Be> columns = be.zeros(M.rows(), count);
    for (index_t j = 0; j < count; ++j) {
      be.copy(transpose::no, M.col_range(which.first + j * which.stride, 1),
              view(columns).col_range(j, 1));
    }
    return columns;
  }
};

}  // namespace preheat::init
