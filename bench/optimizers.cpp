// One optimizer step over ten million parameters: a pass over memory.
#include "bench.hpp"

namespace bench {

namespace {

// passes: how often an entry of the parameters, gradient or state is read or written.
template <class Optim>
struct step_body {
  Optim optim;
  int passes;
  template <class Be>
  auto operator()() const {
    return [*this](benchmark::State& state) {
      Be be;
      const index_t rows = 3200;
      const index_t cols = 3125;
      adapter::full::params<Be> parameters{random(be, rows, cols, 1), {}};
      adapter::full::params<Be> gradient{random(be, rows, cols, 2), {}};
      auto moments = optim.start(be, parameters);
      for (auto _ : state) {
        optim.step(be, parameters, gradient, moments, {.learning_rate = optim.lr});
        benchmark::ClobberMemory();
      }
      count_bytes(state, double(passes) * double(rows * cols) * sizeof(scalar_of<Be>));
    };
  }
};

}  // namespace

void register_optimizers() {
  add("adamw", "10M", step_body<optim::adamw>{{}, 7});  // read p, m, v, g; write p, m, v
  add("sgd", "10M", step_body<optim::sgd>{{}, 3});      // read p, g; write p
  add("sgd_momentum", "10M", step_body<optim::sgd>{{.momentum = 0.9}, 5});
}

}  // namespace bench
