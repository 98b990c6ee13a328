// XGBLoRA.
#include "adapt.hpp"

namespace sentiment {

method_list boosted() {
  return {entry(
      {.id = "xgblora",
       .name = "XGBLoRA, rank 1",
       .citation = "arXiv 2410.19694; boosters of 8 steps on all layers; rank 1 at any time, never "
                   "LoRA's budget",
       .kind = family::system},
      preheat::xgblora{})};
}

}  // namespace sentiment
