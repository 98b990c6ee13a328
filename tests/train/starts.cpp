// Every shipped method before its first step: the output is the base's, W is bitwise untouched
// unless the init absorbs a part of it, and merging gives the output back.
#include <preheat/methods.hpp>
#include <preheat/nn/minibatches.hpp>
#include <preheat/train/fit.hpp>

#include "support/backends.hpp"
#include "support/toy_task.hpp"

using namespace conformance;
using namespace preheat;

namespace {

// One step of rate 0, and then the output of the base that was, against the adapted run's.
template <class Be, class Method>
void check_start(Method m) {
  toy_task<Be> untouched;
  const table before = untouched.base_output();
  toy_task<Be> p;
  learning_rate(m.optim) = 0;
  const auto report = fit(m, p.net, p.data, {.rank = 3, .steps = 20, .seed = 5});
  const table after = p.adapted_output(report);
  if constexpr (Method::leaves_base) {
    CHECK(same(before, after));
    CHECK_FALSE(report.base_changed);
    CHECK(p.weights_are_those_of(untouched));
  } else {
    CHECK(gap(before, after) < tolerance<Be>(13) * largest(before));
    CHECK(report.base_changed);
    CHECK_FALSE(p.weights_are_those_of(untouched));
  }
  merge(p.net, report);
  CHECK(gap(p.base_output(), before) < tolerance<Be>(13) * largest(before));
}

}  // namespace

TEST_CASE_TEMPLATE("start: the output at step 0 is the base's", Be, conformance::cpu_float,
                   conformance::archetype_double) {
  check_start<Be>(lora{});
  check_start<Be>(lora_gaussian{});
  check_start<Be>(lora_train_a{});
  check_start<Be>(lora_train_b{});
}
TEST_CASE_TEMPLATE("start: the output at step 0 is the base's for pissa and full", Be,
                   conformance::cpu_float, conformance::archetype_double) {
  check_start<Be>(pissa{});
  check_start<Be>(pissa_randomized{});
  check_start<Be>(full_fine_tuning{});
}
