// The calibration of an init: what it computes from the data, for all layers of the network at
// once, before it computes the factors of any layer. It may train another method (HRP's Preheat).
// The init states the cost in optimizer steps, and `fit` subtracts it from the steps of the run.
//
// Where several processes train together, each one passes the whole batches and so computes the
// same calibration; a preheating method trains on each process's part of the batches, like the main
// run.
#pragma once
#include <cmath>
#include <concepts>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../method.hpp"
#include "../operators/recorder.hpp"
#include "check_run.hpp"
#include "head.hpp"
#include "options.hpp"
#include "report.hpp"
#include "start.hpp"

namespace preheat {

template <class... Policies, class Net, can_train<Net, method<Policies...>> Data>
fit_report<typename Net::backend_type, typename method<Policies...>::adapter_type> fit(
    const method<Policies...>& m, Net& net, Data&& batches, const fit_options& options = {});

// The main run's options for a run that preheats; the layers and their scales are the caller's to set.
template <class = void>  // (core/error.hpp says why)
[[gnu::cold]] fit_options preheating_options(const fit_options& main, index_t rank, index_t steps,
                                             std::uint64_t seed) {
  fit_options o = main;
  o.rank = rank;
  o.steps = steps;
  o.seed = seed;
  o.layer_ranks.clear();
  o.clamp_rank = true;
  o.schedule = schedule::constant{};
  o.evaluate_every = 0;
  o.patience = 0;
  o.checkpoint_every = 0;
  o.checkpoint = nullptr;
  o.resume = nullptr;
  o.phase = "preheating";
  return o;
}

// What an init's calibrate(context) may use. W is read-only.
template <network Net, class Data>
class calibration_context {
 public:
  using backend_type = typename Net::backend_type;

  [[gnu::cold]] calibration_context(Net& net, Data& data, const fit_options& run_options,
                                    const start_plan& plan, double rate, const generator& stream)
      : options(run_options),
        learning_rate(rate),
        targets(plan.layers),
        ranks(plan.ranks),
        scalings(plan.scalings),
        gen(stream),
        net_(&net),
        data_(data) {}

  const fit_options& options;    // the main run's
  const double learning_rate;    // the main run's base rate
  std::vector<index_t> targets;  // the layers to be started
  std::vector<index_t> ranks;    // of every layer of the network, 0 where none; may be changed
  const std::vector<double> scalings;  // of every layer of the network
  const generator gen;
  fit_status status = fit_status::completed;  // of the calibration

  backend_type& backend() const { return net_->backend(); }
  std::span<const base_layer<backend_type>> layers() const { return net_->layers(); }

  // Whether the calibration was stopped or has diverged, so that there is nothing to start from.
  bool ended() const { return status != fit_status::completed; }
  // A calibration that is not finite ends the run with a status, not with an exception.
  void require_finite(const mat<backend_type>& calibration) {
    if (!std::isfinite(double(backend().max_abs(calibration)))) {
      status = fit_status::non_finite;
    }
  }

  // Passes `count` batches through the base and calls f(layer, X) with the input of each layer that
  // is to be started. Every call passes the same batches; `from` skips the first ones.
  template <class F>
  void watch_inputs(index_t count, F f, index_t from = 0) {
    recorder<backend_type> watch(*net_, targets);
    watch.on_input = f;
    send(from, count, [&](const auto& batch) { return net_->loss(batch, watch); });
  }
  // The same with the backward pass: f(layer, X, dY), where ∂loss/∂W of the batch is dY·Xᵀ.
  template <class F>
  void watch_gradients(index_t count, F f) {
    recorder<backend_type> watch(*net_, targets);
    watch.on_gradient = f;
    send(0, count, [&](const auto& batch) { return net_->loss_and_gradient(batch, watch); });
  }

  // Trains `preheating` on the same network, layers, scalings and data (with its own stream of
  // batches) for `steps` steps at rank `rank`, clamped to min(out, in) of a layer. W does not
  // change, and the network's trained head is restored.
  template <class Preheat>
  [[gnu::cold]] auto train(const Preheat& preheating, index_t rank, index_t steps) {
    static_assert(Preheat::leaves_base,
                  "preheat: calibration leaves W unchanged, so the preheating method must neither "
                  "subtract a product from W (init::pissa) nor merge into it (a chain)");
    fit_options o = preheating_options(options, rank, steps, gen.fork(purpose::preheat).key());
    o.targets = std::vector<std::string>(targets.size());
    for (std::size_t i = 0; i < targets.size(); ++i) {
      o.targets[i] = layers()[targets[i]].name;
    }
    o.layer_scaling = scalings;
    [[maybe_unused]] const unchanged_head<Net> keep(*net_);
    auto report = fit(preheating, *net_, data_, o);
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
      data_.load(gen.fork(purpose::batch), k, batch);
      const double loss = double(pass(batch));
      if (!std::isfinite(loss)) {
        status = fit_status::non_finite;
      }
      if (options.observer) {
        options.observer(
            {.phase = "calibration", .step = k + 1, .steps = from + count, .loss = loss});
      }
    }
  }

  Net* net_;
  Data& data_;
};

namespace detail {
// `init` is a function's name (train/start.hpp).
template <class = void>
[[gnu::cold]] void require_entries(std::size_t entries, std::size_t layers, std::string_view init) {
  require(entries == layers,
          type_name(init) + ": calibrate returns one entry per layer of the network", entries,
          layers);
}
}  // namespace detail

// What this init computes from the data, one entry per layer of the network.
template <class Init, network Net, class Data>
[[gnu::cold]] auto calibrate(const Init& init, calibration_context<Net, Data>& context) {
  using learned = typename Init::template calibration<typename Net::backend_type>;
  static_assert(
      requires {
        { init.calibrate(context) } -> std::same_as<std::vector<learned>>;
      },
      "preheat: an init that learns from the data needs std::vector<calibration<Be>> "
      "calibrate(Context& context) const, one entry per layer of the network");
  std::vector<learned> all = init.calibrate(context);
  if (!context.ended()) {
    detail::require_entries(all.size(), context.layers().size(), detail::naming_function<Init>());
  }
  return all;
}

// What such an init returns for the layers of the plan, one after the other: of(l, layer). An init that starts all
// of them at once on this backend (core/optional_members.hpp) does so here; layer_of(l) is a layer.
template <class Init, class Be, class Learned, class LayerOf>
auto calibrated_start(const Init& init, Be& be, const start_plan& plan,
                      const std::vector<Learned>& calibration, LayerOf layer_of) {
  if constexpr (starts_together<Init, Be, Learned>) {
    std::vector<target_layer<Be>> layers;
    std::vector<const Learned*> learned;
    for (const index_t l : plan.layers) {
      layers.push_back(layer_of(l));
      learned.push_back(&calibration[l]);
    }
    return [all = init.starts(be, layers, learned), next = std::size_t(0)](
               index_t, const target_layer<Be>&) mutable { return std::move(all[next++]); };
  } else {
    return [&init, &be, &calibration](index_t l, const target_layer<Be>& layer) {
      return init(be, layer, calibration[l]);
    };
  }
}

}  // namespace preheat
