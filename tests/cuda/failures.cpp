// Every call of a run can fail: then the run throws, or its numbers are right. Nothing leaks, and
// nothing hangs.
#include <doctest/doctest.h>

#include <preheat/cuda/backend.hpp>
#include <preheat/methods.hpp>
#include <preheat/nn/decoder.hpp>
#include <preheat/nn/least_squares.hpp>
#include <preheat/train/fit.hpp>

#include "double/control.hpp"
#include "support/small_decoder.hpp"
#include "support/toy_task.hpp"

using namespace conformance;
using namespace preheat;

namespace {

using Be = cuda<float>;

// One layer, three steps, of which HRP takes the first.
std::vector<table> hrp_run() {
  Be be;
  nn::least_squares<Be> net(be, matrix(be, random_table(6, 5, 1)),
                            matrix(be, random_table(6, 5, 2)));
  const hrp<> m{.init = {.rank = 3, .steps = 1, .lr = 0.1}, .optim = {.lr = 0.1}};
  const auto report = fit(m, net, net.batches(), {.rank = 2, .steps = 3, .seed = 3});
  CHECK(report.status == fit_status::completed);
  return parameters(be, report);
}
// Three layers, started by PiSSA, trained with dropout and clipping, then merged.
std::vector<table> pissa_run() {
  toy_task<Be> p;
  fit_options options{.rank = 2, .steps = 2, .seed = 4};
  options.dropout = 0.1;
  options.max_gradient_norm = 1;
  const auto report = fit(pissa{}, p.net, p.data, options);
  std::vector<table> all = parameters(p.be, report);
  all.push_back(p.adapted_output(report));
  return all;
}

// How a run ends when something was ordered to fail.
enum class ending { thrown, right, wrong };
template <class Run>
ending run_after(const Run& run, const std::vector<table>& want) {
  try {
    const std::vector<table> got = run();
    bool equal = got.size() == want.size();
    for (std::size_t i = 0; equal && i < got.size(); ++i) {
      equal = same(got[i], want[i]);
    }
    return equal ? ending::right : ending::wrong;
  } catch (const library_error&) {
    return ending::thrown;
  }
}

}  // namespace

TEST_CASE("failures: each call of a run of HRP in turn") {
  const cuda_double::settings machine{.when = cuda_double::default_schedule()};
  cuda_double::reset(machine);
  const std::vector<table> want = hrp_run();
  const long calls = cuda_double::calls();
  REQUIRE(calls > 100);
  MESSAGE(calls << " calls");
  for (long n = 1; n <= calls; ++n) {
    cuda_double::reset(machine);
    cuda_double::fail_call(n);
    CAPTURE(n);
    CHECK(run_after(hrp_run, want) == ending::thrown);
    CHECK(cuda_double::alive() == 0);
    CHECK(cuda_double::violations().empty());
  }
  cuda_double::reset(machine);
}

TEST_CASE("failures: 200 calls, drawn by lot, of a run of PiSSA with dropout and clipping") {
  const cuda_double::settings machine{.when = cuda_double::default_schedule()};
  cuda_double::reset(machine);
  const std::vector<table> want = pissa_run();
  const auto calls = std::uint64_t(cuda_double::calls());
  generator lot(1);
  for (int k = 0; k < 200; ++k) {
    const long n = 1 + long(lot() % calls);
    const bool at_once = k % 4 != 0;  // or what was asked for fails on the device, later
    cuda_double::reset(machine);
    at_once ? cuda_double::fail_call(n) : cuda_double::fail_work(1 + n / 2);
    CAPTURE(n);
    const ending e = run_after(pissa_run, want);
    CHECK(e != ending::wrong);
    CHECK((e == ending::thrown || !at_once));
    CHECK(cuda_double::alive() == 0);
    CHECK(cuda_double::violations().empty());
  }
  cuda_double::reset(machine);
}

namespace {

struct one_text {
  void load(const generator&, index_t, nn::causal_batch<Be>& to) const {
    to = {{1, 4, 9, 2, 7, 3}, {1, 4, 9, 2, 7, 3}, {6}};
  }
};

}  // namespace

TEST_CASE("failures: the calls that bring a decoder's loss to the host") {
  const cuda_double::settings machine{.when = cuda_double::default_schedule()};
  for (const char* name : {"cudaHostAlloc", "cudaEventCreateWithFlags", "cudaEventRecord",
                           "cudaEventSynchronize", "cudaMemcpy2DAsync"}) {
    CAPTURE(std::string(name));
    cuda_double::reset(machine);
    cuda_double::fail_call_of(name, 1, 1);
    const auto run = [] {
      Be be;
      auto net = small_decoder(be, small_llama());
      one_text data;
      (void)fit(lora{}, net, data, {.rank = 2, .steps = 2});
    };
    CHECK_THROWS_AS(run(), cuda_error);
    CHECK(cuda_double::alive() == 0);
    CHECK(cuda_double::violations().empty());
  }
  // What fails on the device after the last forward pass is an error of the run.
  cuda_double::reset(machine);
  if (machine.when == cuda_double::schedule::lazy) {
    Be be;
    auto net = small_decoder(be, small_llama());
    one_text data;
    auto last = start_run(lora{}, net, data, {.rank = 2, .steps = 1});
    last.step();
    cuda_double::fail_work(1);
    CHECK_THROWS_AS((void)last.finish(), cuda_error);
  }
  CHECK(cuda_double::alive() == 0);
  cuda_double::reset(machine);
}
