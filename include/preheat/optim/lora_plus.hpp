// LoRA+ ("LoRA+: Efficient Low Rank Adaptation of Large Models", arXiv 2402.12354), over any
// optimizer: B is stepped at another rate than A,
//
//   rate of B = ratio·(rate of A),   λ, the decay, is the base's for both
//
// so that a decoupled decay shrinks B by ratio·lr·λ. ratio = 1 is the base, bitwise; 16 [paper].
//   peft_groups  the groups of create_loraplus_optimizer for what is neither A nor B [PEFT]:
//                magnitudes, biases and gates are stepped at B's rate too, and biases do not decay.
//                Otherwise they are stepped at A's rate and decay by the base's λ [preheat].
// In PEFT the decay is 0 unless loraplus_weight_decay is given, whatever the base's default (0.01
// in AdamW): write .base = {.weight_decay = 0} for that. The rate of A is the run's. Cost and state:
// the base's. Errors: ratio <= 0; an adapter that does not train B.
#pragma once
#include "adam.hpp"

namespace preheat::optim {

template <class Base = adamw>
struct lora_plus {
  using axis = axes::optim;

  Base base{};
  double ratio = 16;
  bool peft_groups = false;

  template <class Be, class P>
  using state = typename Base::template state<Be, P>;

  template <backend Be, class P>
  state<Be, P> start(Be& be, const P& p) const {
    static_assert(trains<P>(parameter_role::B),
                  "preheat: optim::lora_plus sets the rate of B, and this adapter does not train "
                  "one; use adapter::lora");
    require(ratio > 0, "optim::lora_plus: ratio > 0", ratio, 0.0);
    return base.start(be, p);
  }

  template <backend Be, class P>
  void step(Be& be, P& p, P& gradient, state<Be, P>& st, step_context context) const {
    context.rate_scale[int(parameter_role::B)] *= ratio;
    if (peft_groups) {
      for (const parameter_role vector :
           {parameter_role::magnitude, parameter_role::bias, parameter_role::gate}) {
        context.rate_scale[int(vector)] *= ratio;
      }
      context.decay_scale[int(parameter_role::bias)] = 0;
    }
    base.step(be, p, gradient, st, context);
  }
};

}  // namespace preheat::optim
