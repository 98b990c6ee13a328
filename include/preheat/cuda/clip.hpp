// Gradient clipping without the host: every matrix is multiplied by min(1, bound/(norm + 1e-6)), where norm is the
// Frobenius norm of all of them together.
//
// Squares are summed in double, in an order that depends on the shapes alone. Cost: a launch for about a hundred
// matrices, one for the factor, and one for about forty matrices (collected.hpp). Nothing waits.
#pragma once
#include <cmath>
#include <span>

#include "collected.hpp"
#include "launch_groups.hpp"
#include "matrix.hpp"

namespace preheat {

namespace cuda_kernels {

// Number m·pieces + p: the sum of the squares of piece p of matrix m.
template <class T>
struct sums_of_squares {
  static constexpr index_t pieces = 64;
  struct part {
    window<const T> x;
    index_t entries;
  };
  static constexpr index_t most = index_t(3840 / sizeof(part));

  part parts[std::size_t(most)];
  double* sums;
  template <class Group>
  constexpr void operator()(const Group& group, index_t k) const {
    const part& from = parts[k / pieces];
    double sum = 0;
    for (index_t e = k % pieces * group.size() + group.rank(); e < from.entries;
         e += pieces * group.size()) {
      const double value = double(from.x[e]);
      sum += value * value;
    }
    sum = group.sum(sum);
    if (group.rank() == 0) {
      sums[k] = sum;
    }
  }
};
// factor = min(1, bound/(√(Σ sums) + 1e-6)); 1 if that is NaN
template <class T>
struct clipping_factor {
  const double* sums;
  index_t count;
  double bound;
  T* factor;
  template <class Group>
  constexpr void operator()(const Group& group, index_t) const {
    double sum = 0;
    for (index_t k = group.rank(); k < count; k += group.size()) {
      sum += sums[k];
    }
    const double wanted = bound / (std::sqrt(group.sum(sum)) + 1e-6);
    if (group.rank() == 0) {
      *factor = T(wanted < 1 ? wanted : 1);
    }
  }
};
template <class T>
struct scale_by {
  const T* factor;
  constexpr void operator()(index_t, T& x) const { x *= *factor; }
};

}  // namespace cuda_kernels

namespace detail {

template <class T>
class cuda_clipper {
 public:
  void operator()(const std::shared_ptr<const cuda_context>& context, double bound,
                  std::span<const view<T>> all) {
    using squares = cuda_kernels::sums_of_squares<T>;
    const index_t sums = index_t(all.size()) * squares::pieces;
    sums_.resize(context, sums, 1);
    factor_.resize(context, 1, 1);
    for (std::size_t first = 0; first < all.size(); first += std::size_t(squares::most)) {
      const auto some =
          all.subspan(first, std::min(all.size() - first, std::size_t(squares::most)));
      squares kernel{};
      for (std::size_t k = 0; k < some.size(); ++k) {
        kernel.parts[k] = {cuda_kernels::window_of(view<const T>(some[k])), some[k].size()};
      }
      kernel.sums = sums_.data() + index_t(first) * squares::pieces;
      launch_groups(*context, group_kind::block, index_t(some.size()) * squares::pieces, kernel);
    }
    launch_groups(*context, group_kind::block, 1,
                  cuda_kernels::clipping_factor<T>{sums_.data(), sums, bound, factor_.data()});
    for (const view<T>& x : all) {
      pass_over(*context, cuda_kernels::scale_by<T>{factor_.data()}, x);
    }
  }

 private:
  cuda_matrix<double> sums_;
  cuda_matrix<T> factor_;
};

}  // namespace detail
}  // namespace preheat
