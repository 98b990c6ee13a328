// PRILoRA.
#include "adapt.hpp"

namespace sentiment {

method_list pruned() {
  return {entry(
      {.id = "prilora",
       .name = "PRILoRA",
       .citation = "arXiv 2401.11316; ranks from r/2 to 3r/2, half of A pruned every 40 steps",
       .kind = family::system},
      preheat::prilora{})};
}

}  // namespace sentiment
