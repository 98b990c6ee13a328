// Three rows of studies/common/catalogue.txt, because all would take long to compile: preheat-finetune-cuda on the double
// of CUDA, and what nvcc compiles where there is no GPU.
#include "apps/finetune/catalogue.hpp"

namespace apps::finetune {

void add_part_0(catalogue& all) {
  using enum common::family;
  all.add("lora", "LoRA, Kaiming", "arXiv 2106.09685", random, preheat::lora{});
  all.add("hrp", "HRP", "arXiv 2502.07739", preheated, preheat::hrp<>{});
  all.add("pissa", "PiSSA", "arXiv 2404.02948", weight, preheat::pissa_krylov{});
}

}  // namespace apps::finetune
