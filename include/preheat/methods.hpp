// One alias per paper.
#pragma once
#include "adapter/asymmetric.hpp"
#include "adapter/delora.hpp"
#include "adapter/dora.hpp"
#include "adapter/full.hpp"
#include "adapter/gated.hpp"
#include "adapter/gralora.hpp"
#include "adapter/hira.hpp"
#include "adapter/loha.hpp"
#include "adapter/lokr.hpp"
#include "adapter/lora_bias.hpp"
#include "adapter/prolora.hpp"
#include "adapter/randlora.hpp"
#include "adapter/shira.hpp"
#include "adapter/vera.hpp"
#include "adapter/xs.hpp"
#include "chain/boost.hpp"
#include "chain/merge_every.hpp"
#include "init/corda.hpp"
#include "init/eva.hpp"
#include "init/first_then.hpp"
#include "init/gaussian.hpp"
#include "init/gaussian_pair.hpp"
#include "init/gora.hpp"
#include "init/hrp.hpp"
#include "init/kaiming.hpp"
#include "init/kasa.hpp"
#include "init/loftq.hpp"
#include "init/lora_da.hpp"
#include "init/lora_ga.hpp"
#include "init/lora_null.hpp"
#include "init/lora_one.hpp"
#include "init/lora_sb.hpp"
#include "init/mica.hpp"
#include "init/milora.hpp"
#include "init/olora.hpp"
#include "init/orthogonal.hpp"
#include "init/peft_orthogonal.hpp"
#include "init/pissa.hpp"
#include "init/random_pair.hpp"
#include "init/shards.hpp"
#include "init/sketched_gradient.hpp"
#include "init/xs.hpp"
#include "method.hpp"
#include "optim/kasa_penalties.hpp"
#include "optim/loft.hpp"
#include "optim/lora_fa.hpp"
#include "optim/lora_muon.hpp"
#include "optim/lora_plus.hpp"
#include "optim/lora_pro_adamw.hpp"
#include "optim/lora_rite.hpp"
#include "optim/masked.hpp"
#include "optim/muon.hpp"
#include "optim/proximal.hpp"
#include "optim/reflora.hpp"
#include "optim/regularized.hpp"
#include "optim/scaled.hpp"
#include "optim/soap.hpp"
#include "rank/ablation.hpp"
#include "rank/adalora.hpp"
#include "rank/constant.hpp"
#include "rank/pruned_a.hpp"
#include "rank/sparse_gate.hpp"

namespace preheat {

// LoRA (Hu et al., arXiv 2106.09685) and its random inits.
using lora = method<>;
using lora_gaussian = method<init::gaussian>;
using lora_orthogonal = method<init::orthogonal>;
using lora_peft_orthogonal =
    method<init::peft_orthogonal>;  // "orthogonal" [PEFT]: sets both factors

// Init[AB] (arXiv 2505.23194): both factors are random, and their product is taken out of W.
using lora_random_pair = method<init::random_pair>;

// Asymmetric LoRA: one factor is frozen at a random orthonormal matrix.
using lora_train_a = method<adapter::asymmetric<parameter_role::A>, init::orthogonal>;
using lora_train_b = method<adapter::asymmetric<parameter_role::B>, init::orthogonal>;

// PiSSA (Meng, Wang, Zhang, arXiv 2404.02948).
using pissa = method<init::pissa>;
using pissa_randomized = method<init::pissa_randomized>;
using pissa_krylov = method<init::pissa_krylov>;

// The other inits from the weight: MiLoRA (arXiv 2406.09044), OLoRA (arXiv 2406.01775), MiCA (B
// frozen [PEFT]), KaSA (arXiv 2412.06071), LoRA-XS (arXiv 2405.17604), LoftQ (arXiv 2310.08659).
using milora = method<init::milora>;
using olora = method<init::olora>;
using mica = method<init::mica, adapter::asymmetric<parameter_role::A>>;
using kasa = method<init::kasa, adapter::gated<>>;
using kasa_penalized = method<init::kasa, adapter::gated<>, optim::kasa_penalties<>>;
using lora_xs = method<init::xs, adapter::xs>;
using loftq = method<init::loftq>;

// From the layers' inputs: EVA (arXiv 2410.07170), CorDA (arXiv 2406.05223), LoRA-Null (arXiv
// 2503.02659).
using eva = method<init::eva>;
using corda = method<init::corda>;
using lora_null = method<init::lora_null>;

// From gradients: LoRA-GA (arXiv 2407.05000), LoRA-One (arXiv 2502.01235), LoRA-SB (arXiv
// 2411.19557).
// lora_ga<init::sketched_gradient> never holds an m×n gradient.
template <class Gradient = init::dense_gradient>
using lora_ga = method<init::lora_ga<Gradient>>;
template <class Gradient = init::dense_gradient>
using lora_one = method<init::lora_one<Gradient>>;
using lora_sb = method<init::lora_sb, adapter::xs>;

// GoRA (NeurIPS 2025, arXiv 2502.12171), which also gives the layers their ranks, and LoRA-DA (arXiv
// 2510.24561), from gradients and the Fisher information.
using gora = method<init::gora>;
using lora_da = method<init::lora_da>;

// HRP, High-Rank Preheating (arXiv 2502.07739v3). hrp<lora>, which preheats both factors, is the plain
// reading of the paper; hrp<> preheats A alone and is our variant.
template <class Preheat = init::default_preheat>
using hrp = method<init::hrp<Preheat>>;

// XGBLoRA (arXiv 2410.19694): rank-1 boosters on random layers are merged one after the other.
using xgblora = method<rank::constant, chain::boost>;

// COLA, Chain of LoRA (arXiv 2401.04151): both factors are trained, merged and drawn again.
using cola = method<chain::merge_every>;

// RAC-LoRA (arXiv 2410.08305): the same chain with one factor frozen at its draw. As analysed, with
// SGD preconditioned by the frozen factor; and with AdamW and no preconditioner. Gaussian draws:
// with<rac_lora_adamw, init::gaussian>. The released code draws from N(0, 1), scales by α without r
// and keeps AdamW's state: {.init = {.sigma = 1}, .chain = {.keep_state = true}} and
// scaling::constant(α).
using rac_lora = method<adapter::asymmetric<parameter_role::B>, init::orthogonal,
                        optim::scaled<optim::sgd>, chain::merge_every>;
using rac_lora_adamw =
    method<adapter::asymmetric<parameter_role::B>, init::orthogonal, chain::merge_every>;

// LoRA-Pro (arXiv 2407.18242): AdamW in m×n space, as published; SGD; AdamW for each factor.
using lora_pro = method<optim::lora_pro_adamw>;
using lora_pro_sgd = method<optim::lora_pro<optim::sgd>>;
using lora_pro_factored = method<optim::lora_pro<optim::adamw>>;

// RM-LoRA (arXiv 2407.12074): a penalty keeps the factors near orthonormal ones, and a mask by rank
// is applied to the gradients. Published: rank 4, k = 2, v1, the defaults; and rank 8, α 32, k = 4,
// v2: {.optim = {.base = {.keep = 4, .paired = false}}}; both λ = 0.1.
using rm_lora = method<optim::regularized<optim::masked<>>>;

// ALoRA, also AB-LoRA (arXiv 2403.16187): ranks move between layers by their ablation importance.
// Not PEFT's aLoRA, Activated LoRA.
using alora = method<adapter::gated<adapter::gate::open>, rank::ablation>;

// PRoLoRA (arXiv 2402.16902): A and B share chunks, broadcast and rotated.
using prolora = method<adapter::prolora>;

// VeRA (Kopiczko, Blankevoort, Asano, arXiv 2310.11454): one frozen random pair for all layers, two
// trained vectors per layer. The paper's ranks are 256 and 1024.
using vera = method<adapter::vera>;

// PRILoRA (arXiv 2401.11316): ranks that grow with depth, A pruned by weight and input.
using prilora = method<rank::pruned_a<rank::linear>>;

// SoRA (arXiv 2311.11696): learned gates are thresholded until ranks can be dropped.
using sora = method<adapter::gated<>, optim::proximal<>, rank::sparse_gate>;

// MiSS (arXiv 2409.15371): LoRA with a fixed A that sums shards of the input. s = 1 there.
using miss = method<init::shards, adapter::asymmetric<parameter_role::B>>;

// Adapters whose ΔW is no B·A: GraLoRA (arXiv 2505.20355), a grid of blocks; HiRA (ICLR 2025)
// and LoHa (arXiv 2108.06098, 2309.14859), entrywise products; LoKr (arXiv 2309.14859), a
// Kronecker product; DeLoRA (arXiv 2503.18225), normalized ranks; RandLoRA (arXiv 2502.00987),
// random bases with trained diagonals; SHiRA (arXiv 2406.13175), a few entries of W.
using gralora = method<adapter::gralora>;
using hira = method<adapter::hira>;
using loha = method<adapter::loha>;
using lokr = method<adapter::lokr>;
using delora = method<adapter::delora>;
using randlora = method<adapter::randlora>;
using shira = method<adapter::shira>;

// DoRA (arXiv 2402.09353), LoRA+ (arXiv 2402.12354), LoRA-FA (arXiv 2308.03303), and LoRA with
// scaled ("Riemannian preconditioned") gradients (arXiv 2402.02347).
using dora = method<adapter::dora>;
using lora_with_bias = method<adapter::lora_bias>;  // a trained bias on B, lora_bias [PEFT]
using lora_plus = method<optim::lora_plus<>>;
using lora_fa = method<adapter::asymmetric<parameter_role::B>, optim::lora_fa>;
using lora_scaled = method<optim::scaled<optim::adamw>>;

// Steps in the spectral norm: LoRA-Muon (arXiv 2606.12921), of the product B·A; Muon (Jordan et
// al., 2024) of each factor. LoRA-RITE (arXiv 2410.20625): a second moment that no split
// changes. RefLoRA (NeurIPS 2025): gradients of the balanced split. LoFT (arXiv 2505.21289): AdamW
// of the product, factor by factor. SOAP (arXiv 2409.11321) of each factor.
using lora_muon = method<optim::lora_muon>;
using lora_by_muon = method<optim::muon>;
using lora_rite = method<optim::lora_rite>;
using reflora = method<optim::reflora<>>;
using loft = method<optim::loft>;
using lora_by_soap = method<optim::soap>;

// AdaLoRA (arXiv 2303.10512): triplets B·diag(E)·A, the least important ones masked. The penalty's
// weight is 0.5: adalora{.optim = {.lambda = 0.5}}.
using adalora = method<adapter::gated<adapter::gate::closed>, init::gaussian_pair,
                       optim::regularized<optim::adamw>, rank::adalora>;

// Every weight and bias of the adapted layers: the reference.
using full_fine_tuning = method<adapter::full>;

}  // namespace preheat
