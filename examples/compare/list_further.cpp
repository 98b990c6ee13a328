// The other policies, one row each: run when they are named, or by --methods all.
#include "adapt.hpp"
#include "lists.hpp"

namespace comparison {

namespace init = preheat::init;

std::vector<method_entry> list_further() {
  using enum family;
  return to_entries(std::tuple(
      row{"peft_orthogonal", "LoRA, PEFT's orthogonal", "both factors set, product zero", random,
          preheat::lora_peft_orthogonal{}},
      row{"milora", "MiLoRA", "arXiv 2406.09044", weight, preheat::milora{}},
      row{"olora", "OLoRA", "arXiv 2406.01775", weight, preheat::olora{}},
      row{"mica", "MiCA", "PEFT's mica: B frozen at the minor left vectors", one_factor,
          preheat::mica{}},
      row{"kasa", "KaSA", "arXiv 2412.06071", structured, preheat::kasa{}},
      row{"lora_xs", "LoRA-XS", "arXiv 2405.17604; r×r numbers a layer, never LoRA's budget",
          weight, preheat::lora_xs{}},
      row{"loftq", "LoftQ", "arXiv 2310.08659; the base quantized to NF4", weight,
          preheat::loftq{}},
      row{"eva", "EVA", "arXiv 2410.07170; 8 batches, charged", preheated, preheat::eva{}},
      row{"corda", "CorDA, ipm", "arXiv 2406.05223; 8 batches, charged", preheated,
          preheat::corda{}},
      row{"corda_kpm", "CorDA, kpm", "arXiv 2406.05223; 8 batches, charged", preheated,
          preheat::corda{.init = {.mode = init::corda_mode::kpm}}},
      row{"lora_ga", "LoRA-GA", "arXiv 2407.05000, PEFT's form; 8 batches, charged", preheated,
          preheat::lora_ga<>{}},
      row{"lora_ga_sketched", "LoRA-GA, sketched",
          "the same, the gradient never held; 4 batches twice, charged", preheated,
          preheat::lora_ga<init::sketched_gradient>{.init = {.gradient = {.batches = 4}}}},
      row{"lora_one", "LoRA-One", "arXiv 2502.01235; 8 batches, charged", preheated,
          preheat::lora_one<>{}},
      row{"lora_one_sketched", "LoRA-One, sketched",
          "the same, the gradient never held; 4 batches twice, charged", preheated,
          preheat::lora_one<init::sketched_gradient>{.init = {.gradient = {.batches = 4}}}},
      row{"lora_sb", "LoRA-SB", "arXiv 2411.19557; r×r numbers a layer, never LoRA's budget",
          preheated, preheat::lora_sb{}},
      row{"dora", "DoRA", "arXiv 2402.09353; LoRA's budget and a magnitude a row", structured,
          preheat::dora{}},
      row{"lora_with_bias", "LoRA with a bias", "PEFT's lora_bias", structured,
          preheat::lora_with_bias{}},
      row{"lora_plus", "LoRA+", "arXiv 2402.12354; B at 16 times A's rate", optimized,
          preheat::lora_plus{}},
      row{"lora_fa", "LoRA-FA, 2r", "arXiv 2308.03303; A frozen; rank 2r for LoRA's budget",
          optimized, preheat::lora_fa{}, twice},
      row{"lora_scaled", "LoRA, scaled AdamW", "arXiv 2402.02347", optimized,
          preheat::lora_scaled{}},
      row{"adalora", "AdaLoRA, 3r/2 to r", "arXiv 2303.10512; penalty 0.5", structured,
          preheat::adalora{.optim = {.lambda = 0.5}}, half_more}));
}

}  // namespace comparison
