// RAC-LoRA.
#include "adapt.hpp"

namespace sentiment {

method_list one_factor_chain() {
  return {
      entry({.id = "rac_lora",
             .name = "RAC-LoRA, AdamW, 2r",
             .citation =
                 "arXiv 2410.08305; train B, AdamW, blocks of 25 steps; rank 2r for LoRA's budget",
             .kind = family::system,
             .rank = twice},
            preheat::rac_lora_adamw{})};
}

}  // namespace sentiment
