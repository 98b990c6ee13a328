// Asymmetric LoRA: one factor is frozen where the init has put it (at a random draw or at singular
// vectors), and only the other is trained, from zero. asymmetric<parameter_role::A> trains A and
// freezes B; asymmetric<parameter_role::B> trains B and freezes A.
#pragma once
#include "lora.hpp"

namespace preheat::adapter {

template <parameter_role Trained>
requires(Trained == parameter_role::A || Trained == parameter_role::B) using asymmetric =
    low_rank<Trained == parameter_role::A, Trained == parameter_role::B>;

}  // namespace preheat::adapter
