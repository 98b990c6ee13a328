// One paper, one alias.
#pragma once
#include "adapter/asymmetric.hpp"
#include "adapter/full.hpp"
#include "adapter/gated.hpp"
#include "adapter/prolora.hpp"
#include "chain/boost.hpp"
#include "chain/merge_every.hpp"
#include "init/first_then.hpp"
#include "init/gaussian.hpp"
#include "init/hrp.hpp"
#include "init/kaiming.hpp"
#include "init/orthogonal.hpp"
#include "init/pissa.hpp"
#include "method.hpp"
#include "optim/lora_pro_adamw.hpp"
#include "optim/masked.hpp"
#include "optim/proximal.hpp"
#include "optim/regularized.hpp"
#include "optim/scaled.hpp"
#include "rank/ablation.hpp"
#include "rank/constant.hpp"
#include "rank/pruned_a.hpp"
#include "rank/sparse_gate.hpp"

namespace preheat {

// LoRA (Hu et al., arXiv 2106.09685) and its random starts.
using lora = method<>;
using lora_gaussian = method<init::gaussian>;
using lora_orthogonal = method<init::orthogonal>;

// Asymmetric LoRA: one factor frozen at an orthonormal draw.
using lora_train_a = method<adapter::asymmetric<role::A>, init::orthogonal>;
using lora_train_b = method<adapter::asymmetric<role::B>, init::orthogonal>;

// PiSSA (Meng, Wang, Zhang, arXiv 2404.02948).
using pissa = method<init::pissa>;
using pissa_randomized = method<init::pissa_randomized>;

// HRP, High-Rank Preheating (arXiv 2502.07739).
template <class Warm = init::default_warm>
using hrp = method<init::hrp<Warm>>;

// XGBLoRA (arXiv 2410.19694): rank-1 boosters on random layers, merged one after the other.
using xgblora = method<rank::constant, chain::boost>;

// COLA, Chain of LoRA (arXiv 2401.04151): both factors trained, merged, drawn again.
using cola = method<chain::merge_every>;

// RAC-LoRA (arXiv 2410.08305): the same chain with one factor frozen at its draw. As analysed, with
// SGD preconditioned by the frozen factor; and with AdamW and no preconditioner. For the paper's
// gaussian draws: with<rac_lora_adamw, init::gaussian>{.init = {.sigma = 0.02}}.
using rac_lora = method<adapter::asymmetric<role::B>, init::orthogonal, optim::scaled<optim::sgd>,
                        chain::merge_every>;
using rac_lora_adamw = method<adapter::asymmetric<role::B>, init::orthogonal, chain::merge_every>;

// LoRA-Pro (arXiv 2407.18242): AdamW in m×n space, as published; SGD; AdamW factor by factor.
using lora_pro = method<optim::lora_pro_adamw>;
using lora_pro_sgd = method<optim::lora_pro<optim::sgd>>;
using lora_pro_factored = method<optim::lora_pro<optim::adamw>>;

// RM-LoRA (arXiv 2407.12074): factors pushed towards orthonormal ones, gradients masked by rank.
using rm_lora = method<optim::regularized<optim::masked<>>>;

// ALoRA, also AB-LoRA (arXiv 2403.16187): ranks move between layers by their ablation importance.
using alora = method<adapter::gated<adapter::gate::open>, rank::ablation>;

// PRoLoRA (arXiv 2402.16902): A and B share chunks, broadcast and rotated.
using prolora = method<adapter::prolora>;

// PRILoRA (arXiv 2401.11316): ranks that grow with depth, A pruned by weight and input.
using prilora = method<rank::pruned_a<rank::linear>>;

// SoRA (arXiv 2311.11696): learned gates, thresholded until ranks fall away.
using sora = method<adapter::gated<>, optim::proximal<>, rank::sparse_gate>;

// Every weight and bias of the adapted layers: the reference.
using full_fine_tuning = method<adapter::full>;

}  // namespace preheat
