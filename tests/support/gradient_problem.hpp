// Where gradient inits are put to their laws: a layer whose gradient is a given matrix, and the
// context in which an init gathers its calibration, without a run around it.
#pragma once
#include <preheat/nn/least_squares.hpp>
#include <preheat/train/fit.hpp>

#include "backends.hpp"
#include "spectrum.hpp"

namespace conformance {

// One layer with ∂loss/∂W = G: half the squared distance of W to W − G.
template <preheat::backend Be>
preheat::nn::least_squares<Be> with_gradient(Be& be, const table& G, std::uint64_t seed = 500) {
  const table W = random_table(G.rows, G.cols, seed);
  return {be, matrix(be, W), matrix(be, W - G)};
}

// All layers of a network at one rank, s = 2, main rate 0.01.
template <preheat::network Net, class Data>
preheat::calibration_context<Net, Data> scene_of(Net& net, Data& data,
                                                 const preheat::fit_options& options, index_t rank,
                                                 std::uint64_t seed = 1) {
  const std::size_t count = net.layers().size();
  std::vector<index_t> layers;
  for (std::size_t l = 0; l < count; ++l) {
    layers.push_back(index_t(l));
  }
  return {net,     data,
          options, {layers, std::vector<index_t>(count, rank), std::vector<double>(count, 2)},
          0.01,    preheat::generator(seed)};
}

template <preheat::backend Be>
preheat::target_layer<Be> gradient_site(const preheat::mat<Be>& W, index_t rank, double s = 2,
                                        std::uint64_t seed = 1) {
  return {.W = W, .rank = rank, .scaling = typename Be::scalar(s), .gen = preheat::generator(seed)};
}

// What an init starts the only layer of a network from.
template <class Init, preheat::network Net>
auto started(const Init& init, Net& net, index_t rank, std::uint64_t seed = 1) {
  using Be = typename Net::backend_type;
  auto data = net.batches();
  const preheat::fit_options options;
  auto context = scene_of(net, data, options, rank, seed);
  const auto calibration = init.calibrate(context);
  return init(net.backend(), gradient_site<Be>(net.layers()[0].W, rank, 2, seed), calibration[0]);
}

}  // namespace conformance
