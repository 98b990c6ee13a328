// A run that was stopped, saved and resumed ends with the same bits as one that was not:
// with every option at once, and for the policies that users wrote. See fit_progress.cpp for the
// rest, and resume_systems.cpp for the published systems.
#include <doctest/doctest.h>
#include <preheat/methods.hpp>

#include "support/backends.hpp"
#include "support/resume_check.hpp"
#include "user_policies.hpp"

using namespace preheat;
using conformance::check_resume;

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
