// The truncated SVD of a dense matrix by a block Krylov method: randomized, with far fewer passes
// over W than power iterations need for the same error.
//
// Block Krylov iteration (Musco & Musco, "Randomized block Krylov methods for stronger and faster
// approximate singular value decomposition", NeurIPS 2015), as a block Lanczos process with full
// reorthogonalization. With M = W if it has no more rows than columns, else Wᵀ:
//
//   Q₀ = qr(M·Ω),  P_j = Mᵀ·Q_j,  Q_{j+1} = qr of M·P_j less its part in span(Q₀ … Q_j)
//
// On a device the Q_j are made without waiting, by Cholesky factors in double (device_krylov.hpp).
//
// After `depth` such steps M ≈ Q·Pᵀ with all Q_j and P_j side by side, and the SVD of that product
// is the answer. Where power iteration keeps the last block only, this keeps all of them: the error
// of a singular value falls as exp(−4·depth·√gap), not as exp(−2·depth·gap).
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "device_krylov.hpp"
#include "factored_svd.hpp"
#include "truncated_svd.hpp"

namespace preheat::linalg {

// Columns of a block, 0: as many as singular triplets are asked, but at least 16; and the number of
// steps after the first block.
struct krylov_options {
  index_t block = 0;
  index_t depth = 6;
};

namespace detail {

// X becomes an orthonormal basis of what its columns add to the orthonormal columns of Q.
template <backend Be, random_generator G>
void orthonormalize_against(Be& be, const_view_of<Be> Q, mat<Be>& X, const G& gen) {
  using T = scalar_of<Be>;
  if (Q.cols() == 0) {
    X = be.qr(X).Q;
    return;
  }
  // Subtracts from X its part in span(Q), and returns ‖QᵀX‖².
  const auto project = [&] {
    const mat<Be> part = product<Be>(be, transpose::yes, Q, transpose::no, X);
    be.gemm(-1, transpose::no, Q, transpose::no, part, 1, X);
    return double(be.dot(part, part));
  };
  const double rounding = 8 * double(std::numeric_limits<T>::epsilon()) * double(be.max_abs(X));
  project();
  qr_result<mat<Be>> f = be.qr(X);
  if (smallest_diagonal(be, f.R) <= 8 * rounding) {
    // Some column adds nothing: what is left of it is rounding, which lies anywhere. A random part
    // larger than that gives it a direction of its own.
    const double level = rounding > 0 ? rounding : 1;
    be.apply(axpby<T>{1, 1}, X, normal(be, X.rows(), X.cols(), level, gen));
    project();
    f = be.qr(X);
  }
  X = std::move(f.Q);
  // Now XᵀX = I, and I − (QᵀX)ᵀ(QᵀX) once what rounding left in span(Q) is subtracted.
  if (project() > double(std::numeric_limits<T>::epsilon()) / 4) {
    X = be.qr(X).Q;
  }
}

// The basis by `orthonormalize_against`: Q has the columns before `first`.
template <backend Be, random_generator G>
struct careful_basis {
  Be& be;
  const mat<Be>& Q;
  const G& gen;
  mat<Be> operator()(index_t first, const_view_of<Be> X) {
    mat<Be> added = clone<Be>(be, X);
    orthonormalize_against<Be>(be, view(Q).col_range(0, first), added,
                               gen.fork(purpose::completion, std::uint64_t(first)));
    return added;
  }
  static bool holds() { return true; }
};

// The SVD of Q·Pᵀ, Q with orthonormal columns, by the eigenvectors of PᵀP where squares are good
// enough for r singular values.
template <backend Be, random_generator G>
svd_result<mat<Be>> ritz_svd(Be& be, const mat<Be>& Q, const mat<Be>& P, index_t r, const G& gen) {
  using T = scalar_of<Be>;
  eigh_result<mat<Be>> e = largest_eigenpairs<Be>(be, gram<Be>(be, transpose::yes, P), r);
  const std::vector<T> squares = be.download(e.values);
  const double smallest = double(squares.back());
  if (!(smallest > 0 && smallest * magnification >= double(squares.front()))) {
    return factored_svd<Be>(be, Q, transposed<Be>(be, P), r, gen);
  }
  be.apply(root<T>{1}, e.values);
  mat<Be> U = product(be, transpose::no, Q, transpose::no, e.vectors);
  // P·w = σ·v, orthogonal but for rounding.
  return {std::move(U), std::move(e.values),
          unique_q<Be>(be, be.qr(product(be, transpose::no, P, transpose::no, e.vectors)))};
}

}  // namespace detail

// The first r singular triplets of W, approximately: singular values from below, U and V with
// orthonormal columns. Errors: rank out of range, NaN or infinity. Cost: 2·(depth + 1) products of
// W with a block, O((m + n)·columns²) for orthogonality, columns = block·(depth + 1) cut to
// min(m, n).
template <backend Be, random_generator G>
svd_result<mat<Be>> krylov_svd(Be& be, const_view_of<Be> W, index_t r,
                               const krylov_options& options, const G& gen) {
  using T = scalar_of<Be>;
  detail::require_rank(r, W.rows(), W.cols());
  require(options.block >= 0, "Krylov block >= 0", options.block, 0);
  require(options.depth >= 0, "Krylov depth >= 0", options.depth, 0);
  const bool wide = W.rows() <= W.cols();
  const transpose forward = wide ? transpose::no : transpose::yes;  // M  = forward(W), small×large
  const transpose backward = wide ? transpose::yes : transpose::no;  // Mᵀ = backward(W)
  const index_t small = std::min(W.rows(), W.cols());
  const index_t large = std::max(W.rows(), W.cols());
  const index_t smallest_block = 16;
  const index_t asked = options.block > 0 ? options.block : std::max(r, smallest_block);
  const index_t block = std::clamp(asked, r, small);
  const index_t columns = std::min(block * (options.depth + 1), small);

  mat<Be> Q = be.zeros(small, columns);
  mat<Be> P = be.zeros(large, columns);
  // Uniform numbers: they sketch as well as normal ones, and are drawn in a quarter of the time.
  const mat<Be> omega = uniform(be, large, block, 1, gen.fork(purpose::sketch));
  mat<Be> X = product<Be>(be, forward, W, transpose::no, omega);
  // W/magnitude has entries of about one: its squares neither overflow nor vanish.
  double magnitude = double(be.max_abs(X));
  if (!std::isfinite(magnitude)) {
    magnitude = require_finite(be, W, "krylov_svd: W");
    X = product<Be>(be, forward, W, transpose::no, omega, T(1 / magnitude));
  } else {
    magnitude = std::max(magnitude, 4 * double(std::numeric_limits<T>::min()));
    be.apply(scale<T>{T(1 / magnitude)}, X);
  }
  const auto space_of = [&](auto basis, mat<Be> next) {
    for (index_t first = 0; first < columns; first += block) {
      const index_t count = std::min(block, columns - first);
      const mat<Be> added = basis(first, view(next).col_range(0, count));
      be.copy(transpose::no, added, view(Q).col_range(first, count));
      be.gemm(T(1 / magnitude), backward, W, transpose::no, added, 0,
              view(P).col_range(first, count));
      if (first + block < columns) {
        be.resize(next, small, count);
        be.gemm(T(1 / magnitude), forward, W, transpose::no, view(P).col_range(first, count), 0,
                next);
      }
    }
    return basis.holds();
  };
  const detail::careful_basis<Be, G> careful{be, Q, gen};
  svd_result<mat<Be>> d;
  if constexpr (detail::wide_on_device<Be>) {
    if (space_of(detail::unwaited_basis<Be>(be, small, columns), clone<Be>(be, X))) {
      d = factored_svd<Be>(be, Q, transposed<Be>(be, P), r, gen);
    } else {
      space_of(careful, std::move(X));
      d = detail::ritz_svd<Be>(be, Q, P, r, gen);
    }
  } else {
    space_of(careful, std::move(X));
    d = detail::ritz_svd<Be>(be, Q, P, r, gen);
  }
  if (!wide) {
    std::swap(d.U, d.V);
  }
  fix_signs(be, d.U, d.V);
  be.apply(scale<T>{T(magnitude)}, d.S);
  return d;
}

}  // namespace preheat::linalg
