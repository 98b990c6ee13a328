// SoRA.
#include "adapt.hpp"

namespace sentiment {

method_list gated() {
  constexpr optim::proximal<> schedule{.base = {.weight_decay = 0.1},
                                       .eta = 1e-3,
                                       .xi = 0,
                                       .xi_last = 7e-4,
                                       .schedule = optim::xi_schedule::linear,
                                       .stages = 7};
  return {entry(
      {.id = "sora",
       .name = "SoRA",
       .citation = "arXiv 2311.11696; η 1e-3, ξ from 0 to 7e-4 in 7 stages, decay 0.1; ranks can "
                   "only fall",
       .kind = family::system},
      preheat::sora{.optim = schedule})};
}

}  // namespace sentiment
