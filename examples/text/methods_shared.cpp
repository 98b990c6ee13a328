// PRoLoRA.
#include "adapt.hpp"

namespace sentiment {

method_list shared_factors() {
  return {entry(
      {.id = "prolora",
       .name = "PRoLoRA, 2r−1",
       .citation = "arXiv 2402.16902; A and B shared twice, 1 rank unshared; rank 2r−1 for LoRA's "
                   "budget",
       .kind = family::system,
       .rank = twice_but_one},
      preheat::prolora{.adapter = {.share_a = 2, .share_b = 2, .unshared = 1}})};
}

}  // namespace sentiment
