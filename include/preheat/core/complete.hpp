// Whether a type has every member that its contract asks for; one that has not is refused in words. The
// compiler's note below the words names the member.
//
//   static_assert(preheat::backend_is_complete<my_backend>());
//   static_assert(preheat::init_is_complete<my_init, preheat::cpu<double>>());
//
// `fit` asks all of these itself, so only who writes a backend needs to (a network that is a template over
// backends is refused by the compiler before fit is reached).
#pragma once
#include "concepts.hpp"

namespace preheat {

template <class Be>
consteval bool backend_is_complete() {
  static_assert(
      backend<Be>,
      "preheat: the backend lacks a member of concept backend (core/backend.hpp; the note "
      "below names it)");
  return backend<Be>;
}

template <class Net>
consteval bool network_is_complete() {
  if constexpr (!requires {
                  typename Net::backend_type;
                  typename Net::batch_type;
                }) {
    static_assert(
        never<Net>,
        "preheat: a network names its types: `using backend_type = Be;` and batch_type, what "
        "batches fill (core/network.hpp)");
    return false;
  } else if constexpr (!backend<typename Net::backend_type>) {
    return backend_is_complete<typename Net::backend_type>();
  } else {
    static_assert(
        network<Net>,
        "preheat: the network lacks a member of concept network (core/network.hpp; the note "
        "below names it)");
    return network<Net>;
  }
}

template <class Data, class Net>
consteval bool batches_are_complete() {
  static_assert(
      data_source<Data, Net>,
      "preheat: batches must have void load(generator stream, index_t step, batch_type&)");
  return data_source<Data, Net>;
}

template <class Adapter, class Be>
consteval bool adapter_is_complete() {
  if constexpr (!requires { typename Adapter::template params<Be>; }) {
    static_assert(
        never<Adapter>,
        "preheat: the adapter lacks `template <class Be> struct params`, the matrices that "
        "it trains (core/adapter.hpp)");
  } else if constexpr (!parameter_set<typename Adapter::template params<Be>>) {
    static_assert(
        never<Adapter>,
        "preheat: params<Be> of the adapter lacks `static constexpr auto parameters()`, the "
        "list of its matrices (core/parameters.hpp)");
  } else if constexpr (!requires { typename Adapter::template saved_activations<Be>; }) {
    static_assert(never<Adapter>,
                  "preheat: the adapter lacks `template <class Be> struct saved_activations`, what "
                  "forward keeps for backward (core/adapter.hpp)");
  } else if constexpr (!adapter_passes<Adapter, Be>) {
    static_assert(
        adapter_passes<Adapter, Be>,
        "preheat: the adapter lacks a member of concept adapter_policy (core/adapter.hpp; "
        "the note below names it)");
  } else if constexpr (bool(Adapter::has_factors)) {
    static_assert(
        starts_from_factors<Adapter, Be>,
        "preheat: the adapter has factors and lacks a member that starts from them or gives "
        "them back (core/adapter.hpp; the note below names it)");
  } else {
    static_assert(
        starts_without_factors<Adapter, Be>,
        "preheat: the adapter has no factors and lacks a member that starts it or merges it "
        "(core/adapter.hpp; the note below names it)");
  }
  return adapter_policy<Adapter, Be>;
}

template <class Init, class Be>
consteval bool init_is_complete() {
  if constexpr (!names_product<Init>) {
    static_assert(
        never<Init>,
        "preheat: the init lacks `static constexpr initial_product product`, what s*B*A is "
        "at its start (core/init.hpp)");
  } else if constexpr (learns_from_data<Init> &&
                       !requires { typename Init::template calibration<Be>; }) {
    static_assert(never<Init>,
                  "preheat: the init learns from the data and lacks `template <class Be> using "
                  "calibration`, the type of what it learns of one layer (core/init.hpp)");
  } else if constexpr (calibrates<Init, Be>) {
    static_assert(calibrated_init<Init, Be>,
                  "preheat: the init learns from the data and lacks a member of concept "
                  "calibrated_init (core/init.hpp; the note below names it)");
  } else {
    static_assert(
        plain_init<Init, Be>,
        "preheat: the init lacks a member of concept init_policy (core/init.hpp; the note "
        "below names it)");
  }
  return init_policy<Init, Be>;
}

template <class Optim, class Be, class P>
consteval bool optim_is_complete() {
  if constexpr (requires(Optim o) { o.base; }) {
    if (!optim_is_complete<decltype(Optim::base), Be, P>()) {
      return false;
    }
  }
  static_assert(
      has_rate_or_base<Optim>,
      "preheat: an optimizer has the member `double lr`, and a decorator of optimizers the "
      "member `base` (core/optim.hpp)");
  if constexpr (!requires { typename Optim::template state<Be, P>; }) {
    static_assert(
        never<Optim>,
        "preheat: the optimizer lacks `template <class Be, class P> struct state`, what it "
        "keeps of a layer from step to step (core/optim.hpp)");
  } else {
    static_assert(
        steps_parameters<Optim, Be, P>,
        "preheat: the optimizer lacks a member of concept optim_policy (core/optim.hpp; the "
        "note below names it)");
  }
  return optim_policy<Optim, Be, P>;
}

template <class Rank, class Be>
consteval bool rank_is_complete() {
  if constexpr (!requires { typename Rank::template state<Be>; }) {
    static_assert(
        never<Rank>,
        "preheat: the rank policy lacks `template <class Be> using state`; one that keeps "
        "nothing has no_state<Be> (core/rank_chain.hpp)");
  } else {
    static_assert(rank_policy<Rank, Be>,
                  "preheat: the rank policy lacks a member of concept rank_policy "
                  "(core/rank_chain.hpp; the note below names it)");
  }
  return rank_policy<Rank, Be>;
}

template <class Chain, class Be>
consteval bool chain_is_complete() {
  if constexpr (!requires { typename Chain::template state<Be>; }) {
    static_assert(
        never<Chain>,
        "preheat: the chain policy lacks `template <class Be> using state`; one that keeps "
        "nothing has no_state<Be> (core/rank_chain.hpp)");
  } else {
    static_assert(chain_policy<Chain, Be>,
                  "preheat: the chain policy lacks a member of concept chain_policy "
                  "(core/rank_chain.hpp; the note below names it)");
  }
  return chain_policy<Chain, Be>;
}

}  // namespace preheat
