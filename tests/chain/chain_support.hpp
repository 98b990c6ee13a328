// What the tests of the chains share: a run on regressions side by side that can be watched when a
// block starts, and that ends with the same bits when it is resumed.
#pragma once
#include <algorithm>
#include <functional>
#include <preheat/methods.hpp>
#include <preheat/train/fit.hpp>
#include <utility>
#include <vector>

#include "support/backends.hpp"
#include "support/dense.hpp"
#include "support/regressions.hpp"

namespace conformance {

// Batches that tell when one is drawn: after the hooks before the step, so that a listener sees
// the factors of a fresh block before they move.
struct watched_batches {
  std::function<void(index_t step)> at_draw{};

  void load(const preheat::generator&, index_t step, column_range& batch) const {
    if (at_draw) {
      at_draw(step);
    }
    batch = regression_data::batch(step);
  }
};

// The regressions of the given shapes (out×in), on the tables and on a backend.
template <preheat::backend Be>
struct chain_problem {
  regression_data data;
  Be be{};
  regressions<Be> net;
  watched_batches batches{};

  explicit chain_problem(const std::vector<std::pair<index_t, index_t>>& shapes,
                         std::uint64_t seed = 300)
      : data(shapes, seed), net(be, data) {}
  chain_problem(const chain_problem&) = delete;
  chain_problem& operator=(const chain_problem&) = delete;

  // On all tokens, with the run's adapters; and of the base alone.
  template <class Linear>
  double loss(Linear& linear) {
    return double(net.loss(regression_data::everything(), linear));
  }
  double base_loss() {
    preheat::base_operator<Be> linear(net);
    return loss(linear);
  }
  table read(const preheat::mat<Be>& x) { return conformance::read<Be>(be, x); }
  // W + s·B·A of a layer of a run, or W if nothing is attached.
  template <class Run>
  table whole(Run& run, std::size_t l) {
    const auto& adapted_layer = run.adapters.layers()[l];
    const table W = read(net.layers()[l].W);
    return adapted_layer.attached
               ? W + double(adapted_layer.scaling) *
                         (read(adapted_layer.parameters.B) * read(adapted_layer.parameters.A))
               : W;
  }
};

// What most tests run: blocks of four steps with AdamW.
inline const std::vector<std::pair<index_t, index_t>> four_layers{{5, 4}, {4, 6}, {6, 5}, {3, 7}};
inline constexpr index_t period = 4;
inline constexpr index_t steps = 14;  // three whole blocks and half a one

inline preheat::xgblora boosters(index_t layers) {
  return {.optim = {.lr = 0.1}, .chain = {.period = period, .layers = layers}};
}
inline const preheat::cola blocks{.optim = {.lr = 0.1}, .chain = {.period = period}};

inline preheat::fit_options settings(index_t rank = 2) {
  return {.rank = rank, .steps = steps, .scaling = preheat::scaling::constant(1.5)};
}

// The singular values of a table, decreasing.
template <preheat::backend Be>
std::vector<double> singular_values(Be& be, const table& t) {
  return read<Be>(be, be.svd(matrix(be, t)).S).values;
}
inline index_t count_above(const std::vector<double>& values, double threshold) {
  return std::count_if(values.begin(), values.end(), [&](double x) { return x > threshold; });
}

// A run that was saved after `stop` steps and resumed on a fresh network ends with the same bits.
template <class Method>
void check_resume(const Method& m, index_t stop) {
  using Be = cpu_double;
  preheat::training_state saved;
  preheat::fit_options options = settings();
  options.checkpoint_every = stop;
  options.checkpoint = [&](const preheat::training_state& s) {
    saved = saved.entries.empty() ? s : saved;
  };
  chain_problem<Be> whole(four_layers);
  const auto first = preheat::fit(m, whole.net, whole.batches, options);
  chain_problem<Be> half(four_layers);
  options.checkpoint = nullptr;
  options.resume = &saved;
  const auto second = preheat::fit(m, half.net, half.batches, options);
  CHECK(first.losses == second.losses);
  for (std::size_t l = 0; l < 4; ++l) {
    CHECK(same(whole.net.weights()[l], half.net.weights()[l]));
  }
}

}  // namespace conformance
