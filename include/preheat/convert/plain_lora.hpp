// An adapter on a residual base as a plain LoRA adapter on the original one.
//
// PiSSA, MiLoRA, OLoRA, CorDA and LoRA-GA start from factors A₀, B₀ whose product is subtracted from
// W: the trained output is (W − s·B₀·A₀ + s·B·A)·x + b. As PEFT's conversion does
// (path_initial_model_for_weight_conversion), the difference of the two products is put into factors,
// on the original W and with the same s:
//
//   A' = [A; A₀],   B' = [B, −B₀],   rank r + r₀     (so α' = 2·α, or √2·α with rsLoRA: alpha_of)
//
//   auto run = start_run(pissa{}, net, batches, options);
//   const auto start = factors_of(run);               // before the first step
//   const auto report = run.run_to_end();
//   const auto plain = to_plain_lora(net.backend(), report, start);
//
// It can then be cut to a lower rank (convert/recompress.hpp) and saved (peft/save.hpp).
//
// A is r×n, B is m×r. Errors: shapes that do not go together; a core between B and A; a layer
// without an adapter. A method whose init replaces W (initial_product::new_base) or whose chain merges
// into it has no such conversion; factors_of then does not compile. Cost: a copy of the factors.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "../train/report.hpp"
#include "../train/scaling.hpp"
#include "concatenate.hpp"

namespace preheat {

// ΔW = scaling·B·A on the original base.
template <class Be>
struct plain_lora {
  factors<Be> f;
  double scaling = 1;
  index_t rank = 0;
  double error = 0;     // relative, in the Frobenius norm, of the recompression
  std::string layer{};  // its name in the network
  double retained_energy() const { return 1 - error * error; }
};

// The weights of the start's factors A₀ and B₀ beside the trained ones.
inline constexpr factor_weights weights_of_start{1, -1};

// The factors that each target layer of a run has now.
template <class Run>
std::vector<factors<typename Run::backend_type>> factors_of(Run& run) {
  static_assert(
      Run::init_type::product != initial_product::new_base && !Run::chain_type::merges,
      "preheat: factors_of is for methods that take a product out of W once, at the start "
      "(init::pissa); this one replaces W or merges into it, so its adapter has no "
      "conversion to the original base");
  std::vector<factors<typename Run::backend_type>> all;
  for (const index_t l : run.targets()) {
    const auto& adapted_layer = run.adapters.layers()[l];
    require(adapted_layer.attached, "factors_of: every target layer has an adapter");
    all.push_back(run.method.adapter.product(run.backend(), adapted_layer.parameters));
  }
  return all;
}

// One layer: its trained factors, those it started from, and s.
template <backend Be>
plain_lora<Be> to_plain_lora(Be& be, const factors<Be>& trained, const factors<Be>& start,
                             double scaling) {
  require_no_core(trained);
  require_no_core(start);
  factors<Be> f = concatenated(be, {{trained.A, trained.B}, {start.A, start.B, weights_of_start}});
  const index_t rank = f.A.rows();
  return {.f = std::move(f), .scaling = scaling, .rank = rank};
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
    all.back().layer = l.name;
  }
  return all;
}

}  // namespace preheat
