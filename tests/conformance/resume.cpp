// A run that was stopped, saved and resumed ends with the same bits as one that was not:
// with every option at once, and for the policies that users wrote. See fit_progress.cpp for the
// rest.
#include <doctest/doctest.h>
#include <atomic>
#include <preheat/methods.hpp>

#include "backends.hpp"
#include "small_problem.hpp"
#include "user_policies.hpp"

using namespace preheat;
using conformance::problem;

namespace {

using Be = conformance::cpu_double;

// The bits of everything that a run leaves behind: factors, base weights, losses.
template <class Report>
std::vector<double> outcome(problem<Be>& p, const Report& report) {
  std::vector<double> all = report.losses;
  for (const auto& l : report.layers) {
    visit_all(
        [&](auto, const auto& x) {
          const auto values = p.be.download(x);
          all.insert(all.end(), values.begin(), values.end());
        },
        l.parameters);
  }
  for (const auto& w : p.weights()) {
    all.insert(all.end(), w.begin(), w.end());
  }
  return all;
}

template <class Method>
void check_resume(const Method& m, fit_options options, index_t stop_after) {
  options.steps = 20;
  options.schedule = schedule::cosine{.warmup = 3};
  problem<Be> whole;
  const auto uninterrupted = outcome(whole, fit(m, whole.net, whole.batches, options));

  problem<Be> first;
  training_state saved;
  std::atomic<bool> stop = false;
  fit_options until_stopped = options;
  until_stopped.stop = &stop;
  until_stopped.observer = [&](const progress& now) {
    stop = std::string(now.phase) == "training" && now.step == stop_after;
  };
  until_stopped.checkpoint = [&](const training_state& s) { saved = s; };
  const auto report = fit(m, first.net, first.batches, until_stopped);
  CHECK(report.status == fit_status::interrupted);
  CHECK(report.steps == stop_after);

  problem<Be> second;
  fit_options rest = options;
  rest.resume = &saved;
  const auto resumed = outcome(second, fit(m, second.net, second.batches, rest));
  CHECK(resumed == uninterrupted);
}

}  // namespace

TEST_CASE("exact resume: LoRA with AdamW, with dropout, accumulation and clipping") {
  check_resume(lora{.optim = {.lr = 1e-2}}, {.rank = 2}, 9);
  fit_options options{.rank = 2};
  options.dropout = 0.2;
  options.accumulate = 2;
  options.max_gradient_norm = 0.5;
  check_resume(lora{.optim = {.lr = 1e-2, .amsgrad = true}}, options, 7);
}

TEST_CASE("exact resume: HRP keeps what was charged and does not preheat again") {
  check_resume(hrp<>{.init = {.multiple = 3, .steps = 4}, .optim = {.lr = 1e-2}},
               {.rank = 2, .clamp_rank = true}, 8);
}

TEST_CASE("exact resume: in the middle of a chain, and after a change of ranks") {
  check_resume(method<user::fold_every>{.optim = {.lr = 1e-2}, .chain = {.period = 4}}, {.rank = 2},
               10);
  check_resume(method<user::halved>{.optim = {.lr = 1e-2}, .rank = {.when = 5, .added = 1}},
               {.rank = 3}, 8);
}
