// HRP composes: preheated starts, and drawn ones, of chains and of gates. See compositions_more.cpp
// for the optimizers and the ranks, and for method.hpp's `with`.
#include "compositions.hpp"

using namespace conformance;

TEST_CASE("compositions: RAC-LoRA starts every block, or the first, from any init") {
  check_matrix<rac_lora>(
      [](auto& m) {
        m.optim.base.lr = 0.3;
        m.chain.period = 8;
      },
      8);
}

TEST_CASE("compositions: XGBLoRA starts every booster, or the first, from any init") {
  check_matrix<xgblora>(
      [](auto& m) {
        m.optim.lr = 0.02;
        m.chain.period = 5;
      },
      5);
}

TEST_CASE("compositions: SoRA's gates open on any directions") {
  check_matrix<sora>([](auto& m) {
    m.optim.base.lr = 0.02;
    m.optim.eta = 0.1;
  });
}

// Ranks that are added on the way are drawn, so a start that preheats needs a second init.
TEST_CASE("compositions: ALoRA's first ranks are preheated, the later ones drawn") {
  const auto settings = [](auto& m) {
    m.optim.lr = 0.02;
    m.rank = {.first = 6, .every = 6, .rounds = 2};
  };
  using by_lora_once = init::first_then<preheated_by_lora, init::kaiming>;
  const auto losses = check_inits<alora, drawn, preheated_once, by_lora_once>(settings);
  CHECK(losses[0] != losses[1]);
  CHECK(losses[1] != losses[2]);

  // With a rate of zero all ranks are alike: the first layer loses its three, the others get them.
  toy_task<cpu_double> task;
  const fit_options options{.rank = 3, .steps = composition_steps};
  const auto reallocate = [&](auto m) {
    m.optim.lr = 0;
    m.rank = {.first = 6, .rounds = 1};
    return fit(m, task.net, task.data, options, task.validation);
  };
  CHECK_THROWS_WITH_AS(reallocate(with<alora, preheated>{.init = composed_init<preheated>()}),
                       doctest::Contains("ranks added during training are drawn afresh"),
                       invalid_argument);
  const auto report =
      reallocate(with<alora, preheated_once>{.init = composed_init<preheated_once>()});
  CHECK_FALSE(report.layers[0].attached);
  CHECK(report.layers[1].rank == 5);
  CHECK(report.layers[2].rank == 4);
  // The new ranks are the second init's, orthonormal among themselves.
  const auto& A = report.layers[1].parameters.A;
  const table added = transposed(read<cpu_double>(task.be, view(A).row_range(3, 2)));
  CHECK(orthonormality_gap(added) < tolerance<cpu_double>(15));
}
