// CorDA ("CorDA: Context-Oriented Decomposition Adaptation of Large Language Models", arXiv
// 2406.05223). The SVD of W is weighed by what the layer's input looks like: with the covariance C
// (n×n) of a few batches X (n×tokens) at the base weights,
//
//   C  = mean over batches of x·xᵀ,  x = X/|max X|        C' = C + δ·mean(diag C)·I
//   W·C' = U·S·Vᵀ,  V̂ = C'⁻¹·V                            so that W = U·S·V̂ᵀ
//   A = √(S/s)·V̂ᵀ (r×n),  B = U·√(S/s) (m×r),             W ← W − s·B·A,
//
// of r triplets: `ipm`, instruction-previewed, adapts the first r, the directions that the data use;
// `kpm`, knowledge-preserved, the last r of min(m, n), and so leaves those alone.
//
// As in PEFT's preprocess: |max X| is the magnitude of the largest entry, not the largest
// magnitude; δ starts at `damping` (0.01) and doubles until ‖C'·C'⁻¹ − I‖ <= 0.05; every use of a
// layer in a pass counts as a batch. The number of batches is ours (the paper takes 256 samples).
//
// Ours where PEFT fails: where |max X| is 0, X is divided by its largest magnitude; where all
// inputs were zero, C counts as I. As everywhere, triplets of singular value 0 (kpm on a W without
// full rank) give zero in both factors, which then cannot learn.
// Errors: rank < 1 or > min(m, n); s <= 0; δ <= 0; batches < 1; NaN; a C that is no covariance. A C
// that is not finite sets the scene's status. Cost: `batches` steps; n²·tokens operations and n²
// numbers a layer while gathering; then O(n³ + m·n·min(m, n)) and 2·n² more, a layer at a time.
#pragma once
#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "pissa.hpp"

namespace preheat::init {

enum class corda_mode { ipm, kpm };

// A damped covariance and its inverse.
template <class Be>
struct damped_covariance {
  mat<Be> C;
  mat<Be> inverse;
};

// C + δ·mean(diag C)·I with the first δ of damping, 2·damping, … whose computed inverse is one.
template <backend Be>
damped_covariance<Be> damp_covariance(Be& be, in<Be> C, double damping) {
  using T = scalar_of<Be>;
  constexpr double worst = 0.05;  // PEFT's
  const index_t n = C.rows();
  require(damping > 0, "init::corda: damping > 0", damping, 0.0);
  require(C.cols() == n, "init::corda: the covariance is square", C.cols(), n);
  const double largest = linalg::require_finite(be, C, "init::corda: the covariance");
  mat<Be> ones = be.zeros(n, 1);
  be.fill(1, ones);
  const mat<Be> identity = linalg::identity(be, n);
  const in<Be> weighed = largest > 0 ? C : in<Be>(identity);
  const double mean = double(be.dot(weighed, identity)) / double(n);
  require(mean > 0, "init::corda: mean of the covariance's diagonal > 0", mean, 0.0);

  for (double delta = damping; std::isfinite(double(T(delta * mean))); delta *= 2) {
    mat<Be> damped = clone<Be>(be, weighed);
    be.each(linalg::axpby<T>{T(delta * mean), 1}, damped, identity);
    mat<Be> R = clone<Be>(be, damped);
    if (be.cholesky(R)) {
      mat<Be> inverse = clone<Be>(be, identity);
      be.solve_upper(op::trans, R, inverse);
      be.solve_upper(op::none, R, inverse);
      mat<Be>& error = R;
      be.gemm(1, op::none, damped, op::none, inverse, 0, error);
      be.each(linalg::axpby<T>{-1, 1}, error, identity);
      if (std::sqrt(double(be.dot(error, error))) <= worst) {
        return {std::move(damped), std::move(inverse)};
      }
    }
  }
  throw invalid_argument("init::corda: no damping makes the covariance invertible");
}

struct corda {
  using axis = axes::init;
  using hooks = hook_list<>;
  static constexpr start product = start::absorbed;
  static constexpr evidence_kind needs = evidence_kind::input_covariance;
  template <class Be>
  using evidence = mat<Be>;  // C, n×n

  corda_mode mode = corda_mode::ipm;
  index_t batches = 8;
  double damping = 0.01;

  index_t cost(index_t) const { return batches; }

  template <class Scene, class Be = typename Scene::backend_type>
  std::vector<mat<Be>> gather(Scene& scene) const {
    using T = scalar_of<Be>;
    require(batches >= 1, "init::corda: batches >= 1", batches, 1);
    Be& be = scene.backend();
    std::vector<mat<Be>> C(scene.net.layers().size());
    std::vector<index_t> uses(C.size(), 0);
    for (const index_t l : scene.layers) {
      const index_t n = scene.net.layers()[std::size_t(l)].W.cols();
      C[std::size_t(l)] = be.zeros(n, n);
    }
    scene.watch_inputs(batches, [&](index_t l, in<Be> X) {
      mat<Be> x = clone<Be>(be, X);
      be.each(linalg::scale<T>{1 / scale_of(be, X)}, x);
      be.gemm(1, op::none, x, op::trans, x, 1, C[std::size_t(l)]);
      ++uses[std::size_t(l)];
    });
    for (const index_t l : scene.layers) {
      const index_t count = std::max<index_t>(uses[std::size_t(l)], 1);
      be.each(linalg::scale<T>{1 / T(count)}, C[std::size_t(l)]);
      scene.require_finite(C[std::size_t(l)]);
    }
    return C;
  }

  // The start of one layer from the covariance of its input.
  template <backend Be>
  factors<Be> operator()(Be& be, const site<Be>& s, const mat<Be>& C) const {
    const index_t room = std::min(s.W.rows(), s.W.cols());
    require(1 <= s.rank && s.rank <= room, "init::corda: 1 <= rank <= min(out, in)", s.rank, room);
    require(C.rows() == s.W.cols(), "init::corda: rows of the covariance = in of W", C.rows(),
            s.W.cols());
    const damped_covariance<Be> damped = damp_covariance<Be>(be, C, damping);
    const mat<Be> weighed = linalg::product<Be>(be, op::none, s.W, op::none, damped.C);
    const svd_result<mat<Be>> d = linalg::truncated_svd<Be>(be, weighed, room);
    const index_t first = mode == corda_mode::ipm ? 0 : room - s.rank;
    const in<Be> V = view(d.V).col_range(first, s.rank);
    return detail::split_evenly(
        be,
        svd_result<mat<Be>>{clone<Be>(be, view(d.U).col_range(first, s.rank)),
                            clone<Be>(be, view(d.S).row_range(first, s.rank)),
                            linalg::product<Be>(be, op::none, damped.inverse, op::none, V)},
        s.scaling);
  }

  template <backend Be>
  factors<Be> operator()(Be&, const site<Be>&) const {
    static_assert(
        never<Be>,
        "preheat: init::corda needs the covariance of the layer's input. Call fit(method, "
        "network, batches, options), which gathers it, or pass it, n×n, as the third "
        "argument");
    return {};
  }

 private:
  // |max X|; the largest magnitude where that is 0, and 1 where X is empty or all zero.
  template <backend Be>
  static scalar_of<Be> scale_of(Be& be, in<Be> X) {
    if (X.empty()) {
      return 1;
    }
    const std::vector<scalar_of<Be>> host = be.download(X);
    const scalar_of<Be> peak = std::abs(*std::max_element(host.begin(), host.end()));
    const scalar_of<Be> largest = peak != 0 ? peak : be.max_abs(X);
    return largest != 0 ? largest : scalar_of<Be>(1);
  }
};

}  // namespace preheat::init
