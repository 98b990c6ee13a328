// LoRA-Pro.
#include "adapt.hpp"

namespace sentiment {

method_list preconditioned() {
  return {entry({.id = "lora_pro",
                 .name = "LoRA-Pro",
                 .citation = "arXiv 2407.18242; AdamW with moments in m×n space",
                 .kind = family::system},
                preheat::lora_pro{})};
}

}  // namespace sentiment
