// What the Python module does with tensors in memory: for every layer of an adapter the functions that the commands of
// preheat-adapter call for the layers of a file. A tensor of PyTorch is row-major, which is a view of its transpose.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "apps/adapter/factors.hpp"

namespace apps::python {

using preheat::index_t;
using preheat::view;
using factors_in_memory = adapter::stored_views<float>;  // At in×r, Bt r×out

// New factors of one layer.
struct layer_factors {
  adapter::stored_factors<float> f;
  std::vector<double> sigma;  // of s·B·A before, the first of them
  double energy = 1;          // the part of ‖B·A‖² that is kept
};

struct run_options {
  int threads = 1;  // layers at a time
  std::uint64_t seed = 0;
};

// init/hrp_start.hpp: the main directions of preheated factors. Errors: a rank above a layer's.
std::vector<layer_factors> hrp(const std::vector<factors_in_memory>& layers,
                               const std::vector<index_t>& ranks, bool left, double row_norm,
                               const run_options& o);

// The best factors of a lower rank of s·B·A, with s = 1: of a given rank, or of the least rank that keeps
// `energy` of ‖s·B·A‖², or the singular values of at least σ₁/ratio.
struct reduce_criterion {
  index_t rank = 0;
  double energy = 0;
  double ratio = 0;
};
std::vector<layer_factors> reduce(const std::vector<factors_in_memory>& layers,
                                  const std::vector<double>& scalings, const reduce_criterion& c,
                                  const run_options& o);

// A start from a weight: W out×in row-major, from which s·B·A is taken in place if the start does so.
struct weight_site {
  view<float> Wt;                // in×out
  view<const float> gradient_t;  // in×out, for lora_ga
  index_t rank = 0;
  double scaling = 1;
};
// Kinds: pissa, pissa_randomized, milora, olora, orthogonal, lora_ga. pissa is the exact one to 1e-5·σ₁: a block Krylov
// method is repeated, twice as deep each time, until its triplets are that good.
std::vector<layer_factors> start(const std::string& kind, const std::vector<weight_site>& sites,
                                 const run_options& o);

}  // namespace apps::python
