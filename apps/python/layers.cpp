#include "layers.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>
#include <utility>

#include <fmt/format.h>
#include <preheat/cpu/backend.hpp>
#include <preheat/init/lora_ga.hpp>
#include <preheat/init/pissa.hpp>
#include <preheat/linalg/balanced_factors.hpp>
#include <preheat/linalg/krylov_svd.hpp>

#include "apps/adapter/start_of.hpp"

namespace apps::python {
namespace {

namespace linalg = preheat::linalg;
using adapter::refuse_if;
using preheat::transpose;
using backend = preheat::cpu<float>;
using matrix = preheat::cpu_matrix<float>;
using triplets = preheat::svd_result<matrix>;

std::vector<layer_factors> of_every_layer(std::size_t count, const run_options& o,
                                          const auto& one_layer) {
  refuse_if(o.threads < 1, fmt::format("threads is {}; it is 1 or more", o.threads));
  std::vector<layer_factors> results(count);
  adapter::for_each_layer(
      o.threads, count, [](std::size_t i) { return fmt::format("layer {}", i); },
      [&](std::size_t i) {
        results[i] = one_layer(i, preheat::generator(o.seed).fork(preheat::purpose::factors, i));
      });
  return results;
}

void require_finite(backend& be, std::size_t i, const char* name, view<const float> M) {
  refuse_if(!std::isfinite(double(be.max_abs(M))),
            fmt::format("layer {}: {} has a NaN or infinite entry", i, name));
}

// The largest column of W·V − U·S and of Wᵀ·U − V·S, relative to σ₁.
double residual(backend& be, view<const float> W, const triplets& d) {
  const float first = be.max_abs(d.S);
  if (!(first > 0)) {
    return 0;
  }
  const auto largest = [&](transpose t, view<const float> from, view<const float> to) {
    matrix R = preheat::clone<backend>(be, to);
    be.scale_cols(d.S, R);
    be.gemm(1, t, W, transpose::no, from, -1, R);
    double most = 0;
    for (index_t j = 0; j < R.cols(); ++j) {
      const view<const float> column = view<const float>(R).col_range(j, 1);
      most = std::max(most, std::sqrt(double(be.dot(column, column))));
    }
    return most / double(first);
  };
  return std::max(largest(transpose::no, d.V, d.U), largest(transpose::yes, d.U, d.V));
}

// The first r triplets, exact to the tolerance.
triplets converged_svd(backend& be, view<const float> W, index_t r, const preheat::generator& gen) {
  constexpr double tolerance = 1e-5;
  const index_t block = std::max<index_t>(r, 16);
  for (index_t depth = 8; 4 * block * depth < std::min(W.rows(), W.cols()) * 2; depth *= 2) {
    triplets d = linalg::krylov_svd<backend>(be, W, r, {.block = block, .depth = depth}, gen);
    if (residual(be, W, d) <= tolerance) {
      return d;
    }
  }
  return linalg::truncated_svd<backend>(be, W, r);
}

preheat::factors<backend> factors_of(const std::string& kind, backend& be, std::size_t i,
                                     const weight_site& site,
                                     const preheat::target_layer<backend>& target) {
  using options = adapter::init_options;
  static const std::map<std::string, options::kind> of_commands = {
      {"milora", options::kind::milora},
      {"olora", options::kind::olora},
      {"orthogonal", options::kind::orthogonal}};
  const auto found = of_commands.find(kind);
  if (found != of_commands.end()) {
    options o;
    o.type = found->second;
    return adapter::start_of(be, o, target);
  }
  if (kind == "pissa") {
    return linalg::balanced_factors(be, converged_svd(be, target.W, target.rank, target.gen),
                                    target.scaling);
  }
  if (kind == "pissa_randomized") {
    return preheat::init::pissa_randomized{}(be, target);
  }
  refuse_if(site.gradient_t.empty(), "init_lora: lora_ga needs a gradient of every layer");
  require_finite(be, i, "the gradient", site.gradient_t);
  const matrix gradient = linalg::transposed<backend>(be, site.gradient_t);
  return preheat::init::lora_ga<>{}(be, target,
                                    converged_svd(be, gradient, 2 * target.rank, target.gen));
}

}  // namespace

std::vector<layer_factors> hrp(const std::vector<factors_in_memory>& layers,
                               const std::vector<index_t>& ranks, bool left, double row_norm,
                               const run_options& o) {
  return of_every_layer(layers.size(), o, [&](std::size_t i, const preheat::generator& gen) {
    auto start = adapter::hrp_start(layers[i], ranks.at(i), left, row_norm, gen);
    const double energy = linalg::energy_share(start.sigma, adapter::squared_norm(layers[i]));
    return layer_factors{std::move(start.f), std::move(start.sigma), energy};
  });
}

std::vector<layer_factors> reduce(const std::vector<factors_in_memory>& layers,
                                  const std::vector<double>& scalings, const reduce_criterion& c,
                                  const run_options& o) {
  refuse_if(c.rank < 0, fmt::format("reduce: rank is {}; a rank is 1 or more", c.rank));
  refuse_if(c.energy < 0 || c.energy > 1,
            fmt::format("reduce: energy is {:g}; a part is between 0 and 1", c.energy));
  refuse_if(c.ratio != 0 && c.ratio < 1,
            fmt::format("reduce: ratio is {:g}; σ₁ is 1 time σ_i or more", c.ratio));
  refuse_if(c.energy != 0 && c.ratio != 0, "reduce: both energy and ratio; give one");
  refuse_if(c.rank == 0 && c.energy == 0 && c.ratio == 0,
            "reduce: no rank; rank, energy or ratio is needed");
  return of_every_layer(layers.size(), o, [&](std::size_t i, const preheat::generator& gen) {
    const factors_in_memory& f = layers[i];
    backend be;
    require_finite(be, i, "A", f.At);
    require_finite(be, i, "B", f.Bt);
    const index_t most = std::min({f.At.cols(), f.At.rows(), f.Bt.cols()});
    index_t rank = c.rank > 0 ? std::min(c.rank, most) : most;
    if (c.energy > 0 || c.ratio > 0) {
      rank = linalg::choose_rank(adapter::spectrum(f),
                                 {.energy = c.energy, .ratio = c.ratio, .most = rank});
    }
    auto d = adapter::triplets(f, rank, gen);
    const double energy = linalg::energy_share(d.sigma(), adapter::squared_norm(f));
    adapter::multiply<float>(scalings.at(i), d.S);
    std::vector<double> sigma = d.sigma();
    return layer_factors{adapter::with_values_on_B(std::move(d)), std::move(sigma), energy};
  });
}

std::vector<layer_factors> start(const std::string& kind, const std::vector<weight_site>& sites,
                                 const run_options& o) {
  const std::vector<std::string> kinds = {"pissa", "pissa_randomized", "milora",
                                          "olora", "orthogonal",       "lora_ga"};
  refuse_if(std::ranges::find(kinds, kind) == kinds.end(),
            "init_lora: \"" + kind + "\" is none of " + fmt::format("{}", fmt::join(kinds, ", ")));
  return of_every_layer(sites.size(), o, [&](std::size_t i, const preheat::generator& gen) {
    const weight_site& site = sites[i];
    backend be;
    require_finite(be, i, "the weight", site.Wt);
    const matrix W = linalg::transposed<backend>(be, view<const float>(site.Wt));
    const preheat::target_layer<backend> target{
        .W = W, .rank = site.rank, .scaling = float(site.scaling), .layer = index_t(i), .gen = gen};
    const preheat::factors<backend> f = factors_of(kind, be, i, site, target);
    if (kind != "orthogonal") {
      be.gemm(float(-site.scaling), transpose::yes, f.A, transpose::yes, f.B, 1, site.Wt);
    }
    return layer_factors{
        {linalg::transposed<backend>(be, f.A), linalg::transposed<backend>(be, f.B)}, {}};
  });
}

}  // namespace apps::python
