// ALoRA.
#include "adapt.hpp"

namespace sentiment {

method_list ablated() {
  constexpr preheat::rank::ablation phases{.first = 16, .every = 8, .rounds = 4};
  return {
      entry({.id = "alora",
             .name = "ALoRA",
             .citation = "arXiv 2403.16187; 16 steps, then 4 rounds 8 steps apart, scored on 32 "
                         "validation sentences",
             .kind = family::system},
            preheat::alora{.rank = phases})};
}

}  // namespace sentiment
