// A method is a product of strategies, one an axis. Say only what differs from LoRA, in any order:
//
//   using my_method = preheat::method<init::pissa, optim::sgd>;     // lora, fixed rank, no chain
//   my_method m{.init = {}, .optim = {.lr = 1e-2}};
//
// Types choose code, values choose numbers: the members below are the policies' settings. A product
// that cannot work is refused here, in words.
#pragma once
#include <type_traits>

#include "adapter/lora.hpp"
#include "chain/none.hpp"
#include "init/kaiming.hpp"
#include "optim/adam.hpp"
#include "rank/fixed.hpp"

namespace preheat {

namespace detail {

template <class T>
inline constexpr bool is_axis = std::is_same_v<T, axes::adapter> || std::is_same_v<T, axes::init> ||
                                std::is_same_v<T, axes::optim> || std::is_same_v<T, axes::rank> ||
                                std::is_same_v<T, axes::chain>;

template <class Policy>
concept names_axis = is_axis<typename Policy::axis>;

template <class Policy, class Axis>
concept on_axis = names_axis<Policy> && std::is_same_v<typename Policy::axis, Axis>;

// The policy of an axis among Policies, or the default.
template <class Axis, class Default, class... Policies>
struct pick {
  using type = Default;
};
template <class Axis, class Default, class First, class... Rest>
struct pick<Axis, Default, First, Rest...>
    : std::conditional_t<on_axis<First, Axis>, std::type_identity<First>,
                         pick<Axis, Default, Rest...>> {};

template <class Axis, class... Policies>
inline constexpr int count_of = (0 + ... + int(on_axis<Policies, Axis>));

template <class... Policies>
inline constexpr bool one_an_axis =
    count_of<axes::adapter, Policies...> <= 1 && count_of<axes::init, Policies...> <= 1 &&
    count_of<axes::optim, Policies...> <= 1 && count_of<axes::rank, Policies...> <= 1 &&
    count_of<axes::chain, Policies...> <= 1;

// Whether the adapter's ΔW is zero at the start whatever A and B are: an optional member of
// adapters, see adapter::gated<adapter::gate::closed>.
template <class Adapter>
consteval bool starts_closed() {
  if constexpr (requires { Adapter::starts_closed; }) {
    return Adapter::starts_closed;
  }
  return false;
}

// Whether an init leaves one factor zero, and so s·B·A: those of product zero; an optional member of
// inits that replace W, see init::kasa.
template <class Init>
consteval bool zero_factors() {
  if constexpr (requires { Init::zero_factors; }) {
    return Init::zero_factors;
  }
  return Init::product == start::zero;
}

}  // namespace detail

template <class... Policies>
struct method {
  using adapter_type = typename detail::pick<axes::adapter, adapter::lora, Policies...>::type;
  using init_type = typename detail::pick<axes::init, init::kaiming, Policies...>::type;
  using optim_type = typename detail::pick<axes::optim, optim::adamw, Policies...>::type;
  using rank_type = typename detail::pick<axes::rank, rank::fixed, Policies...>::type;
  using chain_type = typename detail::pick<axes::chain, chain::none, Policies...>::type;

  adapter_type adapter{};
  init_type init{};
  optim_type optim{};
  rank_type rank{};
  chain_type chain{};

  // Whether a run leaves the base weights bitwise alone until the user merges.
  static constexpr bool leaves_base = init_type::product != start::absorbed &&
                                      init_type::product != start::replaced && !chain_type::folds;

  static_assert((detail::names_axis<Policies> && ...),
                "preheat: a method is made of policies, types that name their axis: give this one "
                "`using axis = axes::init;` (or adapter, optim, rank, chain)");
  static_assert(
      detail::one_an_axis<Policies...>,
      "preheat: a method takes at most one policy an axis; compose optimizers by decoration "
      "(a decorator has the member `base`)");
  static_assert(adapter_type::has_factors || detail::count_of<axes::init, Policies...> == 0,
                "preheat: this adapter is not made of factors and takes no init; drop the init");
  static_assert(!detail::starts_closed<adapter_type>() || init_type::product == start::added ||
                    init_type::product == start::zero_pair,
                "preheat: an adapter that starts closed learns nothing unless the init sets both "
                "factors and leaves W alone; use init::gaussian_pair");
  static_assert(
      !adapter_type::has_factors || detail::zero_factors<init_type>() ||
          adapter_type::any_product || detail::starts_closed<adapter_type>(),
      "preheat: an init that sets both factors (init::pissa) needs an adapter that trains "
      "both and can hold any product; use adapter::lora, or an init of product zero: "
      "init::kaiming, init::gaussian, init::orthogonal, init::hrp<>");
};

namespace detail {

// The policies of a method that are not on an axis, as a policy_list.
template <class... Kept>
struct policy_list {
  template <class Policy>
  using plus = method<Kept..., Policy>;
};
template <class Axis, class Kept, class... Rest>
struct drop_axis {
  using type = Kept;
};
template <class Axis, class... Kept, class First, class... Rest>
struct drop_axis<Axis, policy_list<Kept...>, First, Rest...>
    : std::conditional_t<on_axis<First, Axis>, drop_axis<Axis, policy_list<Kept...>, Rest...>,
                         drop_axis<Axis, policy_list<Kept..., First>, Rest...>> {};

template <class Method, class Policy>
struct swap_policy;
template <class... Policies, class Policy>
struct swap_policy<method<Policies...>, Policy> {
  using rest = typename drop_axis<typename Policy::axis, policy_list<>, Policies...>::type;
  using type = typename rest::template plus<Policy>;
};

}  // namespace detail

// A method with the policy of one axis swapped for another:
//
//   using my_sora = with<sora, init::hrp<>>;
template <class Method, class Policy>
using with = typename detail::swap_policy<Method, Policy>::type;

}  // namespace preheat
