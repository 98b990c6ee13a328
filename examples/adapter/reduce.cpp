// The best low-rank adapter for Σ_i w_i·s_i·B_i·A_i (Eckart and Young), never formed as an out×in matrix:
//
//   svd     B = U·S, A = Vᵀ of the first r singular triplets, s = 1 (α = r, no rsLoRA), as PEFT writes it
//   linear  A = Σ sign(w s)·√|w s|·A_i, B = Σ √|w s|·B_i: PEFT's; the product is not the sum
//   cat     A = [w_1 s_1 A_1; …], B = [B_1, …]: the sum exactly, at the sum of the ranks
//
// The rank is given, or found layer by layer from the spectrum; those runs read the adapter twice, so
// that nothing but a layer is ever held.
#include <type_traits>

#include "commands.hpp"
#include "sources.hpp"

namespace adapters {
namespace {

using kind = reduce_options::kind;

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

// The weight·s of each term where the kind wants it.
void place_weights(kind type, std::vector<term>& terms) {
  if (type != kind::linear) {
    return;  // all of it on A
  }
  for (term& t : terms) {
    const double root = double(std::sqrt(float(std::abs(t.on_A))));  // in float, as PEFT
    t.on_A = t.on_A < 0 ? -root : root;
    t.on_B = root;
  }
}

index_t rank_sum(const std::vector<term>& terms) {
  index_t sum = 0;
  for (const term& t : terms) {
    sum += t.layer->rank;
  }
  return sum;
}

// The most a layer's result can have.
index_t largest_rank(const reduce_options& o, const std::vector<term>& terms) {
  const io::peft_layer& l = *terms.front().layer;
  if (o.type == kind::cat) {
    return rank_sum(terms);
  }
  if (o.type == kind::linear) {
    for (const term& t : terms) {
      preheat::require(t.layer->rank == l.rank,
                       l.module + ": linear needs one rank in all adapters", t.layer->rank, l.rank);
    }
    return l.rank;
  }
  const index_t most = std::min({rank_sum(terms), l.out, l.in});
  return o.rank > 0 ? std::min(o.rank, most) : most;
}

template <class T>
layer_result reduce_layer(const reduce_options& o, const std::vector<term>& terms, std::size_t i,
                          const adapter_plan& plan, adapter_writer& writer) {
  const io::peft_layer& l = plan.layers[i].layer;
  layer_result result{.module = l.module,
                      .out = l.out,
                      .in = l.in,
                      .rank_before = rank_sum(terms),
                      .rank = l.rank,
                      .scaling = l.scaling};
  matrix<T> bias = zeros<T>(l.bias.empty() ? 0 : l.out, 1);
  for (const term& t : terms) {
    if (!t.layer->bias.empty()) {
      const matrix<T> b = read_finite<T>(t.adapter->files(), t.layer->bias, 1, l.out);
      add<T>(t.on_A * t.on_B, b, bias);
    }
  }
  if (o.type != kind::svd) {
    const stored_factors<T> f = o.type == kind::cat ? stacked<T>(terms) : summed<T>(terms);
    result.norm = std::sqrt(squared_norm(f));
    if (o.type == kind::cat) {
      result.energy = 1;
    }
    writer.write<T>(i, f.At, f.Bt, bias);
    return result;
  }
  const stored_factors<T> f = stacked<T>(terms);
  const preheat::generator gen = preheat::generator(o.seed).fork(preheat::purpose::factors, i);
  const singular_triplets<T> d = triplets(f, l.rank, gen);
  const double energy = squared_norm(f);
  result.norm = std::sqrt(energy);
  result.energy = retained_energy(d.sigma(), energy);
  matrix<T> Bt = transposed<T>(d.U);
  scale_rows<T>(d.S, Bt);
  writer.write<T>(i, d.V, Bt, bias);
  return result;
}

}  // namespace

void reduce(const reduce_options& o) {
  check(o);
  require_absent(o.out);
  reporter report("reduce", o);
  std::vector<io::peft_adapter> adapters;
  for (const std::filesystem::path& path : o.adapters) {
    adapters.emplace_back(path);
    report.read(adapters.back());
    require_plain(adapters.back());
    require_same_kind(adapters.front(), adapters.back());
    if (o.adapters.size() > 1 && adapters.back().is_folder() && adapters.back().config().dora()) {
      throw preheat::invalid_argument(path.string() +
                                      ": DoRA adapters cannot be added up; merge them");
    }
  }
  const std::vector<double> weights =
      o.weights.empty() ? std::vector<double>(adapters.size(), 1.0) : o.weights;

  std::vector<std::vector<term>> terms;
  std::vector<index_t> ranks;
  for (auto& [module, list] : terms_by_module(adapters, weights)) {
    place_weights(o.type, list);
    ranks.push_back(largest_rank(o, list));
    terms.push_back(std::move(list));
  }
  const auto name = [&](std::size_t i) { return terms[i].front().layer->module; };
  std::vector<const io::peft_adapter*> all;
  for (const io::peft_adapter& a : adapters) {
    all.push_back(&a);
  }
  if ((o.energy > 0 || o.ratio > 0) && !o.dry_run) {
    with_scalar(all, [&]<class T>(std::type_identity<T>) {
      for_each_layer(o.threads, terms.size(), name, [&](std::size_t i) {
        ranks[i] = choose_rank(spectrum(stacked<T>(terms[i])), o.energy, o.ratio, ranks[i]);
      });
    });
  }

  adapter_plan plan = plan_like(adapters.front());
  plan.copied = passed_through(adapters);
  std::vector<std::string> modules;
  for (std::size_t i = 0; i < terms.size(); ++i) {
    io::peft_layer layer = *terms[i].front().layer;
    for (const term& t : terms[i]) {
      if (layer.bias.empty()) {
        layer.bias = t.layer->bias;
      }
    }
    plan.layers.push_back(planned_like(*terms[i].front().adapter, layer, ranks[i], 1, o.stored));
    modules.push_back(layer.module);
  }
  if (plan.config) {
    plan.config->set("use_rslora", false);  // s = 1 is α/r; with √r it would be √r too much
    if (adapters.size() > 1) {
      plan.config->set("target_modules", modules);
    }
  }
  set_ranks(plan);

  std::vector<layer_result> results(plan.layers.size());
  if (!o.dry_run) {
    adapter_writer writer(o.out, plan);
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

}  // namespace adapters
