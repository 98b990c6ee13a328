// What explains a start (--why): the curvature where it begins, how much of what full fine-tuning changes
// lies in its directions before and after training, and the spectrum of the product that its preheating
// leaves. Included only where methods are instantiated.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <vector>

#include <preheat/linalg/factored_product.hpp>
#include <preheat/preheat.hpp>
#include <preheat/train/curvature.hpp>

#include "methods.hpp"
#include "model.hpp"
#include "studies/common/full_change.hpp"
#include "studies/common/method_list.hpp"

namespace studies::lm {

using full_change = common::full_change<backend>;

// What full fine-tuning with the batches of a seed changes, trained at why_full_rate. The last seed's is kept;
// threads may share it.
std::shared_ptr<const full_change> full_change_of(const base_model& model, const data_set& set,
                                                  const training_settings& s,
                                                  const run_definition& run);

// Without what an init that is derived from HRP takes of the data besides.
template <class Preheat>
index_t preheating_steps(const preheat::init::hrp<Preheat>& init, index_t all) {
  return init.calibration_steps(all);
}

// Trains the preheating of a method once more, from the same base with other draws, and measures its
// products B·A, the mean over the layers: the share of ‖B·A‖² in the first r directions, and the number of
// directions (Σσ²)²/Σσ⁴, which is 1 if one has it all.
template <class Method>
void measure_preheating(run_outcome& result, const Method& m, const base_model& model,
                        const data_set& set, const training_settings& s,
                        preheat::fit_options options) {
  if constexpr (common::preheats_first<Method>) {
    network net = model.start();
    definition_batches<backend> batches(set.train, s.batch);
    batches.make_equally_long(computes_on_gpu);
    auto preheating = m.init.preheating;
    preheat::learning_rate(preheating.optim) =
        m.init.lr.value_or(double(preheat::learning_rate(m.optim)));
    const auto r = std::size_t(options.rank);
    options.steps = preheating_steps(m.init, options.steps);
    options.rank = m.init.rank > 0 ? m.init.rank : m.init.multiple * options.rank;
    options.schedule = preheat::schedule::constant{};
    const auto report = preheat::fit(preheating, net, batches, options);
    double share = 0, directions = 0, layers = 0;
    for (const auto& l : report.layers) {
      if (!l.attached) {
        continue;
      }
      const auto f = report.adapter.product(the_backend(), l.parameters);
      double first = 0, squares = 0, fourths = 0;
      std::size_t i = 0;
      for (const double sigma :
           preheat::linalg::product_spectrum<backend>(the_backend(), f.B, f.A)) {
        const double square = sigma * sigma;
        first += i++ < r ? square : 0;
        squares += square;
        fourths += square * square;
      }
      if (squares > 0) {
        share += first / squares;
        directions += squares * squares / fourths;
        ++layers;
      }
    }
    result.measures[preheated_share] = share / layers;
    result.measures[preheated_directions] = directions / layers;
  }
}

// The ends of the Hessian's spectrum at the start, of the loss of the first batch of a run with this seed. The
// run is left alone: its adapters are copied to an operator, whose type all methods with this adapter share.
template <class Training>
void measure_curvature(run_outcome& result, network& net, Training& training, const data_set& set,
                       const training_settings& s, std::uint64_t seed) {
  using adapter_type = std::remove_cvref_t<decltype(training.method.adapter)>;
  preheat::adapted<backend, adapter_type> linear(net, training.method.adapter);
  for (std::size_t l = 0; l < linear.layers().size(); ++l) {
    const auto& layer = training.adapters.layers()[l];
    if (layer.attached) {
      linear.attach(index_t(l), preheat::clone_params(the_backend(), layer.parameters),
                    layer.scaling);
    }
  }
  definition_batches<backend> batches(set.train, s.batch);
  batches.make_equally_long(computes_on_gpu);
  const auto found =
      preheat::curvature(net, linear, batches, {.seed = seed, .iterations = 20, .tolerance = 0.01});
  result.measures[start_curvature] = found.largest;
  result.measures[start_smallest] = found.smallest;
  result.measures[start_curvature_error] = found.error;
}

}  // namespace studies::lm
