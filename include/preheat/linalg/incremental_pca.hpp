// Incremental principal component analysis: the k main components of tokens that arrive in batches
// and are not kept (Ross, Lim, Linear, Yang, "Incremental Learning for Robust Visual Tracking", IJCV
// 77, 2008), as scikit-learn and PEFT compute it. A batch X (features × N) of mean x̄ meets the
// components V, their singular values S and the mean μ of the t tokens before it:
//
//   [ diag(S)·Vᵀ ; (X − x̄)ᵀ ; √(t·N/(t + N))·(x̄ − μ)ᵀ ]  =  U·S'·V'ᵀ,  the first k triplets kept
//
// While k is at least the rank of the centred tokens, S' and V' are exactly those of all tokens so
// far, less their mean. Otherwise each update loses the variance outside the components kept so far.
// The total variance counts every token, so the explained ratios are those of all tokens.
//
// Singular values that are zero to rounding are not components: constant tokens have none, t tokens
// have at most t − 1. In every component the entry of largest magnitude is positive.
// Errors: k < 1; NaN or infinity; batches of different numbers of features. An empty batch changes
// nothing. Cost of a batch: an exact SVD, O((k + N)·features·min(k + N, features)), where PEFT takes
// a randomized one; memory O((k + N)·features) for its time, O(k·features) between batches.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "truncated_svd.hpp"

namespace preheat::linalg {

template <backend Be>
class incremental_pca {
  using T = scalar_of<Be>;

 public:
  explicit incremental_pca(index_t components = 1) : wanted_(components) {
    require(components >= 1, "incremental_pca: components >= 1", components, 1);
  }

  void add(Be& be, const_view_of<Be> X) {
    const index_t n = X.rows();
    const index_t count = X.cols();
    if (count == 0) {
      return;
    }
    if (tokens_ == 0) {
      mean_ = be.zeros(n, 1);
      components_ = be.zeros(n, 0);
    }
    require(n == mean_.rows(), "incremental_pca: features of a batch = features of the first", n,
            mean_.rows());
    magnitude_ = std::max(magnitude_, require_finite(be, X, "incremental_pca: a batch"));

    mat<Be> centred = clone<Be>(be, X);
    mat<Be> shift = centre(be, centred);  // x̄, then √(t·N/(t + N))·(x̄ − μ)
    be.apply(axpby<T>{-1, 1}, shift, mean_);
    const double part = double(count) / double(tokens_ + count);
    be.apply(axpby<T>{T(part), 1}, mean_, shift);
    be.apply(scale<T>{T(std::sqrt(double(tokens_) * part))}, shift);
    total_ += double(be.dot(centred, centred)) + double(be.dot(shift, shift));
    tokens_ += count;

    const index_t old = found();
    mat<Be> stack = be.zeros(old + count + 1, n);
    const view<T> rows = stack;
    mat<Be> sigma = be.zeros(old, 1);
    be.upload(sigma_, sigma);
    be.copy(transpose::yes, components_, rows.row_range(0, old));
    be.scale_rows(sigma, rows.row_range(0, old));
    be.copy(transpose::yes, centred, rows.row_range(old, count));
    be.copy(transpose::yes, shift, rows.row_range(old + count, 1));
    keep(be, truncated_svd<Be>(be, stack, std::min({wanted_, stack.rows(), n})),
         std::min(stack.rows(), n));
  }

  index_t wanted() const { return wanted_; }
  index_t tokens() const { return tokens_; }
  // The components there are, at most `wanted`: features × found, orthonormal columns, the one of
  // most variance first; and the singular values of the centred tokens along them.
  index_t found() const { return components_.cols(); }
  const mat<Be>& components() const { return components_; }
  const std::vector<T>& singular_values() const { return sigma_; }
  const mat<Be>& mean() const { return mean_; }  // features × 1
  // The squared norm of all centred tokens, and the part of it along each component.
  double total() const { return total_; }
  std::vector<double> explained_ratios() const {
    std::vector<double> ratios;
    for (const T s : sigma_) {
      ratios.push_back(double(s) * double(s) / total_);
    }
    return ratios;
  }
  // |cosine| between each component and the one in its place before the last batch; 0 where there
  // was none.
  const std::vector<double>& agreement() const { return agreement_; }

 private:
  // Subtracts the mean of the columns and returns it. The second pass subtracts what rounding left.
  static mat<Be> centre(Be& be, mat<Be>& X) {
    mat<Be> mean = be.zeros(X.rows(), 1);
    for (int time = 0; time < 2; ++time) {
      mat<Be> negative = be.zeros(X.rows(), 1);
      be.add_row_sums(T(-1) / T(X.cols()), X, negative);
      be.add_to_cols(negative, X);
      be.apply(axpby<T>{-1, 1}, mean, negative);
    }
    return mean;
  }

  // Of d, the triplets that are not rounding: that of an SVD of this size, or of the tokens' own
  // numbers.
  void keep(Be& be, const svd_result<mat<Be>>& d, index_t size) {
    constexpr double epsilon = double(std::numeric_limits<T>::epsilon());
    const view<const T> V = d.V;
    sigma_ = be.download(d.S);
    const double cut =
        epsilon * (double(size) * double(sigma_[0]) + 4 * magnitude_ * std::sqrt(double(tokens_)));
    index_t significant = 0;
    while (significant < d.S.rows() && double(sigma_[significant]) > cut) {
      ++significant;
    }
    sigma_.resize(std::size_t(significant));
    agreement_.assign(std::size_t(significant), 0);
    const index_t both = std::min(significant, found());
    if (both > 0) {
      const mat<Be> cosines = product<Be>(be, transpose::yes, view(components_).col_range(0, both),
                                          transpose::no, V.col_range(0, both));
      const std::vector<T> host = be.download(cosines);
      for (index_t i = 0; i < both; ++i) {
        agreement_[i] = std::abs(double(host[i + i * both]));
      }
    }
    components_ = clone<Be>(be, V.col_range(0, significant));
  }

  index_t wanted_;
  index_t tokens_ = 0;
  double magnitude_ = 0;  // of the largest entry seen
  double total_ = 0;
  mat<Be> mean_;
  mat<Be> components_;
  std::vector<T> sigma_;
  std::vector<double> agreement_;
};

}  // namespace preheat::linalg
