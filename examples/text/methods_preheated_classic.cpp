// HRP, preheated by LoRA itself.
#include "adapt.hpp"

namespace sentiment {

method_list classic_preheating() {
  return {entry({.id = "hrp_classic",
                 .name = "HRP, warm classic",
                 .citation = "arXiv 2502.07739; warm: LoRA, AdamW, right side",
                 .kind = family::data},
                preheat::hrp<method<>>{})};
}

}  // namespace sentiment
