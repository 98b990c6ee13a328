// The benches: ./run bench [--benchmark_filter=REGEX …]. The context names the backends in use.
#include <string>
#include <vector>

#include "bench.hpp"

int main(int argc, char** argv) {
  using preheat::cpu;
  preheat::set_blas_threads(1);  // CPU time is that of this thread
  benchmark::AddCustomContext("system", cpu<float>().describe());
  benchmark::AddCustomContext("eigen", cpu<float, preheat::eigen_kernels>().describe());
  benchmark::AddCustomContext("threads", "1");

  bench::register_products();
  bench::register_adapted_step();
  bench::register_factorizations();
  bench::register_inits();
  bench::register_optimizers();
  bench::register_elementwise();

  // The default filter comes first, so that a user's own replaces it.
  std::string small_only = "--benchmark_filter=-large";
  std::vector<char*> arguments(argv, argv + argc);
  arguments.insert(arguments.begin() + 1, small_only.data());
  int count = int(arguments.size());
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) {
    return 1;
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
