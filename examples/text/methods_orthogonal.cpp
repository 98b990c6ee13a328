// LoRA from orthonormal random directions.
#include "adapt.hpp"

namespace sentiment {

method_list orthonormal_start() {
  return {entry({.id = "orthogonal",
                 .name = "LoRA, orthonormal",
                 .citation = "A with orthonormal rows, uniformly drawn",
                 .kind = family::random},
                preheat::lora_orthogonal{})};
}

}  // namespace sentiment
