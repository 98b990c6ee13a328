// The parts of a start that do not depend on the init: which layers are adapted, with which rank
// and scale, and whether the init's result has the shapes of the layer.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "../core/concepts.hpp"
#include "options.hpp"

namespace preheat {

// The layers that are started, and the rank and the scale s of every layer of the network.
struct start_plan {
  std::vector<index_t> layers;
  std::vector<index_t> ranks;    // 0 where no adapter is started
  std::vector<double> scalings;  // 1 where no adapter is started
};

namespace detail {
// The numbers of the names that some target names. Errors: a target that names none.
template <class = void>  // (core/error.hpp says why)
[[gnu::cold]] std::vector<index_t> targeted(const std::vector<std::string>& names,
                                            const std::vector<std::string>& targets) {
  std::vector<index_t> chosen;
  for (std::size_t l = 0; l < names.size(); ++l) {
    if (matches_target(names[l], targets)) {
      chosen.push_back(index_t(l));
    }
  }
  for (const std::string& target : targets) {
    const auto named = [&](const std::string& name) { return matches_target(name, {target}); };
    if (std::none_of(names.begin(), names.end(), named)) {
      std::string all;
      for (const std::string& name : names) {
        all += (all.empty() ? "" : ", ") + name;
      }
      throw invalid_argument("no layer matches the target '" + target +
                             "'; the network's layers are: " + all);
    }
  }
  return chosen;
}
}  // namespace detail

// The numbers of the layers that some target names. Errors: a target that names no layer.
template <network Net>
[[gnu::cold]] std::vector<index_t> target_layers(Net& net,
                                                 const std::vector<std::string>& targets) {
  const auto layers = net.layers();
  std::vector<std::string> names(layers.size());
  for (std::size_t l = 0; l < layers.size(); ++l) {
    names[l] = layers[l].name;
  }
  return detail::targeted(names, targets);
}

// Throws unless a layer can have adapters of this rank.
template <class = void>
[[gnu::cold]] void require_start_rank(const std::string& layer, index_t rank, index_t most) {
  require(1 <= rank && rank <= most, "layer '" + layer + "': 1 <= rank <= min(out, in)", rank,
          most);
}

// The factor s of layer l at this rank. Errors: s <= 0, or not finite.
template <class = void>
[[gnu::cold]] double start_scaling(const fit_options& options, index_t l, index_t rank) {
  const double s = options.layer_scaling.empty() ? options.scaling(rank, options.rank)
                                                 : options.layer_scaling[l];
  require(s > 0 && std::isfinite(s), "0 < scaling < infinity", s, 0.0);
  return s;
}

// Saves the seed of a run. Throws when the state that is loaded was saved by a run of another seed.
template <class Archive>
void archive_seed(Archive& ar, std::uint64_t seed) {
  std::uint32_t low = std::uint32_t(seed);  // a saved number has 53 bits
  std::uint32_t high = std::uint32_t(seed >> 32);
  ar("seed/low", low);
  ar("seed/high", high);
  const std::uint64_t saved = std::uint64_t(high) << 32 | low;
  require(saved == seed, "layers that share factors are resumed with the saved seed", seed, saved);
}

// What the adapters of these target layers share (core/adapter.hpp), of the rank that `fit` was asked
// for. Errors: a rank policy that gives the layers different ranks, or a rank below 1.
template <class Be, class Method>
auto shared_of(const Method& m, Be& be, std::span<const base_layer<Be>> layers,
               const std::vector<index_t>& targets, index_t wanted, const generator& of_run) {
  const index_t count = index_t(targets.size());
  const index_t rank = m.rank.initial_rank(0, count, wanted);
  require(rank >= 1, "rank >= 1", rank, 1);
  layer_shape largest;
  for (index_t position = 0; position < count; ++position) {
    const index_t other = m.rank.initial_rank(position, count, wanted);
    require(other == rank,
            "layers that share factors have one rank: use rank::fixed or rank::constant", rank,
            other);
    const base_layer<Be>& layer = layers[targets[position]];
    largest.out = std::max(largest.out, layer.W.rows());
    largest.in = std::max(largest.in, layer.W.cols());
  }
  return make_shared_factors(m.adapter, be, largest, rank, of_run.fork(purpose::shared));
}

// The target layers of a method. Errors: also one that changes W (by a residual init, a new base or a
// chain), and a layer whose W is kept as stored.
template <class Method, network Net>
[[gnu::cold]] std::vector<index_t> layers_to_adapt(Net& net,
                                                   const std::vector<std::string>& targets) {
  const std::vector<index_t> chosen = target_layers(net, targets);
  if constexpr (!Method::leaves_base) {
    for (const index_t l : chosen) {
      const auto& layer = net.layers()[l];
      if (is_stored<typename Net::backend_type>(layer.W)) {
        throw invalid_argument("layer '" + layer.name +
                               "': this method changes W (by a residual init, a new base or a "
                               "chain), and W is kept as "
                               "stored: call net.layers()[" +
                               std::to_string(l) +
                               "].W.make_dense(be), or read the model with weight_storage::dense");
      }
    }
  }
  return chosen;
}

namespace detail {
// The name of a type, as the compiler writes it: "preheat::init::kaiming". `function` is what
// naming_function returns: "… [with T = preheat::init::kaiming; …]".
[[gnu::cold]] inline std::string type_name(std::string_view function) {
  const std::size_t begin = function.find("T = ") + 4;
  return std::string(function.substr(begin, function.find_first_of(";]", begin) - begin));
}
template <class T>
std::string_view naming_function() {
  return __PRETTY_FUNCTION__;
}
template <class T>
std::string type_name() {
  return type_name(naming_function<T>());
}

struct shape {
  index_t rows, cols;
  std::string text() const { return shown_number(rows).text() + "x" + shown_number(cols).text(); }
  bool operator==(const shape&) const = default;
};
template <class M>
shape shape_of(const M& matrix) {
  return {matrix.rows(), matrix.cols()};
}
// Throws if what `init` (a function's name, see above) returned for a layer has another shape.
template <class = void>
[[gnu::cold]] void require_shape(shape is, const char* name, shape wanted, std::string_view init,
                                 const std::string& layer) {
  if (!(is == wanted)) {
    throw invalid_argument(type_name(init) + " for layer '" + layer + "': " + name + " is " +
                           is.text() + " and should be " + wanted.text());
  }
}
// The same for the factors of a layer whose W has shape `base`.
template <class = void>
[[gnu::cold]] void require_factor_shapes(shape A, shape B, shape R, shape base, index_t rank,
                                         std::string_view init, const std::string& layer) {
  require_shape(A, "A (rank x in)", {rank, base.cols}, init, layer);
  require_shape(B, "B (out x rank)", {base.rows, rank}, init, layer);
  if (R.rows > 0) {
    require_shape(R, "R (rank x rank)", {rank, rank}, init, layer);
  }
}
}  // namespace detail

// Throws unless A is r×n, B is m×r and a core R is r×r, naming the init and the layer.
template <class Init, class Be>
void require_start_shapes(const base_layer<Be>& layer, index_t rank, const factors<Be>& f) {
  using detail::shape_of;
  detail::require_factor_shapes(shape_of(f.A), shape_of(f.B), shape_of(f.R), shape_of(layer.W),
                                rank, detail::naming_function<Init>(), layer.name);
}
template <class Init, class Be>
void require_start_shapes(const base_layer<Be>& layer, index_t rank,
                          const replacement<Be>& answer) {
  using detail::shape_of;
  detail::require_shape(shape_of(answer.W), "the new W (out x in)", shape_of(layer.W),
                        detail::naming_function<Init>(), layer.name);
  require_start_shapes<Init>(layer, rank, answer.f);
}

}  // namespace preheat
