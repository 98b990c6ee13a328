// Data-parallel training on CUDA's double by NCCL's, which sums over the processes of mpirun: what one process gives, with the
// same bits in all. (tests/comm has the laws of what crosses, on a CPU; ../nccl.cpp those of comm::nccl's calls.)
#include <doctest/doctest.h>

#include <optional>
#include <preheat/cuda/backend.hpp>
#include <preheat/cuda/nccl.hpp>
#include <preheat/methods.hpp>
#include <vector>

#include "comm/as_one_process.hpp"
#include "comm/world.hpp"
#include "cuda/double/control.hpp"
#include "cuda/shared_context.hpp"

using namespace preheat;
using comm_test::numbers;
using comm_test::world;
using Be = conformance::cuda_in_shared_context<float>;

namespace {

// The sums of this process's device; made by the first test, collectively.
comm::nccl& devices() {
  static std::optional<comm::nccl> all;
  if (!all) {
    comm::use_own_device(world());
    const Be first;  // makes the context
    all.emplace(conformance::shared_context(), world());
  }
  return *all;
}

}  // namespace

TEST_CASE("as one process, on devices: LoRA with accumulation, clipping and dropout") {
  fit_options options{.rank = 2, .steps = 20};
  options.accumulate = 2;
  options.max_gradient_norm = 0.3;
  options.dropout = 0.2;
  const long sums = cuda_double::calls("ncclAllReduce");
  comm_test::check_same<Be>(devices(), lora{.optim = {.lr = 1e-2}}, options);
  CHECK(cuda_double::calls("ncclAllReduce") - sums == 20 * 3);  // one per step and layer
}

TEST_CASE("as one process, on devices: HRP, its preheating too") {
  comm_test::check_same<Be>(devices(),
                            hrp<>{.init = {.multiple = 3, .steps = 4}, .optim = {.lr = 1e-2}},
                            {.rank = 2, .steps = 20, .clamp_rank = true});
}

TEST_CASE("on devices: all go on from the first's state with the same bits") {
  const lora m{.optim = {.lr = 1e-2}};
  fit_options options{.rank = 2, .steps = 12, .processes = devices()};
  comm_test::problem<Be> whole;
  const std::vector<double> uninterrupted =
      numbers(whole, fit(m, whole.net, whole.batches, options));
  comm_test::problem<Be> first;
  auto run = start_run(m, first.net, first.batches, options);
  while (run.steps_done() < 5) {
    run.step();
  }
  const training_state state = run.state();
  options.resume = &state;
  comm_test::problem<Be> second;
  CHECK(numbers(second, fit(m, second.net, second.batches, options)) == uninterrupted);
}

TEST_CASE("on devices: nothing was misused") {
  CHECK(cuda_double::violations().empty());
}
