// The library's method for a start.
#pragma once
#include <preheat/preheat.hpp>

#include "start_config.hpp"

namespace studies::map {

using preheat::index_t;

namespace detail {

template <class Preheat, class F>
auto with_hrp(const start_config& c, preheat::singular_side side, F f) {
  return f(preheat::hrp<Preheat>{.init = {.side = side,
                                          .rank = c.rank,
                                          .steps = index_t(c.steps),
                                          .row_norm = c.row_norm > 0 ? c.row_norm : 1.0}});
}

template <template <class> class Preheat, class F>
auto with_optimizer(const start_config& c, preheat::singular_side side, F f) {
  if (c.optimizer == optimizer::sgd) {
    return with_hrp<Preheat<preheat::optim::sgd>>(c, side, f);
  }
  return with_hrp<Preheat<preheat::optim::adamw>>(c, side, f);
}

template <class Optim>
using train_a = preheat::method<preheat::adapter::asymmetric<preheat::parameter_role::A>,
                                preheat::init::orthogonal, Optim>;
template <class Optim>
using train_b = preheat::method<preheat::adapter::asymmetric<preheat::parameter_role::B>,
                                preheat::init::orthogonal, Optim>;
template <class Optim>
using classic = preheat::method<Optim>;

}  // namespace detail

// f(method) with the method that the config describes.
template <class F>
auto with_method(const start_config& c, F f) {
  switch (c.from) {
    case start::kaiming:
      return f(preheat::lora{.init = {.row_norm = c.row_norm}});
    case start::gaussian:
      return f(preheat::lora_gaussian{.init = {.row_norm = c.row_norm}});
    case start::orthonormal:
      return f(preheat::lora_orthogonal{.init = {.row_norm = c.row_norm > 0 ? c.row_norm : 1}});
    case start::preheated:
      break;
  }
  switch (c.preheating) {
    case preheating_kind::train_a:
      return detail::with_optimizer<detail::train_a>(c, preheat::singular_side::automatic, f);
    case preheating_kind::train_b:
      return detail::with_optimizer<detail::train_b>(c, preheat::singular_side::automatic, f);
    case preheating_kind::classic:
      break;
  }
  return detail::with_optimizer<detail::classic>(
      c,
      c.side == singular_side::left ? preheat::singular_side::left : preheat::singular_side::right,
      f);
}

}  // namespace studies::map
