// One paper, one alias.
#pragma once
#include "adapter/asymmetric.hpp"
#include "adapter/full.hpp"
#include "init/gaussian.hpp"
#include "init/hrp.hpp"
#include "init/kaiming.hpp"
#include "init/orthogonal.hpp"
#include "init/pissa.hpp"
#include "method.hpp"

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

// Every weight and bias of the adapted layers: the reference.
using full_fine_tuning = method<adapter::full>;

}  // namespace preheat
