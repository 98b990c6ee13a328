// AdamW on PRoLoRA's chunks against plain loops: whole factors by the definition, their gradients
// in closed form, summed over the replicas.
#include <preheat/methods.hpp>
#include <preheat/train/fit.hpp>

#include "prolora_tables.hpp"
#include "support/backends.hpp"
#include "support/regressions.hpp"

using namespace conformance;
using namespace preheat;

TEST_CASE("prolora: AdamW on the chunks equals plain loops") {
  using Be = cpu_double;
  constexpr double rate = 0.02;
  constexpr double decay = 0.1;
  for (const auto& [rank, share_a, share_b] : {std::array<index_t, 3>{3, 3, 2}, {5, 2, 3}}) {
    const std::vector<std::pair<index_t, index_t>> sizes{{7, 10}, {11, 6}, {5, 5}};
    const regression_data data(sizes);
    Be be;
    regressions<Be> net(be, data);
    regressions<Be>::batches batches;
    fit_options options{.rank = rank, .steps = 20};
    options.scaling = scaling::over_rank(4);
    const double s = 4 / double(rank);  // of the total rank
    auto run = start_run(prolora{.adapter = shared(share_a, share_b, 1),
                                 .optim = {.lr = rate, .weight_decay = decay}},
                         net, batches, options);
    std::vector<double> losses;
    std::vector<std::array<table, 4>> x;
    std::vector<std::array<reference_adam, 4>> adam(sizes.size());
    for (const auto& adapted_layer : run.adapters.layers()) {
      x.push_back(parts(be, adapted_layer.parameters));
    }
    for (index_t step = 0; step < 20; ++step) {
      double loss = 0;
      for (std::size_t l = 0; l < sizes.size(); ++l) {
        auto& [A0, Au, B0, Bu] = x[l];
        const prolora_shape shape{sizes[l].first, sizes[l].second, rank, 1, share_a, share_b};
        const table A = whole_a(shape, A0, Au);
        const table B = whole_b(shape, B0, Bu);
        const table W = data.layers[l].W + s * (B * A);
        const column_range batch = regression_data::batch(step);
        loss += square_norm(data.residual(l, W, batch)) / (2 * double(batch.count));
        const table G = data.gradient(l, W, batch);
        const table G_A = s * (transposed(B) * G);
        const table G_B = s * (G * transposed(A));
        const std::array<table, 4> g{chunk_gradient_a(shape, G_A), plain_rows(shape, G_A),
                                     chunk_gradient_b(shape, G_B), plain_columns(shape, G_B)};
        for (std::size_t i = 0; i < 4; ++i) {
          x[l][i] = (1 - rate * decay) * x[l][i] - rate * adam[l][i].direction(g[i]);
        }
      }
      run.step();
      const auto& now = run.adapters.layers();
      for (std::size_t l = 0; l < sizes.size(); ++l) {
        const auto got = parts(be, now[l].parameters);
        for (std::size_t i = 0; i < 4; ++i) {
          CHECK(gap(got[i], x[l][i]) < 1e-10);
        }
      }
      losses.push_back(loss);
    }
    REQUIRE(run.done());
    const auto report = run.finish();
    for (std::size_t i = 0; i < losses.size(); ++i) {
      CHECK(std::abs(report.losses[i] - losses[i]) < 1e-10 * losses[0]);
    }
  }
}
