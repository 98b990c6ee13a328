// The factor s in ΔW = s·B·A, given the rank of a layer.
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
  double value = 0;  // α, or s; 0 with over_rank means α = 2·(the rank fit was asked for)

  double operator()(index_t rank, index_t wanted_rank) const {
    const double alpha = value == 0 && kind == form::over_rank ? 2.0 * double(wanted_rank) : value;
    switch (kind) {
      case form::over_rank:
        return alpha / double(rank);
      case form::over_sqrt_rank:
        return alpha / std::sqrt(double(rank));
      case form::constant:
        break;
    }
    return alpha;
  }
};

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
