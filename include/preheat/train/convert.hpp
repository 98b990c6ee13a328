// An adapter on a residual base as a plain LoRA adapter on the original one, and a plain adapter at
// a lower rank.
//
// PiSSA, MiLoRA, OLoRA, CorDA and LoRA-GA start from factors A₀, B₀ that W gives away: the trained
// output is (W − s·B₀·A₀ + s·B·A)·x + b. PEFT's conversion (path_initial_model_for_weight_conversion)
// keeps the product of the two changes in factors, on the original W and with the same s:
//
//   A' = [A; A₀],   B' = [B, −B₀],   rank r + r₀     (so α' = 2·α, or √2·α with rsLoRA: alpha_of)
//
// Recompression to rank r' takes the main r' triplets of B·A = U·S·Vᵀ (factored, never m×n):
//
//   B' = U·√S,   A' = √S·Vᵀ,   error = ‖B'·A' − B·A‖_F/‖B·A‖_F = √(Σ_{i>r'} σ_i²/Σ_i σ_i²)
//
// the best there is of that rank (Eckart and Young). The even split is ours: it is PiSSA's, and goes
// on training well. s stays, so ΔW has the same relative error.
//
//   auto r = start_run(pissa{}, net, batches, options);
//   const auto start = factors_of(r);               // before the first step
//   const auto report = r.run_to_end();
//   const auto plain = to_plain_lora(net.backend(), report, start);
//   const auto small = recompress(net.backend(), plain[0], 4);
//
// A is r×n, B is m×r. Errors: shapes that do not go together; a core between B and A; a layer
// without an adapter; r' above the rank that is there. An init that answers with another W
// (start::replaced) has no such conversion, nor has a chain.
// Cost: conversion copies the factors; recompression O((m + n)·r² + r³).
#pragma once
#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "../adapter/scaling.hpp"
#include "../linalg/factored_svd.hpp"
#include "report.hpp"

namespace preheat {

// ΔW = scaling·B·A on the original base.
template <class Be>
struct plain_lora {
  factors<Be> f;
  double scaling = 1;
  index_t rank = 0;
  double error = 0;  // relative, in the Frobenius norm, of the recompression
  double retained_energy() const { return 1 - error * error; }
};

// The α that gives a layer of this rank the factor s.
inline double alpha_of(scaling_rule::form form, double s, index_t rank) {
  switch (form) {
    case scaling_rule::form::over_rank:
      return s * double(rank);
    case scaling_rule::form::over_sqrt_rank:
      return s * std::sqrt(double(rank));
    case scaling_rule::form::constant:
      break;
  }
  return s;
}

// The factors that each target layer of a run has now.
template <class Run>
std::vector<factors<typename Run::backend_type>> factors_of(Run& run) {
  std::vector<factors<typename Run::backend_type>> all;
  for (const index_t l : run.targets()) {
    const auto& slot = run.lin.slots()[std::size_t(l)];
    require(slot.attached, "factors_of: every target layer has an adapter");
    all.push_back(run.method.adapter.product(run.backend(), slot.parameters));
  }
  return all;
}

// One layer: its trained factors, those it started from, and s.
template <backend Be>
plain_lora<Be> to_plain_lora(Be& be, const factors<Be>& trained, const factors<Be>& start,
                             double scaling) {
  require_no_core(trained);
  require_no_core(start);
  const index_t r = trained.A.rows();
  const index_t r0 = start.A.rows();
  const index_t m = trained.B.rows();
  const index_t n = trained.A.cols();
  require(trained.B.cols() == r && start.B.cols() == r0, "to_plain_lora: columns of B = rows of A",
          trained.B.cols() + start.B.cols(), r + r0);
  require(start.A.cols() == n, "to_plain_lora: both A have the same columns", start.A.cols(), n);
  require(start.B.rows() == m, "to_plain_lora: both B have the same rows", start.B.rows(), m);
  factors<Be> f{be.zeros(r + r0, n), be.zeros(m, r + r0)};
  be.copy(op::none, trained.A, view(f.A).row_range(0, r));
  be.copy(op::none, start.A, view(f.A).row_range(r, r0));
  be.copy(op::none, trained.B, view(f.B).col_range(0, r));
  be.copy(op::none, start.B, view(f.B).col_range(r, r0));
  be.each(linalg::scale<scalar_of<Be>>{-1}, view(f.B).col_range(r, r0));
  return {std::move(f), scaling, r + r0};
}

// Every layer of a report, in its order; `start` is what factors_of gave before the first step.
template <backend Be, class Adapter>
std::vector<plain_lora<Be>> to_plain_lora(Be& be, const fit_report<Be, Adapter>& report,
                                          const std::vector<factors<Be>>& start) {
  require(start.size() == report.layers.size(), "to_plain_lora: initial factors of every layer",
          start.size(), report.layers.size());
  std::vector<plain_lora<Be>> all;
  for (std::size_t i = 0; i < start.size(); ++i) {
    const auto& l = report.layers[i];
    require(l.attached, "to_plain_lora: layer '" + l.name + "' has an adapter");
    all.push_back(to_plain_lora(be, report.adapter.product(be, l.parameters), start[i], l.scaling));
  }
  return all;
}

// The best adapter of this rank, rank <= that of `large` and <= min(m, n).
template <backend Be>
plain_lora<Be> recompress(Be& be, const plain_lora<Be>& large, index_t rank) {
  using T = scalar_of<Be>;
  require_no_core(large.f);
  const index_t m = large.f.B.rows();
  const index_t n = large.f.A.cols();
  const index_t all = std::min({large.f.A.rows(), m, n});
  require(1 <= rank && rank <= all, "recompress: 1 <= new rank <= rank there is", rank, all);
  svd_result<mat<Be>> d = linalg::factored_svd<Be>(be, large.f.B, large.f.A, all, generator(0));
  linalg::require_finite<Be>(be, d.S, "recompress: the spectrum of B·A");
  const std::vector<T> sigma = be.download(d.S);
  double kept = 0;
  double lost = 0;
  for (std::size_t i = 0; i < sigma.size() && sigma[0] > 0; ++i) {
    const double share = double(sigma[i]) / double(sigma[0]);
    (index_t(i) < rank ? kept : lost) += share * share;
  }
  be.each(linalg::root<T>{1}, d.S);
  be.scale_cols(d.S, d.U);
  be.scale_cols(d.S, d.V);
  factors<Be> f{linalg::transposed<Be>(be, view(d.V).col_range(0, rank)),
                clone<Be>(be, view(d.U).col_range(0, rank))};
  return {std::move(f), large.scaling, rank, lost > 0 ? std::sqrt(lost / (kept + lost)) : 0};
}

}  // namespace preheat
