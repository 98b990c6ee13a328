// CorDA ("CorDA: Context-Oriented Decomposition Adaptation of Large Language Models", arXiv
// 2406.05223). The SVD of W is weighted by the covariance C (n×n) of the layer's input in a few
// batches X (n×tokens), at the base weights:
//
//   C  = mean over batches of x·xᵀ,  x = X/|max X|        C' = C + δ·mean(diag C)·I
//   W·C' = U·S·Vᵀ,  V̂ = C'⁻¹·V                            so that W = U·S·V̂ᵀ
//   A = √(S/s)·V̂ᵀ (r×n),  B = U·√(S/s) (m×r),             W ← W − s·B·A,
//
// where A and B take r of the triplets. `ipm`, instruction-previewed, takes the first r, along
// which the inputs are large; `kpm`, knowledge-preserved, takes the last r of min(m, n) and so does
// not change the first ones.
//
// [PEFT] As in PEFT's preprocess, C is that of init/input_covariance.hpp; δ starts at `damping` (0.01) and doubles until ‖C'·C'⁻¹ − I‖ <= 0.05. [paper] 256 samples; [preheat] the number of batches is a
// setting.
//
// [preheat] Where PEFT fails: if all inputs are zero, C is replaced by I. As in every init, triplets of singular value 0 (kpm on a W
// without full rank) give zero in both factors, which then cannot learn. Errors: rank < 1 or >
// min(m, n); s <= 0; δ <= 0; batches < 1; NaN; a C that is no covariance. A C that is not finite
// sets the context's status. Cost: `batches` steps, in which each layer takes n²·tokens operations
// and n² numbers; then O(n³ + m·n·min(m, n)) per layer and 2·n² more numbers for one layer at a
// time.
#pragma once
#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "../linalg/balanced_factors.hpp"
#include "../linalg/truncated_svd.hpp"
#include "input_covariance.hpp"

namespace preheat::init {

enum class corda_mode { ipm, kpm };

// A damped covariance and its inverse.
template <class Be>
struct damped_covariance {
  mat<Be> C;
  mat<Be> inverse;
};

// C + δ·mean(diag C)·I with the first δ of damping, 2·damping, … for which the computed inverse is
// accurate.
template <backend Be>
damped_covariance<Be> damp_covariance(Be& be, const_view_of<Be> C, double damping) {
  using T = scalar_of<Be>;
  constexpr double worst = 0.05;  // [PEFT]
  const index_t n = C.rows();
  require(damping > 0, "init::corda: damping > 0", damping, 0.0);
  require(C.cols() == n, "init::corda: the covariance is square", C.cols(), n);
  const double largest = linalg::require_finite(be, C, "init::corda: the covariance");
  mat<Be> ones = be.zeros(n, 1);
  be.fill(1, ones);
  const mat<Be> identity = linalg::identity(be, n);
  const const_view_of<Be> weighed = largest > 0 ? C : const_view_of<Be>(identity);
  const double mean = double(be.dot(weighed, identity)) / double(n);
  require(mean > 0, "init::corda: mean of the covariance's diagonal > 0", mean, 0.0);

  for (double delta = damping; std::isfinite(double(T(delta * mean))); delta *= 2) {
    mat<Be> damped = clone(be, weighed);
    be.apply(linalg::axpby<T>{T(delta * mean), 1}, damped, identity);
    mat<Be> R = clone(be, damped);
    if (be.cholesky(R)) {
      mat<Be> inverse = clone(be, identity);
      be.solve_upper(transpose::yes, R, inverse);
      be.solve_upper(transpose::no, R, inverse);
      mat<Be>& error = R;
      be.gemm(1, transpose::no, damped, transpose::no, inverse, 0, error);
      be.apply(linalg::axpby<T>{-1, 1}, error, identity);
      if (std::sqrt(double(be.dot(error, error))) <= worst) {
        return {std::move(damped), std::move(inverse)};
      }
    }
  }
  throw invalid_argument("init::corda: no damping makes the covariance invertible");
}

struct corda {
  using axis = axes::init;
  static constexpr initial_product product = initial_product::residual;
  template <class Be>
  using calibration = mat<Be>;  // C, n×n

  corda_mode mode = corda_mode::ipm;
  index_t batches = 8;
  double damping = 0.01;

  index_t calibration_steps(index_t) const { return batches; }

  template <class Context, class Be = typename Context::backend_type>
  std::vector<mat<Be>> calibrate(Context& context) const {
    require(batches >= 1, "init::corda: batches >= 1", batches, 1);
    return input_covariances(context, batches);
  }

  // The start of one layer from the covariance of its input.
  template <backend Be>
  factors<Be> operator()(Be& be, const target_layer<Be>& s, const mat<Be>& C) const {
    const index_t room = std::min(s.W.rows(), s.W.cols());
    require(1 <= s.rank && s.rank <= room, "init::corda: 1 <= rank <= min(out, in)", s.rank, room);
    require(C.rows() == s.W.cols(), "init::corda: rows of the covariance = in of W", C.rows(),
            s.W.cols());
    const damped_covariance<Be> damped = damp_covariance(be, C, damping);
    const mat<Be> weighed = linalg::product(be, transpose::no, s.W, transpose::no, damped.C);
    const svd_result<mat<Be>> d = linalg::truncated_svd(be, weighed, room);
    const index_t first = mode == corda_mode::ipm ? 0 : room - s.rank;
    const const_view_of<Be> V = view(d.V).col_range(first, s.rank);
    return linalg::balanced_factors(
        be,
        svd_result<mat<Be>>{clone(be, view(d.U).col_range(first, s.rank)),
                            clone(be, view(d.S).row_range(first, s.rank)),
                            linalg::product(be, transpose::no, damped.inverse, transpose::no, V)},
        s.scaling);
  }

  template <backend Be>
  factors<Be> operator()(Be&, const target_layer<Be>&) const {
    static_assert(
        never<Be>,
        "preheat: init::corda needs the covariance of the layer's input. Call fit(method, "
        "network, batches, options), which computes it, or pass it, n×n, as the third "
        "argument");
    return {};
  }
};

}  // namespace preheat::init
