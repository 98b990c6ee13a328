// What the benches share. One body a primitive, a template over the backend; it is registered for
// every backend and scalar under the name primitive/kernels/scalar/shape, so that
//
//   ./run bench --benchmark_filter=adapted_step/system/float
//
// compares exactly what it says. Names with "large" in them take seconds and run only when a filter
// asks for them. Rates are per second of CPU time, one thread, but where the name has threads:
// FLOP/s counts multiplications and additions, bytes/s what must be read and written at least.
#pragma once
#include <benchmark/benchmark.h>

#include <preheat/preheat.hpp>
#include <string>
#include <utility>

namespace bench {

using namespace preheat;

void register_products();
void register_adapted_step();
void register_factorizations();
void register_inits();
void register_optimizers();
void register_elementwise();

// A matrix of independent N(0, 1) entries.
template <class Be>
mat<Be> random(Be& be, index_t m, index_t n, std::uint64_t number) {
  return linalg::normal(be, m, n, 1, generator(number));
}

inline void count_flops(benchmark::State& state, double each_time) {
  state.counters["FLOP/s"] =
      benchmark::Counter(each_time, benchmark::Counter::kIsIterationInvariantRate);
}
inline void count_bytes(benchmark::State& state, double each_time) {
  state.counters["bytes/s"] =
      benchmark::Counter(each_time, benchmark::Counter::kIsIterationInvariantRate);
}

enum class timing { processor, wall };

// Registers make_body.operator()<Be>() for every backend: a callable void(benchmark::State&).
template <class Be, class MakeBody>
void add_one(const std::string& primitive, const std::string& kernels, const std::string& shape,
             MakeBody make_body, timing by) {
  const std::string scalar_name = sizeof(scalar_of<Be>) == 4 ? "float" : "double";
  const std::string name = primitive + "/" + kernels + "/" + scalar_name + "/" + shape;
  auto* const added =
      benchmark::RegisterBenchmark(name.c_str(), make_body.template operator()<Be>());
  added->Unit(benchmark::kMillisecond);
  if (by == timing::wall) {
    added->UseRealTime();
  }
}
template <class MakeBody>
void add(const std::string& primitive, const std::string& shape, MakeBody make_body,
         timing by = timing::processor) {
  if constexpr (!std::is_same_v<default_cpu_kernels, eigen_kernels>) {
    add_one<cpu<float>>(primitive, "system", shape, make_body, by);
    add_one<cpu<double>>(primitive, "system", shape, make_body, by);
  }
  add_one<cpu<float, eigen_kernels>>(primitive, "eigen", shape, make_body, by);
  add_one<cpu<double, eigen_kernels>>(primitive, "eigen", shape, make_body, by);
}

}  // namespace bench
