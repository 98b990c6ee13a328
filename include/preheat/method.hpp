// A method is a product of strategies, one per axis. Name only what differs from LoRA, in any
// order:
//
//   using my_method = preheat::method<init::pissa, optim::sgd>;     // lora, fixed rank, no chain
//   my_method m{.init = {}, .optim = {.lr = 1e-2}};
//
// Types choose code and values choose numbers: the members below are the policies' settings. A
// product that cannot work does not compile, and a static_assert says why.
#pragma once
#include <type_traits>

#include "adapter/lora.hpp"
#include "chain/none.hpp"
#include "init/kaiming.hpp"
#include "optim/adam.hpp"
#include "rank/fixed.hpp"

namespace preheat {

template <class... Policies>
struct method;

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

template <class Init, initial_product... These>
consteval bool product_is_one_of() {
  if constexpr (names_product<Init>) {
    return ((Init::product == These) || ...);
  } else {
    return false;  // fit says that it is missing
  }
}
template <class Chain>
consteval bool writes_base() {
  if constexpr (requires { Chain::merges; }) {
    return Chain::merges;
  } else {
    return true;
  }
}
template <class Adapter>
consteval bool takes_init() {
  if constexpr (requires { Adapter::has_factors; }) {
    return Adapter::has_factors;
  } else {
    return true;
  }
}
// Whether an adapter can hold the start of an init, as far as their members say.
template <class Adapter, class Init>
consteval bool can_hold_start_of() {
  if constexpr (requires { Adapter::represents_any_product; } && names_product<Init>) {
    return !takes_init<Adapter>() || zero_factors<Init>() || Adapter::represents_any_product ||
           zero_at_start<Adapter>();
  } else {
    return true;
  }
}

template <class... Policies>
void takes_method(const method<Policies...>&);

}  // namespace detail

template <class M>
concept a_method = requires(const M& m) {
  detail::takes_method(m);
};

template <class... Policies>
struct method {
  static_assert((!a_method<Policies> && ...),
                "preheat: a method holds no method; write init::pissa, or with<pissa, optim::sgd>");
  static_assert(((a_method<Policies> || detail::names_axis<Policies>)&&...),
                "preheat: a method is made of policies, types that name their axis: give this one "
                "`using axis = axes::init;` (or adapter, optim, rank, chain)");
  static_assert(
      detail::one_an_axis<Policies...>,
      "preheat: a method takes at most one policy per axis; compose optimizers by decoration "
      "(a decorator has the member `base`)");

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
  static constexpr bool leaves_base =
      !detail::product_is_one_of<init_type, initial_product::residual,
                                 initial_product::new_base>() &&
      !detail::writes_base<chain_type>();

  static_assert(detail::takes_init<adapter_type>() ||
                    detail::count_of<axes::init, Policies...> == 0,
                "preheat: this adapter is not made of factors and takes no init; drop the init");
  static_assert(!zero_at_start<adapter_type>() || !names_product<init_type> ||
                    detail::product_is_one_of<init_type, initial_product::nonzero,
                                              initial_product::zero_product>(),
                "preheat: an adapter with zero_at_start learns nothing unless the init sets both "
                "factors and leaves W alone; use init::gaussian_pair");
  static_assert(
      detail::can_hold_start_of<adapter_type, init_type>(),
      "preheat: an init that sets both factors (init::pissa) needs an adapter that trains "
      "both and can hold any product; use adapter::lora, or an init of product zero: "
      "init::kaiming, init::gaussian, init::orthogonal, init::hrp<>. An adapter whose product is "
      "zero at the start whatever A and B are says `static constexpr bool zero_at_start = true`");
};

namespace detail {

template <class Policy>
struct axis_or_none {
  using type = void;  // refused in words below
};
template <names_axis Policy>
struct axis_or_none<Policy> {
  using type = typename Policy::axis;
};

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
struct swap_policy {
  static_assert(never<Method>,
                "preheat: with<method, policy> takes a method first and then one policy: "
                "with<lora, init::pissa>");
  using type = Method;
};
template <class... Policies, class Policy>
struct swap_policy<method<Policies...>, Policy> {
  static_assert(!a_method<Policy>,
                "preheat: a method holds no method; write init::pissa, or with<pissa, optim::sgd>");
  static_assert(a_method<Policy> || names_axis<Policy>,
                "preheat: a method is made of policies, types that name their axis: give this one "
                "`using axis = axes::init;` (or adapter, optim, rank, chain)");
  using rest =
      typename drop_axis<typename axis_or_none<Policy>::type, policy_list<>, Policies...>::type;
  using type = typename rest::template plus<Policy>;
};

}  // namespace detail

// A method in which one policy replaces that of the same axis:
//
//   using my_sora = with<sora, init::hrp<>>;
template <class Method, class Policy>
using with = typename detail::swap_policy<Method, Policy>::type;

}  // namespace preheat
