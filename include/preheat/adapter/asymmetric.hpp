// Asymmetric LoRA: one factor is frozen at a (random or informed) draw, only the other is trained.
// asymmetric<role::A> trains A and freezes B; asymmetric<role::B> trains B and freezes A. The
// frozen factor is where an init puts its directions, the trained one starts at zero.
#pragma once
#include "lora.hpp"

namespace preheat::adapter {

template <role Trained>
requires(Trained == role::A ||
         Trained == role::B) using asymmetric = low_rank<Trained == role::A, Trained == role::B>;

}  // namespace preheat::adapter
