// HRP in the metric of the layer's input: ours. [preheat] After a step of SGD the preheated product B·A is a
// sketch of the layer's gradient, and the main directions of a gradient are mostly those in which the inputs
// are large. The layer's linear regression would answer B·A·C⁻¹ instead, and of that the start takes the
// directions:
//
//   C = mean of x·xᵀ over the tokens of `batches` batches, at the base weights        (n×n)
//   RᵀR = C + δ·p·I,  p = tr C/n                                                      (Cholesky)
//   B·A·R⁻¹ = U·S·Vᵀ,  A = c·√p·Vᵀ·R⁻ᵀ (r×n),  B = 0 (m×r)
//
// With δ → 0 the best B'·A of rank r is the map nearest to B·A·C⁻¹ on these inputs, and A·x has r
// uncorrelated entries of mean square c²·p, as large as for random orthonormal rows of norm c. For δ → ∞ the
// directions are HRP's.
//
// Settings: those of init::hrp; the side is right. Errors: damping <= 0; batches < 1; an adapter that
// freezes B. Cost: HRP's, `batches` steps more, n³/3 operations a layer, and n² numbers of every layer.
#pragma once
#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include <preheat/preheat.hpp>

namespace studies::lm {

template <class Be>
struct whitened_product {
  preheat::factors<Be> f;   // of the preheated product
  preheat::mat<Be> C;       // n×n
  preheat::index_t tokens;  // that C is the mean of
};

template <class Preheat = preheat::init::default_preheat>
struct whitened_hrp : preheat::init::hrp<Preheat> {
  using hrp = preheat::init::hrp<Preheat>;
  template <class Be>
  using calibration = whitened_product<Be>;

  preheat::index_t batches = 1;
  double damping = 0.1;  // δ

  preheat::index_t calibration_steps(preheat::index_t all) const {
    preheat::require(batches >= 1, "whitened_hrp: batches >= 1", batches, 1);
    return hrp::calibration_steps(all) + batches;
  }

  template <class Context, class Be = typename Context::backend_type>
  std::vector<whitened_product<Be>> calibrate(Context& context) const {
    Be& be = context.backend();
    std::vector<whitened_product<Be>> all;
    for (preheat::factors<Be>& f : hrp::calibrate(context)) {
      all.push_back({std::move(f), {}, 0});
    }
    for (const preheat::index_t l : context.targets) {
      const preheat::index_t n = context.layers()[l].W.cols();
      all[l].C = be.zeros(n, n);
    }
    context.watch_inputs(batches, [&](preheat::index_t l, preheat::const_view_of<Be> X) {
      be.gemm(1, preheat::transpose::no, X, preheat::transpose::yes, X, 1, all[l].C);
      all[l].tokens += X.cols();
    });
    for (const preheat::index_t l : context.targets) {
      context.require_finite(all[l].C);
    }
    return all;
  }

  template <preheat::backend Be>
  preheat::factors<Be> operator()(Be& be, const preheat::target_layer<Be>& s,
                                  const whitened_product<Be>& seen) const {
    using T = preheat::scalar_of<Be>;
    namespace linalg = preheat::linalg;
    const preheat::index_t n = s.W.cols();
    preheat::require(damping > 0, "whitened_hrp: damping > 0", damping, 0.0);
    preheat::require(s.side != preheat::singular_side::left,
                     "whitened_hrp: this adapter freezes B, and the directions are those of A");
    preheat::mat<Be> R = preheat::clone(be, seen.C);
    const preheat::mat<Be> identity = linalg::identity(be, n);
    const double tokens = double(std::max<preheat::index_t>(seen.tokens, 1));
    const double power = double(be.dot(R, identity)) / (double(n) * tokens);
    const double unit = power > 0 ? power : 1;  // of inputs that are all zero
    be.apply(linalg::axpby<T>{T(damping * unit), T(1 / tokens)}, R, identity);
    preheat::require(be.cholesky(R), "whitened_hrp: the damped covariance is positive definite");
    preheat::mat<Be> At = linalg::transposed<Be>(be, seen.f.A);
    be.solve_upper(preheat::transpose::yes, R, At);
    auto d = linalg::factored_svd<Be>(be, seen.f.B, linalg::transposed<Be>(be, At), s.rank, s.gen);
    be.solve_upper(preheat::transpose::no, R, d.V);
    be.apply(linalg::scale<T>{T(this->row_norm(s.rank, n) * std::sqrt(unit))}, d.V);
    return {linalg::transposed<Be>(be, d.V), be.zeros(s.W.rows(), s.rank)};
  }

  template <preheat::backend Be>
  preheat::factors<Be> operator()(Be&, const preheat::target_layer<Be>&) const {
    static_assert(preheat::never<Be>, "whitened_hrp learns from data: call fit");
    return {};
  }
};

}  // namespace studies::lm
