// Where an init gathers its evidence: once for the whole network, through this one door, which can
// also train another method (HRP's Warm). The init says what it costs; `fit` charges it.
#pragma once
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "../method.hpp"
#include "options.hpp"
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
  std::vector<index_t> ranks;    // of every layer of the network; 0 where none
  std::vector<double> scalings;  // of every layer of the network
  generator gen{};
  fit_status status = fit_status::completed;  // of the gathering

  backend_type& backend() const { return net.backend(); }

  // Evidence that has diverged ends the run with a status, not with an exception.
  void require_finite(const mat<backend_type>& evidence) {
    if (!std::isfinite(double(backend().max_abs(evidence)))) {
      status = fit_status::non_finite;
    }
  }

  // Trains `warm` on the same network, layers, scalings and data (its own stream of batches) for
  // some steps at some rank, clamped to what a layer can hold. W must come out as it went in.
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
    auto report = fit(warm, net, data, o);
    status = report.status;
    return report;
  }
};

}  // namespace preheat
