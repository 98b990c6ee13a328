// High-Rank Preheating (arXiv 2502.07739) between two runs of PEFT: the main singular vectors of B·A of an
// adapter that was trained at a high rank for a few steps are the start of the low-rank run
// (init/hrp_start.hpp). Its product is zero, so neither base nor output change. The scale s of the layer is kept:
// α' = s·r, or s·√r with rsLoRA. Automatic side: the side of the factor that was trained, if --initial
// shows that one was frozen; else right, as for LoRA's usual start with A random and B = 0.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <type_traits>
#include <vector>

#include "commands.hpp"
#include "sources.hpp"

namespace apps::adapter {
namespace {

// Whether no layer's factor is different in the two adapters.
bool unchanged(const peft::reader& a, const peft::reader& b,
               std::string peft::adapter_layer::*factor) {
  for (const peft::adapter_layer& l : a.layers()) {
    const peft::adapter_layer& before = *b.find(l.module);
    const safetensors::tensor_info& now = a.files().info(l.*factor);
    const safetensors::tensor_info& then = b.files().info(before.*factor);
    const bool equal = now.type == then.type && std::ranges::equal(now.bytes, then.bytes);
    a.files().release(l.*factor);
    b.files().release(before.*factor);
    if (!equal) {
      return false;
    }
  }
  return true;
}

struct chosen_side {
  bool left = false;
  std::string reason;
};

chosen_side choose_side(const hrp_options& o, const std::vector<peft::reader>& adapters) {
  if (o.side != preheat::singular_side::automatic) {
    return {o.side == preheat::singular_side::left, "as asked"};
  }
  if (adapters.size() < 2) {
    return {false, "LoRA's usual start, A random and B = 0"};
  }
  const bool same_A = unchanged(adapters[0], adapters[1], &peft::adapter_layer::A);
  const bool same_B = unchanged(adapters[0], adapters[1], &peft::adapter_layer::B);
  refuse_if(same_A && same_B,
            "hrp: the two adapters are equal, so preheating changed neither A nor B");
  if (same_A) {
    return {true, "preheating trained B alone"};
  }
  return {false, same_B ? "preheating trained A alone" : "preheating trained both factors"};
}

peft::adapter_plan plan_start(const hrp_options& o, const std::vector<peft::reader>& adapters) {
  const peft::reader& warm = adapters.front();
  peft::adapter_plan plan = peft::plan_like(warm);
  plan.copied = peft::passed_through(warm);
  plan.stored = o.stored;
  plan.single_file = as_single_file(o);
  for (const peft::adapter_layer& l : warm.layers()) {
    refuse_if(l.rank < o.rank,
              fmt::format("module {}: it was preheated at rank {}, the start has rank {}", l.module,
                          l.rank, o.rank));
    const index_t rank = std::min({o.rank, l.out, l.in});
    plan.layers.push_back(peft::planned_like(warm, l, rank, l.scaling, o.stored));
  }
  peft::set_ranks(plan);
  return plan;
}

// s of a term by that of the first, both of which may be 0.
double ratio_of_scales(const peft::term& t, const peft::term& first) {
  const double s = first.layer->scaling;
  refuse_if(s == 0 && t.layer->scaling != 0,
            "module " + first.layer->module + ": its scale is 0 after preheating, and not before");
  return s == 0 ? 1 : t.layer->scaling / s;
}

// Directions of one layer to the writer; the retained energy.
template <class T>
layer_result start_layer(const hrp_options& o, const std::vector<peft::term>& terms, bool left,
                         std::size_t i, const peft::adapter_plan& plan, peft::writer& writer) {
  const peft::adapter_layer& l = plan.layers[i].layer;
  const preheat::generator gen = preheat::generator(o.seed).fork(preheat::purpose::factors, i);
  const stored_factors<T> f = concatenated<T>(terms);
  const low_rank_start<T> start = hrp_start(f, l.rank, left, o.row_norm, gen);
  const double energy = squared_norm(f);
  writer.write<T>(i, start.f.At, start.f.Bt, zeros<T>(l.bias.empty() ? 0 : l.out, 1));
  return {.module = l.module,
          .out = l.out,
          .in = l.in,
          .rank_before = terms.front().layer->rank,
          .rank = l.rank,
          .scaling = l.scaling,
          .norm = l.scaling * std::sqrt(energy),
          .energy = preheat::linalg::energy_share(start.sigma, energy)};
}

}  // namespace

void hrp(const hrp_options& o) {
  refuse_if(o.rank < 1, fmt::format("hrp: --rank is {}; a rank is 1 or more", o.rank));
  refuse_if(!(o.row_norm > 0),
            fmt::format("hrp: --row-norm is {:g}; a norm is more than 0", o.row_norm));
  check_outputs(o);
  reporter report("hrp", o);
  std::vector<peft::reader> adapters;
  adapters.emplace_back(o.adapter);
  report.read(adapters.back());
  if (adapters[0].dora()) {
    throw preheat::invalid_argument(
        o.adapter.string() +
        ": hrp of a DoRA adapter: its magnitudes have moved with the preheating, "
        "and a start needs those of the base; preheat with use_dora false");
  }
  if (o.initial.empty()) {
    require_plain(adapters[0]);
  } else {
    adapters.emplace_back(o.initial);
    report.read(adapters.back());
    peft::require_same_kind(adapters[0], adapters[1]);
    for (const peft::adapter_layer& l : adapters[0].layers()) {
      refuse_if(
          adapters[1].find(l.module) == nullptr,
          "hrp: module " + l.module + " is not in the initial adapter, " + o.initial.string());
    }
  }
  const chosen_side side = choose_side(o, adapters);
  report.line("side", side.left
                          ? "left: B = top left singular vectors, A = 0 (" + side.reason + ")"
                          : "right: A = top right singular vectors, B = 0 (" + side.reason + ")");

  const peft::adapter_plan plan = plan_start(o, adapters);
  if (!plan.copied.empty()) {
    report.line("kept",
                fmt::format("{} other tensors as preheating left them", plan.copied.size()));
  }
  std::vector<layer_result> results(plan.layers.size());
  if (o.dry_run) {
    require_all_sound(adapters);
  } else {
    // B·A, less the product of the start: both with weight 1, because s is common to all ranks.
    std::vector<double> weights(adapters.size(), 1.0);
    weights.back() = adapters.size() == 2 ? -1.0 : 1.0;
    auto terms = peft::terms_by_module(adapters, weights);
    for (auto& [module, list] : terms) {
      for (std::size_t i = 0; i < list.size(); ++i) {
        list[i].weights.on_A = weights[i] * ratio_of_scales(list[i], list.front());
      }
    }
    peft::writer writer(o.out, plan);
    with_scalar({&adapters.front()}, [&]<class T>(std::type_identity<T>) {
      for_each_layer(
          o.threads, plan.layers.size(), [&](std::size_t i) { return plan.layers[i].layer.module; },
          [&](std::size_t i) {
            results[i] = start_layer<T>(o, terms.at(plan.layers[i].layer.module), side.left, i,
                                        plan, writer);
          });
    });
    writer.commit();
  }
  report.wrote(plan);
  report.line("scale", "s is kept layer by layer: α = s·r, s·√r with rsLoRA");
  report.finish(o.dry_run ? std::vector<layer_result>() : results);
}

}  // namespace apps::adapter
