// What must hold before a run begins: a method, a network and batches that have what their contracts
// ask for; settings in range, and the same in every process.
#pragma once
#include "../core/communicator.hpp"
#include "../core/complete.hpp"
#include "../method.hpp"
#include "options.hpp"

namespace preheat {

// Whether every policy of a method has what its contract asks for; the first that has not is refused
// in words. The optimizer is asked last of adapter and init, because it works on the adapter's parameters.
template <class Method, class Be>
consteval bool policies_are_complete() {
  using adapter = typename Method::adapter_type;
  if constexpr (!adapter_is_complete<adapter, Be>()) {
    return false;
  } else if constexpr (adapter::has_factors &&
                       !init_is_complete<typename Method::init_type, Be>()) {
    return false;
  } else {
    return optim_is_complete<typename Method::optim_type, Be,
                             typename adapter::template params<Be>>() &&
           rank_is_complete<typename Method::rank_type, Be>() &&
           chain_is_complete<typename Method::chain_type, Be>();
  }
}

// A method all of whose policies are complete on this backend.
template <class Method, class Be>
concept complete_start = adapter_policy<typename Method::adapter_type, Be> &&
    (!bool(Method::adapter_type::has_factors) || init_policy<typename Method::init_type, Be>);

template <class Method, class Be, class P = typename Method::adapter_type::template params<Be>>
concept complete_loop = optim_policy<typename Method::optim_type, Be, P> &&
    rank_policy<typename Method::rank_type, Be> && chain_policy<typename Method::chain_type, Be>;

template <class Method, class Be>
concept complete_method =
    a_method<Method> && complete_start<Method, Be> && complete_loop<Method, Be>;

// What `fit` takes: batches of a network, and a method that is complete on the network's backend.
template <class Data, class Net, class Method>
concept can_train =
    network<Net> && data_source<Data, Net> && complete_method<Method, typename Net::backend_type>;

namespace detail {

// Refuses in words what cannot be trained.
template <class Method, class Net, class Data>
consteval bool require_trainable() {
  static_assert(a_method<Method>,
                "preheat: fit takes a method first: write lora{} or method<my_policy>{}");
  if constexpr (a_method<Method>) {
    if constexpr (network_is_complete<Net>()) {
      return batches_are_complete<Data, Net>() &&
             policies_are_complete<Method, typename Net::backend_type>();
    }
  }
  return false;
}
// What a call of fit that does not compile returns: a class, so that the reason is the first error and
// `auto report = fit(…)` is none.
template <class Method, class Net, class Data>
struct no_report {
  static_assert(require_trainable<Method, Net, Data>());
};

}  // namespace detail

// Throws invalid_argument for a setting out of range; `layers` is the network's number of layers.
template <class = void>  // (core/error.hpp says why)
[[gnu::cold]] void require_settings(const fit_options& options, std::size_t layers) {
  require(options.rank >= 1, "rank >= 1", options.rank, 1);
  require(options.steps >= 1, "steps >= 1", options.steps, 1);
  require(options.accumulate >= 1, "accumulated batches >= 1", options.accumulate, 1);
  require(0 <= options.dropout && options.dropout < 1, "0 <= dropout < 1", options.dropout, 1.0);
  require(options.max_gradient_norm >= 0, "largest gradient norm >= 0", options.max_gradient_norm,
          0.0);
  require(options.head_rate.value_or(0) >= 0, "learning rate of the head >= 0",
          options.head_rate.value_or(0), 0.0);
  require(options.evaluate_every >= 0, "evaluate_every >= 0", options.evaluate_every, 0);
  require(options.patience >= 0, "patience >= 0", options.patience, 0);
  require(options.checkpoint_every >= 0, "checkpoint_every >= 0", options.checkpoint_every, 0);
  require(options.patience == 0 || options.evaluate_every > 0, "patience needs evaluate_every > 0",
          options.patience, options.evaluate_every);
  const auto of_all_layers = [&](std::size_t given, const char* what) {
    require(given == 0 || given == layers, what, given, layers);
  };
  of_all_layers(options.layer_scaling.size(), "layer_scaling has one s per layer");
  of_all_layers(options.layer_ranks.size(), "layer_ranks has one rank per layer");
}

// Throws invalid_argument in every process if the processes differ in a setting that decides the
// number of sums, in the random streams or in the base weights.
template <class Data, network Net>
void require_same_run(Net& net, const fit_options& options) {
  const process_group& all = options.processes;
  if (all.alone()) {
    return;
  }
  require_reached_memory<typename Net::backend_type>(all);
  require(sharded_data_source<Data, Net>,
          "several processes need batches that can be shared: void load_shard(generator stream, "
          "index_t step, shard part, batch_type&)");
  all.require_same(options.seed, "seed");
  all.require_same(options.rank, "rank");
  all.require_same(options.steps, "steps");
  all.require_same(options.accumulate, "accumulated batches");
  all.require_same(options.evaluate_every, "evaluate_every");
  all.require_same(options.resume != nullptr ? hash_of(*options.resume) : 0, "saved state");
  all.require_same(net.layers().size(), "number of layers");
  bit_hash base;
  for (const auto& l : net.layers()) {
    for_each_part<typename Net::backend_type>(
        net.backend(), l.W, [&](const auto& part) { base.add(net.backend(), part); });
    base.add(net.backend(), l.b);
  }
  if constexpr (trains_head<Net>) {
    for_each_trained([&](auto, const auto& x) { base.add(net.backend(), x); },
                     net.head().parameters);
  }
  all.require_same(base.value(), "base weights");
}

}  // namespace preheat
