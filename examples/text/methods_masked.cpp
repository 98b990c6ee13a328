// RM-LoRA.
#include "adapt.hpp"

namespace sentiment {

method_list masked() {
  return {entry({.id = "rm_lora",
                 .name = "RM-LoRA",
                 .citation = "arXiv 2407.12074; λ 0.1, 2 of the ranks seen a step",
                 .kind = family::system},
                preheat::rm_lora{})};
}

}  // namespace sentiment
