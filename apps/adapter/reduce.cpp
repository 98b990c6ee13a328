// Weighted sums of adapters (convert/weighted_sum.hpp): the best one of a low rank, PEFT's linear, or cat.
// The result has s = 1 (α = r, no rsLoRA), as PEFT writes it.
//
// The rank is given, or chosen layer by layer from the spectrum; such a run reads the adapter twice, so
// that no more than one layer is in memory.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <preheat/convert/weighted_sum.hpp>

#include "block_weights.hpp"
#include "commands.hpp"
#include "intruders.hpp"
#include "sources.hpp"
#include "sum_plan.hpp"

namespace apps::adapter {
namespace {

using sum_kind = reduce_options::kind;

// The weight·s of each term, which is on A so far, where the kind of sum has it. Types of two bytes get it
// on both factors, so that neither becomes small.
void place_weights(sum_kind type, bool balanced, std::vector<peft::term>& terms) {
  for (peft::term& t : terms) {
    const bool on_both = balanced || (type != sum_kind::svd && type != sum_kind::cat);
    t.weights = preheat::weights_of_term(
        on_both ? preheat::combination::linear : preheat::combination::svd, t.weights.on_A);
  }
}

bool two_bytes(safetensors::dtype type) {
  return safetensors::size_of(type) == 2;
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
  if (o.type == sum_kind::cat) {
    return rank_sum(terms);
  }
  if (o.type != sum_kind::svd) {
    for (const peft::term& t : terms) {
      refuse_if(t.layer->rank != l.rank,
                fmt::format("module {}: this type needs one rank in all adapters, it has {} and {}",
                            l.module, l.rank, t.layer->rank));
    }
    return l.rank;
  }
  const index_t most = std::min({rank_sum(terms), l.out, l.in});  // also without intruders
  return o.rank > 0 ? std::min(o.rank, most) : most;
}

// convert/pruned_sum.hpp, of A and of B.
template <class T>
stored_factors<T> pruned(const reduce_options& o, const std::vector<peft::term>& terms,
                         const preheat::generator& gen) {
  preheat::pruned_sum_options options{.density = o.density, .sign = o.sign};
  options.kind = o.type == sum_kind::ties          ? preheat::pruning::ties
                 : o.type == sum_kind::dare_ties   ? preheat::pruning::dare_ties
                 : o.type == sum_kind::dare_linear ? preheat::pruning::dare_linear
                                                   : preheat::pruning::magnitude_prune;
  std::vector<std::vector<T>> all_A;
  std::vector<std::vector<T>> all_B;
  std::vector<double> on_A;
  std::vector<double> on_B;
  for (const peft::term& t : terms) {
    const stored_factors<T> f = read_term<T>({t.adapter, t.layer});
    all_A.emplace_back(f.At.data(), f.At.data() + f.At.rows() * f.At.cols());
    all_B.emplace_back(f.Bt.data(), f.Bt.data() + f.Bt.rows() * f.Bt.cols());
    on_A.push_back(double(float(t.weights.on_A)));
    on_B.push_back(double(float(t.weights.on_B)));
  }
  const peft::adapter_layer& l = *terms.front().layer;
  stored_factors<T> sum{matrix<T>(l.in, l.rank), matrix<T>(l.rank, l.out)};
  using preheat::purpose;
  std::ranges::copy(
      preheat::pruned_sum<T>(std::move(all_A), on_A, options, gen.fork(purpose::user, 0)),
      sum.At.data());
  std::ranges::copy(
      preheat::pruned_sum<T>(std::move(all_B), on_B, options, gen.fork(purpose::user, 1)),
      sum.Bt.data());
  return sum;
}

template <class T>
layer_result reduce_layer(const reduce_options& o, const std::vector<peft::term>& terms,
                          std::size_t i, const peft::adapter_plan& plan, peft::writer& writer,
                          const std::optional<intruder_finder>& finder,
                          std::atomic<index_t>& intruders) {
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
  if (o.type != sum_kind::svd) {
    const preheat::generator gen = preheat::generator(o.seed).fork(preheat::purpose::factors, i);
    const stored_factors<T> f = o.type == sum_kind::cat      ? concatenated<T>(terms)
                                : o.type == sum_kind::linear ? added<T>(terms)
                                                             : pruned<T>(o, terms, gen);
    result.norm = std::sqrt(squared_norm(f));
    if (o.type == sum_kind::cat) {
      result.energy = 1;
    }
    writer.write<T>(i, f.At, f.Bt, bias);
    return result;
  }
  stored_factors<T> f = concatenated<T>(terms);
  if (finder) {
    const layer_intruders found = finder->of(*terms.front().adapter, *terms.front().layer);
    intruders += index_t(found.intruders.size());
    f = with_scaled<T>(f, found, o.intruder_scale);
  }
  const preheat::generator gen = preheat::generator(o.seed).fork(preheat::purpose::factors, i);
  singular_triplets<T> d = triplets(f, l.rank, gen);
  const double energy = squared_norm(f);
  result.norm = std::sqrt(energy);
  result.energy = preheat::linalg::energy_share(d.sigma(), energy);
  const bool balanced = two_bytes(plan.layers[i].A_type) || two_bytes(plan.layers[i].B_type);
  const stored_factors<T> best =
      balanced ? with_values_on_both(std::move(d)) : with_values_on_B(std::move(d));
  writer.write<T>(i, best.At, best.Bt, bias);
  return result;
}

// Σ w·tensor of the tensors that are differences.
template <class T>
void write_sum(const peft::summed_tensor& sum, peft::writer& writer) {
  const index_t count = sum.parts.front().from->info(sum.name).count();
  matrix<T> total = zeros<T>(count, 1);
  for (const peft::summed_tensor::part& part : sum.parts) {
    matrix<T> values(count, 1);
    safetensors::read_rows<T>(sum.name, part.from->info(sum.name), 0, values);
    add<T>(part.weight, values, total);
  }
  writer.write_further<T>(sum.name, total);
}

}  // namespace

void reduce(const reduce_options& o) {
  check_sum(o);
  reporter report(o.command, o);
  std::vector<peft::reader> adapters;
  for (const std::filesystem::path& path : o.adapters) {
    adapters.emplace_back(path);
    report.read(adapters.back());
    require_plain(adapters.back());
    peft::require_same_kind(adapters.front(), adapters.back());
    refuse_if(o.adapters.size() > 1 && adapters.back().dora(),
              path.string() + ": DoRA adapters cannot be added up; merge them");
    note_other_base(report, adapters.front(), adapters.back());
    note_other_names(report, adapters.front(), adapters.back());
  }
  const std::vector<double> weights =
      o.weights.empty() ? std::vector<double>(adapters.size(), 1.0) : o.weights;

  std::vector<std::vector<peft::term>> terms;
  std::vector<index_t> ranks;
  const block_weights blocks(o.layers);
  const peft::passed_tensors passed = peft::passed_through(
      adapters, weights, [&](const std::string& module) { return blocks.of(module); });
  std::size_t left_out = 0;
  for (auto& [module, list] : peft::terms_by_module(adapters, weights)) {
    const double of_block = blocks.of(module);
    if (of_block == 0) {
      ++left_out;
      continue;
    }
    for (peft::term& t : list) {
      t.weights.on_A *= of_block;
    }
    const peft::term& first = list.front();
    const bool balanced =
        two_bytes(o.stored.value_or(first.adapter->files().info(first.layer->A).type)) &&
        o.type != sum_kind::svd;
    place_weights(o.type, balanced, list);
    ranks.push_back(largest_rank(o, list));
    terms.push_back(std::move(list));
  }
  refuse_if(terms.empty(), o.command + ": --layers leaves no module");
  if (left_out > 0) {
    report.line("left", fmt::format("{} modules are left out by --layers", left_out));
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
  for (std::size_t i = 0; i < terms.size(); ++i) {
    peft::adapter_layer layer = *terms[i].front().layer;
    for (const peft::term& t : terms[i]) {
      if (layer.bias.empty()) {
        layer.bias = t.layer->bias;
      }
    }
    plan.layers.push_back(
        peft::planned_like(*terms[i].front().adapter, layer, ranks[i], 1, o.stored));
  }
  plan_sum(o, adapters, plan, passed);
  peft::set_ranks(plan);

  std::optional<base_model> base;
  std::optional<intruder_finder> finder;
  if (o.remove_intruders) {
    finder.emplace(base.emplace(o.base), o.intruders, o.seed);
  }
  std::atomic<index_t> intruders = 0;
  std::vector<layer_result> results(plan.layers.size());
  if (!o.dry_run) {
    peft::writer writer(o.out, plan);
    with_scalar(all, [&]<class T>(std::type_identity<T>) {
      for_each_layer(o.threads, terms.size(), name, [&](std::size_t i) {
        results[i] = reduce_layer<T>(o, terms[i], i, plan, writer, finder, intruders);
      });
      for (const peft::summed_tensor& sum : passed.sums) {
        write_sum<T>(sum, writer);
      }
    });
    writer.commit();
    if (finder) {
      report.line("base", fmt::format("{} intruder dimensions, of which {:g} stays",
                                      intruders.load(), o.intruder_scale));
    }
  } else {
    require_all_sound(adapters);
    for (std::size_t i = 0; finder && i < terms.size(); ++i) {
      finder->of(adapters.front(), *terms[i].front().layer);
    }
    if (o.energy > 0 || o.ratio > 0) {
      report.line(
          "note",
          "the ranks come from the spectra, which a dry run does not compute: at most these");
    }
  }
  report.wrote(plan);
  report.finish(o.dry_run ? std::vector<layer_result>() : results);
}

}  // namespace apps::adapter
