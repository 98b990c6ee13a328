// An init written by a user of the library, not by the library: the factors of every layer are
// given. It lets a run begin where a recorded run began.
#pragma once
#include <cstddef>
#include <preheat/core/concepts.hpp>
#include <vector>

#include "fixtures.hpp"

namespace golden {

struct stored_factors {
  dense A;
  dense B;
};

// Product says whether B·A is zero, which adapters that freeze a factor ask for.
template <preheat::initial_product Product>
struct stored_start {
  using axis = preheat::axes::init;
  static constexpr preheat::initial_product product = Product;

  std::vector<stored_factors> layers;  // one for each layer of the network

  template <preheat::backend Be>
  preheat::factors<Be> operator()(Be&, const preheat::target_layer<Be>& site) const {
    const stored_factors& stored = layers.at(static_cast<std::size_t>(site.layer));
    return {preheat::mat<Be>(stored.A), preheat::mat<Be>(stored.B)};
  }
};

}  // namespace golden
