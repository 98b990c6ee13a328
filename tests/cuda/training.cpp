// Whole runs on the device against the CPU: the same draws, so the same curves to rounding.
#include <doctest/doctest.h>

#include <preheat/cuda/backend.hpp>
#include <preheat/methods.hpp>
#include <preheat/train/fit.hpp>

#include "support/backends.hpp"
#include "support/toy_task.hpp"

using namespace conformance;
using namespace preheat;

namespace {

using reference = eigen_double;

// The losses of a run on a backend.
template <class Be, class Method>
std::vector<double> losses(const Method& m, const fit_options& options) {
  toy_task<Be> p;
  const auto report = fit(m, p.net, p.data, options);
  CHECK(report.status == fit_status::completed);
  auto linear = attach(p.net, report);
  std::vector<double> all = report.losses;
  all.push_back(double(p.net.loss(p.all, linear)));
  return all;
}
template <class Be, class Method>
void check_same_curve(const Method& m, const fit_options& options) {
  const std::vector<double> got = losses<Be>(m, options);
  const std::vector<double> want = losses<reference>(m, options);
  REQUIRE(got.size() == want.size());
  for (std::size_t k = 0; k < got.size(); ++k) {
    CHECK(got[k] == doctest::Approx(want[k]).epsilon(1e4 * epsilon<Be>));
  }
}

// Floats of a device start all layers at once (linalg/factored_svds.hpp), which the first test below runs.
static_assert(starts_together<init::hrp<>, cuda_float, factors<cuda_float>> &&
              !starts_together<init::hrp<>, reference, factors<reference>>);

}  // namespace

TEST_CASE_TEMPLATE("cuda: HRP from preheating to the end, as on the CPU", Be, cuda_float,
                   cuda_double) {
  const hrp<> m{.init = {.rank = 4, .steps = 5, .lr = 0.1}, .optim = {.lr = 0.02}};
  check_same_curve<Be>(m, {.rank = 2, .steps = 40, .seed = 7});
}

TEST_CASE_TEMPLATE("cuda: PiSSA by randomized SVD, with dropout and clipping, as on the CPU", Be,
                   cuda_float, cuda_double) {
  fit_options options{.rank = 3, .steps = 20, .seed = 8};
  options.dropout = 0.1;
  options.max_gradient_norm = 0.5;
  check_same_curve<Be>(pissa{.optim = {.lr = 0.01}}, options);
}

TEST_CASE_TEMPLATE("cuda: LoRA learns", Be, cuda_float, cuda_double) {
  const std::vector<double> curve =
      losses<Be>(lora{.optim = {.lr = 0.02}}, {.rank = 4, .steps = 150, .seed = 9});
  CHECK(curve.back() < 0.3 * curve.front());
}
