// Hooks: the moments of a training run at which a policy may act. A policy acts at a moment if it
// has an overload of `on` for its tag:
//
//   template <class Run>
//   void on(preheat::hook::after_step, Run& run) const { … }
//
// A policy without an overload does nothing at that moment. A misspelt tag is an unknown name, and
// an overload that cannot be called as written here (not const, other arguments) does not compile
// when the policy is used in a run.
#pragma once
#include <type_traits>

#include "types.hpp"

namespace preheat {

namespace hook {

// on(tag, run), where `run` is the training run (train/run.hpp says what it offers).
struct begin {};           // before the first step; decides which layers get an adapter
struct before_step {};     // before the batch is loaded
struct after_backward {};  // the gradients are complete, penalties included, and not yet clipped
struct after_step {};      // the parameters have changed
struct finish {};          // after the last step, unless the run diverged

// on(observe_input{}, run, layer, X): a layer's input, in training passes only.
struct observe_input {};

// on(penalize{}, be, parameters, gradient, context): adds to the gradient that of a loss term which
// depends on the parameters alone; called before clipping. For optimizers and their decorators.
struct penalize {};

}  // namespace hook

namespace detail {

// Converts to any argument, to test whether a policy has an overload of `on` at all.
struct any_argument {
  using input_view = any_argument;  // a run's, for observe_input
  template <class T>
  operator T&() const;
};

template <class Policy, class Tag, class... Any>
concept has_overload = requires(Policy& p, Tag tag, Any&... any) {
  p.on(tag, any...);
};

// Whether a policy has an overload for this tag, with whatever arguments. First is the type of the first
// argument that a right one takes: an overload may be constrained to it.
template <class Policy, class Tag, class First>
inline constexpr bool has_some_overload =
    has_overload<Policy, Tag> || has_overload<Policy, Tag, any_argument> ||
    has_overload<Policy, Tag, any_argument, any_argument> ||
    has_overload<Policy, Tag, any_argument, any_argument, any_argument> ||
    has_overload<Policy, Tag, any_argument, any_argument, any_argument, any_argument> ||
    has_overload<Policy, Tag, First> || has_overload<Policy, Tag, First, any_argument> ||
    has_overload<Policy, Tag, First, any_argument, any_argument> ||
    has_overload<Policy, Tag, First, any_argument, any_argument, any_argument>;

template <class Policy, class Tag, class... Args>
concept has_right_overload = requires(const Policy& p, Tag tag, Args&... args) {
  p.on(tag, args...);
};

// Whether a policy has a member called `on` at all, private ones and templates included: the name is
// then ambiguous in a class that inherits another one.
struct has_an_on {
  int on;
};
template <class Policy>
struct with_another_on : Policy, has_an_on {};
template <class Policy>
concept has_member_on = !std::is_final_v<Policy> && !requires {
  &with_another_on<Policy>::on;
};

// Whether some overload of a policy is for one of the tags above.
template <class Policy, class Run, class Be>
inline constexpr bool has_known_hook = has_some_overload<Policy, hook::begin, Run> ||
                                       has_some_overload<Policy, hook::before_step, Run> ||
                                       has_some_overload<Policy, hook::after_backward, Run> ||
                                       has_some_overload<Policy, hook::after_step, Run> ||
                                       has_some_overload<Policy, hook::finish, Run> ||
                                       has_some_overload<Policy, hook::observe_input, Run> ||
                                       has_some_overload<Policy, hook::penalize, Be>;

template <class Run, class... Others>
struct first_argument {
  using type = Run;
};

}  // namespace detail

// Refuses a policy that has a member `on` which is no hook.
template <class Run, class Policy>
consteval bool hooks_are_known() {
  if constexpr (detail::has_member_on<Policy>) {
    static_assert(detail::has_known_hook<Policy, Run, typename Run::backend_type>,
                  "preheat: a policy has a member `on` that is no hook: it is public and its first "
                  "argument is one of the tags in core/hooks.hpp");
  }
  return true;
}

// Calls one hook of a policy, then of the policy it decorates (its member `base`), where there is one.
template <class Tag, class Policy, class... Args>
void call_hook(const Policy& policy, Args&&... args) {
  if constexpr (std::is_same_v<Tag, hook::begin>) {  // once a run
    static_assert(hooks_are_known<std::remove_cvref_t<Args>..., Policy>());
  }
  if constexpr (detail::has_right_overload<Policy, Tag, Args...>) {
    policy.on(Tag{}, args...);
  } else {
    static_assert(
        !detail::has_some_overload<Policy, Tag, typename detail::first_argument<Args...>::type>,
        "preheat: a policy has a hook that cannot be called: give `on` the arguments in "
        "core/hooks.hpp and make it const");
  }
  if constexpr (requires { policy.base; }) {
    call_hook<Tag>(policy.base, args...);
  }
}

// Whether a policy, or one it decorates, has a hook.
template <class Tag, class Policy>
consteval bool has_hook() {
  if constexpr (detail::has_some_overload<Policy, Tag, detail::any_argument>) {
    return true;
  } else if constexpr (requires(Policy p) { p.base; }) {
    return has_hook<Tag, decltype(Policy::base)>();
  } else {
    return false;
  }
}

}  // namespace preheat
