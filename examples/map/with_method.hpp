// The library's method for a cell.
#pragma once
#include <preheat/preheat.hpp>

#include "cell.hpp"

namespace preheat_map {

using preheat::index_t;

namespace detail {

template <class Warm, class F>
auto with_hrp(const cell& c, preheat::side side, F f) {
  return f(preheat::hrp<Warm>{.init = {.side = side,
                                       .rank = c.rank,
                                       .steps = index_t(c.steps),
                                       .row_norm = c.row_norm > 0 ? c.row_norm : 1.0}});
}

template <template <class> class Warm, class F>
auto with_optimizer(const cell& c, preheat::side side, F f) {
  if (c.optimizer == optimizer::sgd) {
    return with_hrp<Warm<preheat::optim::sgd>>(c, side, f);
  }
  return with_hrp<Warm<preheat::optim::adamw>>(c, side, f);
}

template <class Optim>
using train_a = preheat::method<preheat::adapter::asymmetric<preheat::role::A>,
                                preheat::init::orthogonal, Optim>;
template <class Optim>
using train_b = preheat::method<preheat::adapter::asymmetric<preheat::role::B>,
                                preheat::init::orthogonal, Optim>;
template <class Optim>
using classic = preheat::method<Optim>;

}  // namespace detail

// f(method) with the method that the cell means.
template <class F>
auto with_method(const cell& c, F f) {
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
  switch (c.warm) {
    case warm::train_a:
      return detail::with_optimizer<detail::train_a>(c, preheat::side::automatic, f);
    case warm::train_b:
      return detail::with_optimizer<detail::train_b>(c, preheat::side::automatic, f);
    case warm::classic:
      break;
  }
  return detail::with_optimizer<detail::classic>(
      c, c.side == side::left ? preheat::side::left : preheat::side::right, f);
}

}  // namespace preheat_map
