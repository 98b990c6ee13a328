// The inits of product zero, again, at one row norm.
#include "adapt.hpp"
#include "lists.hpp"

namespace comparison {

std::vector<method_entry> list_equal_norm(double norm) {
  using enum family;
  return to_entries(std::tuple(
      row{"lora", "LoRA, Kaiming", "arXiv 2106.09685", random,
          preheat::lora{.init = {.row_norm = norm}}},
      row{"gaussian", "LoRA, gaussian", "arXiv 2106.09685", random,
          preheat::lora_gaussian{.init = {.row_norm = norm}}},
      row{"orthogonal", "LoRA, orthonormal", "orthonormal rows, uniformly drawn", random,
          preheat::lora_orthogonal{.init = {.row_norm = norm}}},
      row{"hrp", "HRP", "arXiv 2502.07739", preheated, preheat::hrp<>{.init = {.row_norm = norm}}},
      row{"hrp_train_b", "HRP, warm train B", "arXiv 2502.07739", preheated,
          preheat::hrp<warm_train_b>{.init = {.row_norm = norm}}},
      row{"hrp_classic", "HRP, warm classic", "arXiv 2502.07739", preheated,
          preheat::hrp<warm_classic>{.init = {.row_norm = norm}}},
      row{"hrp_classic_left", "HRP, warm classic, left", "arXiv 2502.07739", preheated,
          preheat::hrp<warm_classic>{.init = {.side = preheat::side::left, .row_norm = norm}}}));
}

}  // namespace comparison
