// High-Rank Preheating (arXiv 2502.07739) between two runs of PEFT: B·A = U·S·Vᵀ of an adapter that was
// trained at a high rank for a few steps gives the start of the low-rank run,
//
//   right: A = c·Vᵀ[:r], B = 0        left: B = c·U[:, :r], A = 0
//
// whose product is zero: the base is untouched and so is the output. The scale s of the layer is kept:
// α' = s·r, or s·√r with rsLoRA. Automatic side: the side of the factor that was trained, if --initial
// shows that one was frozen; else right, as for LoRA's usual start with A random and B = 0.
#include <type_traits>

#include "commands.hpp"
#include "sources.hpp"

namespace adapters {
namespace {

// Whether no layer's factor is different in the two adapters.
bool unchanged(const io::peft_adapter& a, const io::peft_adapter& b,
               std::string io::peft_layer::*factor) {
  for (const io::peft_layer& l : a.layers()) {
    const io::peft_layer& before = *b.find(l.module);
    const io::tensor_info& now = a.files().info(l.*factor);
    const io::tensor_info& then = b.files().info(before.*factor);
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

chosen_side choose_side(const hrp_options& o, const std::vector<io::peft_adapter>& adapters) {
  if (o.side != preheat::side::automatic) {
    return {o.side == preheat::side::left, "as asked"};
  }
  if (adapters.size() < 2) {
    return {false, "LoRA's usual start, A random and B = 0"};
  }
  const bool same_A = unchanged(adapters[0], adapters[1], &io::peft_layer::A);
  const bool same_B = unchanged(adapters[0], adapters[1], &io::peft_layer::B);
  preheat::require(!(same_A && same_B),
                   "hrp: preheating has changed A or B; the two adapters are equal");
  if (same_A) {
    return {true, "preheating trained B alone"};
  }
  return {false, same_B ? "preheating trained A alone" : "preheating trained both factors"};
}

adapter_plan plan_start(const hrp_options& o, const std::vector<io::peft_adapter>& adapters) {
  const io::peft_adapter& warm = adapters.front();
  adapter_plan plan = plan_like(warm);
  plan.copied = passed_through(std::span(adapters).first(1));
  for (const io::peft_layer& l : warm.layers()) {
    preheat::require(l.rank >= o.rank, l.module + ": preheating rank >= rank", l.rank, o.rank);
    const index_t rank = std::min({o.rank, l.out, l.in});
    plan.layers.push_back(planned_like(warm, l, rank, l.scaling, o.stored));
  }
  set_ranks(plan);
  return plan;
}

// Directions of one layer to the writer; the retained energy.
template <class T>
layer_result start_layer(const hrp_options& o, const std::vector<term>& terms, bool left,
                         std::size_t i, const adapter_plan& plan, adapter_writer& writer) {
  const io::peft_layer& l = plan.layers[i].layer;
  const preheat::generator gen = preheat::generator(o.seed).fork(preheat::purpose::factors, i);
  const stored_factors<T> f = stacked<T>(terms);
  singular_triplets<T> d = triplets(f, l.rank, gen);
  const double energy = squared_norm(f);
  multiply<T>(o.row_norm, left ? d.U : d.V);
  const matrix<T> zero_bias = zeros<T>(l.bias.empty() ? 0 : l.out, 1);
  if (left) {
    writer.write<T>(i, zeros<T>(l.in, l.rank), transposed<T>(d.U), zero_bias);
  } else {
    writer.write<T>(i, d.V, zeros<T>(l.rank, l.out), zero_bias);
  }
  return {.module = l.module,
          .out = l.out,
          .in = l.in,
          .rank_before = terms.front().layer->rank,
          .rank = l.rank,
          .scaling = l.scaling,
          .norm = l.scaling * std::sqrt(energy),
          .energy = retained_energy(d.sigma(), energy)};
}

}  // namespace

void hrp(const hrp_options& o) {
  preheat::require(o.rank >= 1, "hrp: rank >= 1", o.rank, 1);
  preheat::require(o.row_norm > 0, "hrp: row norm > 0", o.row_norm, 0.0);
  require_absent(o.out);
  reporter report("hrp", o);
  std::vector<io::peft_adapter> adapters;
  adapters.emplace_back(o.adapter);
  report.read(adapters.back());
  if (adapters[0].is_folder() && adapters[0].config().dora()) {
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
    require_same_kind(adapters[0], adapters[1]);
    for (const io::peft_layer& l : adapters[0].layers()) {
      preheat::require(adapters[1].find(l.module) != nullptr,
                       "hrp: module " + l.module + " is in the initial adapter too");
    }
  }
  const chosen_side side = choose_side(o, adapters);
  report.line("side", side.left
                          ? "left: B = top left singular vectors, A = 0 (" + side.reason + ")"
                          : "right: A = top right singular vectors, B = 0 (" + side.reason + ")");

  const adapter_plan plan = plan_start(o, adapters);
  if (!plan.copied.empty()) {
    report.line("kept",
                fmt::format("{} other tensors as preheating left them", plan.copied.size()));
  }
  std::vector<layer_result> results(plan.layers.size());
  if (!o.dry_run) {
    // B·A, less the product of the start: both with weight 1, because s is common to all ranks.
    std::vector<double> weights(adapters.size(), 1.0);
    weights.back() = adapters.size() == 2 ? -1.0 : 1.0;
    auto terms = terms_by_module(adapters, weights);
    for (auto& [module, list] : terms) {
      const double s = list.front().layer->scaling;
      for (term& t : list) {
        t.on_A /= s;
      }
    }
    adapter_writer writer(o.out, plan);
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

}  // namespace adapters
