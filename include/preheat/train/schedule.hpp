// Learning-rate schedules, as transformers' get_*_schedule functions define them: the factor on the
// base rate that step k (from 0) of a run of `total` steps uses. With w warmup steps, all of them
// but `constant` ramp up linearly, factor k/w for k < w, so the very first step of a warmup has
// rate 0; after the ramp, x = (k − w)/(total − w):
//
//   constant                 1
//   linear                   1 − x
//   cosine                   ½(1 + cos(2π·cycles·x)),            cycles = ½: half a wave
//   cosine_with_restarts     ½(1 + cos(π·((cycles·x) mod 1)))
//   polynomial               (1 − e)(1 − x)^power + e,           e = end rate / base rate
//   inverse_sqrt             1/√((k + shift)/timescale),         shift = timescale − w
//
// `fit_options::schedule` takes any of them, or any callable double(step, total).
#pragma once
#include <algorithm>
#include <cmath>
#include <numbers>

#include "../core/types.hpp"

namespace preheat::schedule {

namespace detail {
// The factor of step k: k/w during the w warmup steps, after() from then on.
template <class After>
double after_warmup(index_t step, index_t warmup, After after) {
  return step < warmup ? double(step) / double(warmup) : after();
}
// The fraction of the steps after warmup that has passed, 0 at their start.
inline double passed(index_t step, index_t warmup, index_t total) {
  return double(step - warmup) / double(std::max<index_t>(1, total - warmup));
}
}  // namespace detail

struct constant {
  index_t warmup = 0;
  double operator()(index_t step, index_t) const {
    return detail::after_warmup(step, warmup, [] { return 1.0; });
  }
};

struct linear {
  index_t warmup = 0;
  double operator()(index_t step, index_t total) const {
    return detail::after_warmup(step, warmup, [&] {
      return std::max(0.0, double(total - step) / double(std::max<index_t>(1, total - warmup)));
    });
  }
};

struct cosine {
  index_t warmup = 0;
  double cycles = 0.5;
  double operator()(index_t step, index_t total) const {
    return detail::after_warmup(step, warmup, [&] {
      const double x = detail::passed(step, warmup, total);
      return std::max(0.0, 0.5 * (1 + std::cos(std::numbers::pi * cycles * 2 * x)));
    });
  }
};

struct cosine_with_restarts {
  index_t warmup = 0;
  index_t cycles = 1;
  double operator()(index_t step, index_t total) const {
    return detail::after_warmup(step, warmup, [&] {
      const double x = detail::passed(step, warmup, total);
      const double wave =
          0.5 * (1 + std::cos(std::numbers::pi * std::fmod(double(cycles) * x, 1.0)));
      return x >= 1 ? 0.0 : std::max(0.0, wave);
    });
  }
};

struct polynomial {
  index_t warmup = 0;
  double power = 1;
  double end = 1e-7;  // end rate / base rate
  double operator()(index_t step, index_t total) const {
    return detail::after_warmup(step, warmup, [&] {
      const double x = detail::passed(step, warmup, total);
      return step > total ? end : (1 - end) * std::pow(1 - x, power) + end;
    });
  }
};

struct inverse_sqrt {
  index_t warmup = 0;
  double timescale = 0;  // 0: the warmup steps, or 10000 without warmup
  double operator()(index_t step, index_t) const {
    return detail::after_warmup(step, warmup, [&] {
      const double scale = timescale > 0 ? timescale : (warmup > 0 ? double(warmup) : 10000.0);
      const double shift = scale - double(warmup);
      return 1 / std::sqrt((double(step) + shift) / scale);
    });
  }
};

}  // namespace preheat::schedule
