// Hooks: the moments of a training run at which a policy may act. A policy declares the ones it
// has,
//
//   using hooks = hook_list<hook::before_step, hook::finish>;
//
// and the declaration is checked both ways: a declared hook without its member, and a member whose
// hook is not declared, are compile errors. So a misspelt or ill-typed hook is never silently lost.
#pragma once
#include "types.hpp"

namespace preheat {

template <class... Hooks>
struct hook_list {};

namespace hook {

// Each tag names its member, says how to call it and whether a policy has it. `Run` is the training
// run, see train/run.hpp for what it offers.
#define PREHEAT_RUN_HOOK(NAME)                                           \
  struct NAME {                                                          \
    template <class Policy, class Run>                                   \
    static constexpr bool present = requires(const Policy p, Run& run) { \
      p.NAME(run);                                                       \
    };                                                                   \
    template <class Policy, class Run>                                   \
    static void call(const Policy& p, Run& run) {                        \
      p.NAME(run);                                                       \
    }                                                                    \
  }

PREHEAT_RUN_HOOK(begin);           // before the first step; decides which layers get an adapter
PREHEAT_RUN_HOOK(before_step);     // before the batch is drawn
PREHEAT_RUN_HOOK(after_backward);  // gradients are there, penalties included, not yet clipped
PREHEAT_RUN_HOOK(after_step);      // parameters have moved
PREHEAT_RUN_HOOK(finish);          // after the last step, unless the run diverged
#undef PREHEAT_RUN_HOOK

// observe_input(run, layer, X): a layer's input, in training passes only.
struct observe_input {
  template <class Policy, class Run>
  static constexpr bool present = requires(const Policy p, Run& run, index_t layer) {
    p.observe_input(run, layer, typename Run::input_view{});
  };
  template <class Policy, class Run>
  static void call(const Policy& p, Run& run, index_t layer, typename Run::input_view X) {
    p.observe_input(run, layer, X);
  }
};

// penalize(be, parameters, gradient, context): a term of the loss that sees only the parameters;
// its gradient is added before clipping. For optimizers and their decorators.
struct penalize {
  template <class Policy, class Run>
  static constexpr bool present = requires(const Policy p, Run& run, typename Run::params& x,
                                           typename Run::step_type& context) {
    p.penalize(run.backend(), x, x, context);
  };
  template <class Policy, class Run>
  static void call(const Policy& p, Run& run, const typename Run::params& x,
                   typename Run::params& gradient, const typename Run::step_type& context) {
    p.penalize(run.backend(), x, gradient, context);
  }
};

}  // namespace hook

namespace detail {

using all_hooks = hook_list<hook::begin, hook::before_step, hook::after_backward, hook::after_step,
                            hook::finish, hook::observe_input, hook::penalize>;

template <class Hook, class... Hooks>
consteval bool listed(hook_list<Hooks...>) {
  return (std::is_same_v<Hook, Hooks> || ...);
}

template <class Policy>
concept lists_hooks = requires {
  typename Policy::hooks;
};

template <class Policy, class Run, class... Hooks>
consteval bool declared_hooks_exist(hook_list<Hooks...>) {
  return (Hooks::template present<Policy, Run> && ...);
}
template <class Policy, class Run, class... All>
consteval bool existing_hooks_declared(hook_list<All...>) {
  return ((listed<All>(typename Policy::hooks{}) || !All::template present<Policy, Run>)&&...);
}

template <class Policy, class Run>
consteval bool check_hooks() {
  static_assert(
      lists_hooks<Policy>,
      "preheat: a policy must declare its hooks: add `using hooks = hook_list<>;` (or the "
      "list of hooks it has, core/hooks.hpp)");
  if constexpr (lists_hooks<Policy>) {
    static_assert(declared_hooks_exist<Policy, Run>(typename Policy::hooks{}),
                  "preheat: a policy declares a hook that it does not have: spell the member like "
                  "its tag and give it the signature in core/hooks.hpp, const");
    static_assert(existing_hooks_declared<Policy, Run>(all_hooks{}),
                  "preheat: a policy has a hook that it does not declare: add it to "
                  "`using hooks = hook_list<...>;`");
  }
  return true;
}

}  // namespace detail

// Calls one hook of a policy, then of the policy it decorates (its member `base`), where declared.
template <class Hook, class Policy, class Run, class... Args>
void call_hook(const Policy& policy, Run& run, Args&&... args) {
  static_assert(detail::check_hooks<Policy, Run>());
  if constexpr (detail::listed<Hook>(typename Policy::hooks{})) {
    Hook::call(policy, run, args...);
  }
  if constexpr (requires { policy.base; }) {
    call_hook<Hook>(policy.base, run, args...);
  }
}

// Whether a policy, or one it decorates, declares a hook.
template <class Hook, class Policy>
consteval bool has_hook() {
  if constexpr (detail::lists_hooks<Policy>) {
    if constexpr (detail::listed<Hook>(typename Policy::hooks{})) {
      return true;
    }
  }
  if constexpr (requires(Policy p) { p.base; }) {
    return has_hook<Hook, decltype(Policy::base)>();
  }
  return false;
}

}  // namespace preheat
