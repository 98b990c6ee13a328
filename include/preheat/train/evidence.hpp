// Where an init gathers its evidence: once for the whole network, through this one door, which can
// also train another method (HRP's Warm). The init says what it costs; `fit` charges it.
//
// Where several processes train together, each sends the whole batches and so learns the same;
// a warm method trains on shares, like the main run.
#pragma once
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "../method.hpp"
#include "head.hpp"
#include "options.hpp"
#include "recorder.hpp"
#include "report.hpp"

namespace preheat {

template <class... Policies, network Net, data_source<Net> Data>
fit_report<typename Net::backend_type, typename method<Policies...>::adapter_type> fit(
    const method<Policies...>& m, Net& net, Data&& batches, const fit_options& options = {});

// What an init's gather(scene) may use.
template <network Net, class Data>
struct evidence_scene {
  using backend_type = typename Net::backend_type;

  Net& net;
  Data& data;
  const fit_options& options;    // the main run's
  double learning_rate = 0;      // the main run's base rate
  std::vector<index_t> layers;   // the layers to be started
  std::vector<index_t> ranks;    // of every layer of the network, 0 where none; may be changed
  std::vector<double> scalings;  // of every layer of the network
  generator gen{};
  fit_status status = fit_status::completed;  // of the gathering

  backend_type& backend() const { return net.backend(); }

  // Whether the gathering was stopped or has diverged: there is nothing to start from.
  bool ended() const { return status != fit_status::completed; }
  // Evidence that has diverged ends the run with a status, not with an exception.
  void require_finite(const mat<backend_type>& evidence) {
    if (!std::isfinite(double(backend().max_abs(evidence)))) {
      status = fit_status::non_finite;
    }
  }

  // Sends `count` batches through the base and tells f(layer, X) the input of each layer that is to
  // be started. Every call sends the same batches; `from` skips the first ones.
  template <class F>
  void watch_inputs(index_t count, F f, index_t from = 0) {
    recorder<backend_type> watch(net, layers);
    watch.on_input = f;
    send(from, count, [&](const auto& batch) { return net.loss(batch, watch); });
  }
  // The same with the backward pass: f(layer, X, dY), where the batch's ∂loss/∂W is dY·Xᵀ.
  template <class F>
  void watch_gradients(index_t count, F f) {
    recorder<backend_type> watch(net, layers);
    watch.on_gradient = f;
    send(0, count, [&](const auto& batch) { return net.loss_and_gradient(batch, watch); });
  }

  // Trains `warm` on the same network, layers, scalings and data (its own stream of batches) for
  // some steps at some rank, clamped to what a layer can hold. W must come out as it went in,
  // and the network's trained head is put back.
  template <class Warm>
  auto train(const Warm& warm, index_t rank, index_t steps) {
    static_assert(
        Warm::leaves_base,
        "preheat: evidence must leave the base weights alone; the warm method must neither "
        "absorb them (init::pissa) nor fold into them (a chain)");
    fit_options o = options;
    o.rank = rank;
    o.steps = steps;
    o.seed = gen.fork(purpose::preheat).key();
    o.targets.clear();
    for (const index_t l : layers) {
      o.targets.push_back(net.layers()[std::size_t(l)].name);
    }
    o.layer_scaling = scalings;
    o.clamp_rank = true;
    o.schedule = schedule::constant{};
    o.evaluate_every = 0;
    o.patience = 0;
    o.checkpoint_every = 0;
    o.checkpoint = nullptr;
    o.resume = nullptr;
    o.phase = "preheating";
    [[maybe_unused]] const unchanged_head<Net> keep(net);
    auto report = fit(warm, net, data, o);
    status = report.status;
    return report;
  }

 private:
  template <class Pass>
  void send(index_t from, index_t count, Pass pass) {
    typename Net::batch_type batch{};
    for (index_t k = from; k < from + count && !ended(); ++k) {
      if (stop_requested(options)) {
        status = fit_status::interrupted;
        return;
      }
      data.draw(gen.fork(purpose::batch), k, batch);
      const double loss = double(pass(batch));
      if (!std::isfinite(loss)) {
        status = fit_status::non_finite;
      }
      if (options.observer) {
        options.observer({.phase = "evidence", .step = k + 1, .steps = from + count, .loss = loss});
      }
    }
  }
};

}  // namespace preheat
