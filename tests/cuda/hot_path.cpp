// The step of an adapted layer neither waits nor allocates.
#include <doctest/doctest.h>

#include <preheat/adapter/lora.hpp>
#include <preheat/cuda/adapted_linear.hpp>
#include <preheat/optim/adam.hpp>

#include "double/control.hpp"
#include "support/table.hpp"

using namespace conformance;
using namespace preheat;

namespace {

constexpr index_t out_size = 70;
constexpr index_t in_size = 40;
constexpr index_t rank = 3;
constexpr index_t tokens = 17;

}  // namespace

TEST_CASE("hot path: a step neither allocates nor waits nor copies") {
  using Be = cuda<float>;
  Be be;
  const auto random = [&](index_t m, index_t n) { return matrix(be, random_table(m, n, 7)); };
  cuda_adapted_linear<float, __nv_bfloat16> layer(
      be, random(out_size, in_size), random(rank, in_size), random(out_size, rank), 1, tokens);
  auto dY = random(out_size, tokens);
  auto m = be.zeros(rank, in_size);
  auto v = be.zeros(rank, in_size);
  be.context()->synchronize();
  const auto waits = [] {
    return cuda_double::calls("cudaMallocAsync") + cuda_double::calls("cudaStreamSynchronize") +
           cuda_double::calls("cudaMemcpy2DAsync") + cuda_double::calls("cudaMemcpyAsync");
  };
  const long before = waits();
  const long all_before = cuda_double::calls();
  for (int step = 0; step < 3; ++step) {
    layer.forward();
    layer.backward(dY);
    be.apply(optim::adam_kernel<float>{.update_moments = {0.9F, 0.99F},
                                       .epsilon = 1e-8F,
                                       .rate = 0.1F,
                                       .correction = 1,
                                       .keep = 1,
                                       .decay = 0},
             layer.A(), m, v, layer.gradient_A());
    layer.refresh();
  }
  CHECK(waits() == before);
  CHECK(cuda_double::calls() == all_before + 3 * (6 + 2 + 1 + 2));
}

TEST_CASE("hot path: the plain adapter's step, too, neither allocates nor waits once it has run") {
  using Be = cuda<double>;
  Be be;
  const auto random = [&](index_t m, index_t n) { return matrix(be, random_table(m, n, 8)); };
  auto W = random(out_size, in_size);
  auto X = random(in_size, tokens);
  auto Y = be.zeros(out_size, tokens);
  auto dX = be.zeros(in_size, tokens);
  const adapter::lora adapter;
  const frozen_linear<Be> base{W, {}, 1};
  adapter::lora::params<Be> p{random(rank, in_size), random(out_size, rank)};
  adapter::lora::params<Be> g{be.zeros(rank, in_size), be.zeros(out_size, rank)};
  adapter::lora::saved_activations<Be> saved_activations;
  const layer_input<Be> x{X, X};
  const auto step = [&] {
    adapter.forward(be, p, base, x, Y, saved_activations);
    adapter.backward(be, p, base, x, Y, g, input_gradient<Be>{dX, dX}, saved_activations);
  };
  step();
  const long before =
      cuda_double::calls("cudaMallocAsync") + cuda_double::calls("cudaStreamSynchronize");
  step();
  CHECK(cuda_double::calls("cudaMallocAsync") + cuda_double::calls("cudaStreamSynchronize") ==
        before);
}
