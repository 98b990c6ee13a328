// Weighted sums of adapters (convert/weighted_sum.hpp): the best one of a low rank, PEFT's linear, or cat.
// The result has s = 1 (α = r, no rsLoRA), as PEFT writes it.
//
// The rank is given, or chosen layer by layer from the spectrum; such a run reads the adapter twice, so
// that no more than one layer is in memory.
#include <algorithm>
#include <cmath>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <preheat/convert/weighted_sum.hpp>

#include "commands.hpp"
#include "sources.hpp"

namespace apps::adapter {
namespace {

using kind = preheat::combination;

void check(const reduce_options& o) {
  using preheat::require;
  require(o.rank >= 0, "reduce: rank >= 1", o.rank, 1);
  require(o.energy >= 0 && o.energy <= 1, "reduce: 0 < energy <= 1", o.energy, 1.0);
  require(o.ratio == 0 || o.ratio >= 1,
          "reduce: ratio of the first to the last singular value >= 1", o.ratio, 1.0);
  require(o.energy == 0 || o.ratio == 0, "reduce: --energy or --ratio, not both");
  const bool criterion = o.rank > 0 || o.energy > 0 || o.ratio > 0;
  require(criterion || o.type != kind::svd, "reduce: --rank, --energy or --ratio is given");
  require(
      !criterion || o.type == kind::svd,
      "reduce: linear and cat have a rank of their own; --rank, --energy and --ratio are for svd");
  require(o.weights.empty() || o.weights.size() == o.adapters.size(),
          "reduce: as many weights as adapters", o.weights.size(), o.adapters.size());
  for (const double w : o.weights) {
    require(std::isfinite(w), "reduce: weights are finite");
  }
}

// The weight·s of each term, which is on A so far, where the kind of sum has it.
void place_weights(kind type, std::vector<peft::term>& terms) {
  for (peft::term& t : terms) {
    t.weights = preheat::weights_of_term(type, t.weights.on_A);
  }
}

index_t rank_sum(const std::vector<peft::term>& terms) {
  index_t sum = 0;
  for (const peft::term& t : terms) {
    sum += t.layer->rank;
  }
  return sum;
}

// The most a layer's result can have.
index_t largest_rank(const reduce_options& o, const std::vector<peft::term>& terms) {
  const peft::adapter_layer& l = *terms.front().layer;
  if (o.type == kind::cat) {
    return rank_sum(terms);
  }
  if (o.type == kind::linear) {
    for (const peft::term& t : terms) {
      preheat::require(t.layer->rank == l.rank,
                       l.module + ": linear needs one rank in all adapters", t.layer->rank, l.rank);
    }
    return l.rank;
  }
  const index_t most = std::min({rank_sum(terms), l.out, l.in});
  return o.rank > 0 ? std::min(o.rank, most) : most;
}

template <class T>
layer_result reduce_layer(const reduce_options& o, const std::vector<peft::term>& terms,
                          std::size_t i, const peft::adapter_plan& plan, peft::writer& writer) {
  const peft::adapter_layer& l = plan.layers[i].layer;
  layer_result result{.module = l.module,
                      .out = l.out,
                      .in = l.in,
                      .rank_before = rank_sum(terms),
                      .rank = l.rank,
                      .scaling = l.scaling};
  matrix<T> bias = zeros<T>(l.bias.empty() ? 0 : l.out, 1);
  for (const peft::term& t : terms) {
    if (!t.layer->bias.empty()) {
      const matrix<T> b = read_finite<T>(t.adapter->files(), t.layer->bias, 1, l.out);
      add<T>(t.weights.on_A * t.weights.on_B, b, bias);
    }
  }
  if (o.type != kind::svd) {
    const stored_factors<T> f = o.type == kind::cat ? concatenated<T>(terms) : added<T>(terms);
    result.norm = std::sqrt(squared_norm(f));
    if (o.type == kind::cat) {
      result.energy = 1;
    }
    writer.write<T>(i, f.At, f.Bt, bias);
    return result;
  }
  const stored_factors<T> f = concatenated<T>(terms);
  const preheat::generator gen = preheat::generator(o.seed).fork(preheat::purpose::factors, i);
  singular_triplets<T> d = triplets(f, l.rank, gen);
  const double energy = squared_norm(f);
  result.norm = std::sqrt(energy);
  result.energy = preheat::linalg::energy_share(d.sigma(), energy);
  const stored_factors<T> best = with_values_on_B(std::move(d));
  writer.write<T>(i, best.At, best.Bt, bias);
  return result;
}

}  // namespace

void reduce(const reduce_options& o) {
  check(o);
  files::require_absent(o.out);
  reporter report("reduce", o);
  std::vector<peft::reader> adapters;
  for (const std::filesystem::path& path : o.adapters) {
    adapters.emplace_back(path);
    report.read(adapters.back());
    require_plain(adapters.back());
    peft::require_same_kind(adapters.front(), adapters.back());
    if (o.adapters.size() > 1 && adapters.back().is_folder() && adapters.back().config().dora()) {
      throw preheat::invalid_argument(path.string() +
                                      ": DoRA adapters cannot be added up; merge them");
    }
  }
  const std::vector<double> weights =
      o.weights.empty() ? std::vector<double>(adapters.size(), 1.0) : o.weights;

  std::vector<std::vector<peft::term>> terms;
  std::vector<index_t> ranks;
  for (auto& [module, list] : peft::terms_by_module(adapters, weights)) {
    place_weights(o.type, list);
    ranks.push_back(largest_rank(o, list));
    terms.push_back(std::move(list));
  }
  const auto name = [&](std::size_t i) { return terms[i].front().layer->module; };
  std::vector<const peft::reader*> all;
  for (const peft::reader& a : adapters) {
    all.push_back(&a);
  }
  if ((o.energy > 0 || o.ratio > 0) && !o.dry_run) {
    with_scalar(all, [&]<class T>(std::type_identity<T>) {
      for_each_layer(o.threads, terms.size(), name, [&](std::size_t i) {
        ranks[i] =
            preheat::linalg::choose_rank(spectrum(concatenated<T>(terms[i])),
                                         {.energy = o.energy, .ratio = o.ratio, .most = ranks[i]});
      });
    });
  }

  peft::adapter_plan plan = peft::plan_like(adapters.front());
  plan.copied = peft::passed_through(adapters);
  std::vector<std::string> modules;
  for (std::size_t i = 0; i < terms.size(); ++i) {
    peft::adapter_layer layer = *terms[i].front().layer;
    for (const peft::term& t : terms[i]) {
      if (layer.bias.empty()) {
        layer.bias = t.layer->bias;
      }
    }
    plan.layers.push_back(
        peft::planned_like(*terms[i].front().adapter, layer, ranks[i], 1, o.stored));
    modules.push_back(layer.module);
  }
  if (plan.config) {
    plan.config->set("use_rslora", false);  // s = 1 is α/r; with √r it would be √r too much
    if (adapters.size() > 1) {
      plan.config->set("target_modules", modules);
    }
  }
  peft::set_ranks(plan);

  std::vector<layer_result> results(plan.layers.size());
  if (!o.dry_run) {
    peft::writer writer(o.out, plan);
    with_scalar(all, [&]<class T>(std::type_identity<T>) {
      for_each_layer(o.threads, terms.size(), name, [&](std::size_t i) {
        results[i] = reduce_layer<T>(o, terms[i], i, plan, writer);
      });
    });
    writer.commit();
  } else if (o.energy > 0 || o.ratio > 0) {
    report.line("note",
                "the ranks come from the spectra, which a dry run does not compute: at most these");
  }
  report.wrote(plan);
  report.finish(o.dry_run ? std::vector<layer_result>() : results);
}

}  // namespace apps::adapter
