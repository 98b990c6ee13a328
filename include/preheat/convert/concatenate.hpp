// Sums of products B_i·A_i that stay in factors. With weights a_i on A_i and b_i on B_i:
//
//   concatenated  A = [a₁A₁; a₂A₂; …],  B = [b₁B₁, b₂B₂, …]:  B·A = Σ_i a_i·b_i·B_i·A_i exactly, and the
//                 ranks add up
//   added         A = Σ_i a_i·A_i,  B = Σ_i b_i·B_i, of one rank: B·A has the mixed products B_i·A_j too
//
// A_i is r_i×n, B_i is m×r_i. A weight of 1 leaves every bit as it is. Errors: no term; shapes that do
// not go together. Cost: O((m + n)·Σr_i).
#pragma once
#include <cmath>
#include <vector>

#include "../linalg/elementwise.hpp"

namespace preheat {

struct factor_weights {
  double on_A = 1;
  double on_B = 1;
};

// The kinds of weighted sums, as PEFT names them (convert/weighted_sum.hpp).
enum class combination { svd, linear, cat };

// Where the factor w·s of a term goes. [PEFT] The square roots of `linear` are taken in float.
inline factor_weights weights_of_term(combination kind, double weight) {
  if (kind != combination::linear) {
    return {weight, 1};
  }
  const double root = double(std::sqrt(float(std::abs(weight))));
  return {weight < 0 ? -root : root, root};
}

// The factors of one term, which the caller keeps, and their weights.
template <class Be>
struct weighted_factors {
  const_view_of<Be> A;
  const_view_of<Be> B;
  factor_weights weights{};
};

namespace detail {

template <class Be>
void require_terms(const std::vector<weighted_factors<Be>>& terms) {
  require(!terms.empty(), "a sum of adapters has at least one term");
  const index_t m = terms.front().B.rows();
  const index_t n = terms.front().A.cols();
  for (const weighted_factors<Be>& t : terms) {
    require(t.B.cols() == t.A.rows(), "a term of a sum: columns of B = rows of A", t.B.cols(),
            t.A.rows());
    require(t.A.cols() == n, "terms of a sum: all A have the same columns", t.A.cols(), n);
    require(t.B.rows() == m, "terms of a sum: all B have the same rows", t.B.rows(), m);
  }
}

// to = weight·from
template <backend Be>
void copy_weighted(Be& be, double weight, const_view_of<Be> from, view_of<Be> to) {
  be.copy(transpose::no, from, to);
  if (weight != 1) {
    be.apply(linalg::scale<scalar_of<Be>>{scalar_of<Be>(weight)}, to);
  }
}

}  // namespace detail

template <backend Be>
factors<Be> concatenated(Be& be, const std::vector<weighted_factors<Be>>& terms) {
  detail::require_terms(terms);
  index_t rank = 0;
  for (const weighted_factors<Be>& t : terms) {
    rank += t.A.rows();
  }
  factors<Be> sum{be.zeros(rank, terms.front().A.cols()), be.zeros(terms.front().B.rows(), rank)};
  index_t at = 0;
  for (const weighted_factors<Be>& t : terms) {
    const index_t r = t.A.rows();
    detail::copy_weighted(be, t.weights.on_A, t.A, view(sum.A).row_range(at, r));
    detail::copy_weighted(be, t.weights.on_B, t.B, view(sum.B).col_range(at, r));
    at += r;
  }
  return sum;
}

template <backend Be>
factors<Be> added(Be& be, const std::vector<weighted_factors<Be>>& terms) {
  using T = scalar_of<Be>;
  detail::require_terms(terms);
  const index_t rank = terms.front().A.rows();
  factors<Be> sum{be.zeros(rank, terms.front().A.cols()), be.zeros(terms.front().B.rows(), rank)};
  for (const weighted_factors<Be>& t : terms) {
    require(t.A.rows() == rank, "factors are added at one rank", t.A.rows(), rank);
    be.apply(linalg::axpby<T>{T(t.weights.on_A), 1}, sum.A, t.A);
    be.apply(linalg::axpby<T>{T(t.weights.on_B), 1}, sum.B, t.B);
  }
  return sum;
}

}  // namespace preheat
