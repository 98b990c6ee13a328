// A start from gradients.
#include "adapt.hpp"

namespace sentiment {

method_list gradient_start() {
  return {entry({.id = "lora_ga",
                 .name = "LoRA-GA",
                 .citation = "arXiv 2407.05000, PEFT's form; 2 batches, charged",
                 .kind = family::data,
                 .by_default = true},
                preheat::lora_ga<>{.init = {.gradient = {.batches = 2}}})};
}

}  // namespace sentiment
