// Chains, optimizers and structures: one row a method.
#include "adapt.hpp"
#include "lists.hpp"

namespace comparison {

namespace init = preheat::init;
namespace optim = preheat::optim;

// An epoch of the digits is 16 steps of 64: ALoRA's published phases, 1 and then ¼ epoch.
constexpr preheat::rank::ablation alora_phases{.first = 16, .every = 4, .rounds = 8};

// SoRA's published settings with a schedule.
constexpr optim::proximal<> sora_schedule{.base = {.weight_decay = 0.1},
                                          .eta = 1e-3,
                                          .xi = 0,
                                          .xi_last = 7e-4,
                                          .schedule = optim::xi_schedule::linear,
                                          .stages = 7};

using rac_lora_hrp =
    preheat::with<preheat::rac_lora_adamw, init::first_then<init::hrp<>, init::orthogonal>>;

std::vector<method_entry> list_methods() {
  using enum family;
  return to_entries(std::tuple(
      row{"xgblora", "XGBLoRA, rank 1",
          "arXiv 2410.19694; boosters of 8 steps on all layers; rank 1 at any time, never LoRA's "
          "budget",
          chained, preheat::xgblora{}},
      row{"cola", "COLA", "arXiv 2401.04151; merged and drawn again every 25 steps", chained,
          preheat::cola{}},
      row{"rac_lora", "RAC-LoRA, SGD, 2r",
          "arXiv 2410.08305; train B, preconditioned SGD, blocks of 25 steps; rank 2r for LoRA's "
          "budget",
          chained, preheat::rac_lora{}, twice},
      row{"rac_lora_adamw", "RAC-LoRA, AdamW, 2r",
          "arXiv 2410.08305; train B, AdamW, blocks of 25 steps; rank 2r for LoRA's budget",
          chained, preheat::rac_lora_adamw{}, twice},
      row{"rac_lora_hrp", "RAC-LoRA, AdamW, HRP first",
          "the same with the first block's A from HRP (arXiv 2502.07739), charged", chained,
          rac_lora_hrp{}, twice},
      row{"lora_pro", "LoRA-Pro", "arXiv 2407.18242; AdamW with moments in m×n space", optimized,
          preheat::lora_pro{}},
      row{"lora_pro_sgd", "LoRA-Pro, SGD", "arXiv 2407.18242; plain SGD", optimized,
          preheat::lora_pro_sgd{}},
      row{"lora_pro_factored", "LoRA-Pro, factored",
          "arXiv 2407.18242, a third party's variant: AdamW factor by factor", optimized,
          preheat::lora_pro_factored{}},
      row{"lora_pro_late", "LoRA-Pro, factored, late",
          "the same after 10 steps of plain AdamW, when B is no longer near zero", optimized,
          preheat::lora_pro_factored{.optim = {.plain_steps = 10}}},
      row{"rm_lora", "RM-LoRA", "arXiv 2407.12074; λ 0.1, 2 of the ranks seen a step", optimized,
          preheat::rm_lora{}},
      row{"alora", "ALoRA",
          "arXiv 2403.16187; 1 epoch, then 8 rounds ¼ epoch apart, scored on the validation digits",
          structured, preheat::alora{.rank = alora_phases}},
      row{"prolora", "PRoLoRA, 2r−1",
          "arXiv 2402.16902; A and B shared twice, 1 rank unshared; rank 2r−1 for LoRA's budget",
          structured, preheat::prolora{.adapter = {.share_a = 2, .share_b = 2, .unshared = 1}},
          twice_but_one},
      row{"prilora", "PRILoRA",
          "arXiv 2401.11316; ranks from r/2 to 3r/2, half of A pruned every 40 steps", structured,
          preheat::prilora{}},
      row{"sora", "SoRA",
          "arXiv 2311.11696; η 1e-3, ξ from 0 to 7e-4 in 7 stages, decay 0.1; ranks can only fall",
          structured, preheat::sora{.optim = sora_schedule}}));
}

}  // namespace comparison
