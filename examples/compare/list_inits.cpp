// LoRA by where its factors start, and by which of them is trained: one row a method, each changed from
// LoRA in what it lists. Learning rates are set by the driver.
#include "adapt.hpp"
#include "lists.hpp"

namespace comparison {

namespace init = preheat::init;
namespace adapter = preheat::adapter;
using preheat::method;
using preheat::role;

std::vector<method_entry> list_inits() {
  using enum family;
  return to_entries(std::tuple(
      row{"full", "full fine-tuning", "every weight and bias; the reference", reference,
          preheat::full_fine_tuning{}},
      row{"lora", "LoRA, Kaiming", "arXiv 2106.09685; PEFT's default init", random,
          preheat::lora{}},
      row{"gaussian", "LoRA, gaussian", "arXiv 2106.09685; PEFT's \"gaussian\", A ~ N(0, 1/r²)",
          random, preheat::lora_gaussian{}},
      row{"orthogonal", "LoRA, orthonormal", "A with orthonormal rows, uniformly drawn", random,
          preheat::lora_orthogonal{}},
      row{"pissa", "PiSSA", "arXiv 2404.02948; exact SVD", weight, preheat::pissa{}},
      row{"pissa_fast", "PiSSA, randomized", "arXiv 2404.02948; randomized SVD, 4 power iterations",
          weight, preheat::pissa_randomized{}},
      row{"hrp", "HRP", "arXiv 2502.07739; warm: train A, SGD, R = 16 r, 1.3 % of the steps",
          preheated, preheat::hrp<>{}},
      row{"hrp_train_b", "HRP, warm train B", "arXiv 2502.07739; warm: train B, SGD, left side",
          preheated, preheat::hrp<warm_train_b>{}},
      row{"hrp_classic", "HRP, warm classic", "arXiv 2502.07739; warm: LoRA, AdamW, right side",
          preheated, preheat::hrp<warm_classic>{}},
      row{"hrp_classic_left", "HRP, warm classic, left",
          "arXiv 2502.07739; warm: LoRA, AdamW, left side", preheated,
          preheat::hrp<warm_classic>{.init = {.side = preheat::side::left}}},
      row{"train_a", "train A", "asymmetric LoRA: B orthonormal and frozen", one_factor,
          preheat::lora_train_a{}},
      row{"train_b", "train B", "asymmetric LoRA: A orthonormal and frozen", one_factor,
          preheat::lora_train_b{}},
      row{"train_a_hrp", "train A, B from HRP", "arXiv 2502.07739; B frozen at HRP's directions",
          one_factor, method<adapter::asymmetric<role::A>, init::hrp<warm_train_b>>{}},
      row{"train_b_hrp", "train B, A from HRP", "arXiv 2502.07739; A frozen at HRP's directions",
          one_factor, method<adapter::asymmetric<role::B>, init::hrp<>>{}}));
}

}  // namespace comparison
