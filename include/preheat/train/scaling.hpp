// The factor s in ΔW = s·B·A from α and the rank of a layer, and α from s.
//
//   scaling::over_rank(alpha)       s = α/r       (LoRA; the default, with α = twice the rank)
//   scaling::over_sqrt_rank(alpha)  s = α/√r      (rsLoRA, Kalajdzievski, arXiv 2312.03732)
//   scaling::constant(s)            the same s for every rank
#pragma once
#include <cmath>

#include "../core/types.hpp"

namespace preheat {

struct scaling_rule {
  enum class form { over_rank, over_sqrt_rank, constant };
  form kind = form::over_rank;
  double value = 0;  // α, or s; 0 with over_rank means α = 2·options.rank

  double operator()(index_t rank, index_t wanted_rank) const;
};

namespace detail {
// α/s at this rank.
inline double alpha_per_scaling(scaling_rule::form form, index_t rank) {
  switch (form) {
    case scaling_rule::form::over_rank:
      return double(rank);
    case scaling_rule::form::over_sqrt_rank:
      return std::sqrt(double(rank));
    case scaling_rule::form::constant:
      break;
  }
  return 1;
}
}  // namespace detail

// The factor s of a layer of this rank.
inline double scaling_of(scaling_rule::form form, double alpha, index_t rank) {
  return alpha / detail::alpha_per_scaling(form, rank);
}
// The inverse: the α that gives a layer of this rank the factor s.
inline double alpha_of(scaling_rule::form form, double s, index_t rank) {
  return s * detail::alpha_per_scaling(form, rank);
}

inline double scaling_rule::operator()(index_t rank, index_t wanted_rank) const {
  const bool twice_the_rank = value == 0 && kind == form::over_rank;
  return scaling_of(kind, twice_the_rank ? 2.0 * double(wanted_rank) : value, rank);
}

namespace scaling {
inline scaling_rule over_rank(double alpha) {
  return {scaling_rule::form::over_rank, alpha};
}
inline scaling_rule over_sqrt_rank(double alpha) {
  return {scaling_rule::form::over_sqrt_rank, alpha};
}
inline scaling_rule constant(double s) {
  return {scaling_rule::form::constant, s};
}
}  // namespace scaling

}  // namespace preheat
