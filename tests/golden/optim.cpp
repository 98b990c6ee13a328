// Optimizers on recorded gradients, against torch.optim; learning-rate schedules, against
// transformers.
#include "fixtures.hpp"

#include <algorithm>
#include <functional>
#include <optional>
#include <preheat/cpu/backend.hpp>
#include <preheat/optim/adam.hpp>
#include <preheat/optim/sgd.hpp>
#include <preheat/train/schedule.hpp>
#include <set>
#include <tuple>

namespace {

using golden::check_close;
using golden::dense;
using golden::fixture;
using golden::host;
using golden::index_t;

constexpr double rtol = 1e-12;

using backend_type = preheat::cpu<double>;

// Parameters written by a user: a weight and a bias, as in a linear layer that is trained whole.
struct weight_and_bias {
  preheat::mat<backend_type> W;
  preheat::mat<backend_type> b;
  static constexpr auto parameters() {
    using preheat::make_parameter;
    using preheat::parameter_role;
    return std::tuple(make_parameter<parameter_role::weight>("W", &weight_and_bias::W),
                      make_parameter<parameter_role::bias>("b", &weight_and_bias::b));
  }
};

static_assert(preheat::optim_policy<preheat::optim::adam, backend_type, weight_and_bias>);
static_assert(preheat::optim_policy<preheat::optim::adamw, backend_type, weight_and_bias>);
static_assert(preheat::optim_policy<preheat::optim::sgd, backend_type, weight_and_bias>);

// Steps through all recorded gradients and compares the parameters wherever they were recorded.
template <class Optim>
void replay(const Optim& optim, const fixture& file) {
  backend_type be;
  weight_and_bias p{file.matrix("W_0"), file.matrix("b_0")};
  auto state = optim.start(be, p);
  preheat::step_context context;
  context.learning_rate = optim.lr;

  const std::vector<index_t> recorded = file.param<std::vector<index_t>>("steps");
  const index_t gradients = file.count("grad_W");
  REQUIRE_FALSE(recorded.empty());
  REQUIRE(*std::max_element(recorded.begin(), recorded.end()) <= gradients);
  for (index_t k = 1; k <= gradients; ++k) {
    weight_and_bias gradient{file.slice("grad_W", k - 1), file.slice("grad_b", k - 1)};
    context.step = k - 1;
    optim.step(be, p, gradient, state, context);
    if (std::find(recorded.begin(), recorded.end(), k) != recorded.end()) {
      const std::string number = std::to_string(k);
      check_close(file, "W_" + number, host(be, p.W), file.matrix("W_" + number), rtol);
      check_close(file, "b_" + number, host(be, p.b), file.matrix("b_" + number), rtol);
    }
  }
}

template <class Adam>
Adam adam_of(const fixture& file) {
  const std::vector<double> betas = file.param<std::vector<double>>("betas");
  Adam optim;
  optim.lr = file.param<double>("lr");
  optim.beta1 = betas.at(0);
  optim.beta2 = betas.at(1);
  optim.epsilon = file.param<double>("eps");
  optim.weight_decay = file.param<double>("weight_decay");
  optim.amsgrad = file.param<bool>("amsgrad");
  return optim;
}

preheat::optim::sgd sgd_of(const fixture& file) {
  return {.lr = file.param<double>("lr"),
          .momentum = file.param<double>("momentum"),
          .dampening = file.param<double>("dampening"),
          .weight_decay = file.param<double>("weight_decay"),
          .nesterov = file.param<bool>("nesterov")};
}

void check_optimizer(const std::string& name) {
  const fixture file(name);
  const std::string optimizer = file.param<std::string>("optimizer");
  if (file.flag("maximize")) {
    file.fail("wants to maximize: our optimizers minimize");
  }
  if (optimizer == "SGD") {
    replay(sgd_of(file), file);
  } else if (optimizer == "AdamW" || (optimizer == "Adam" && file.flag("decoupled_weight_decay"))) {
    replay(adam_of<preheat::optim::adamw>(file), file);
  } else if (optimizer == "Adam") {
    replay(adam_of<preheat::optim::adam>(file), file);
  } else {
    file.fail("has an unknown optimizer " + optimizer);
  }
}

using schedule_function = std::function<double(index_t step, index_t total)>;

// One column of the table: its kind, and our schedule for it.
struct column {
  std::string kind;
  schedule_function schedule;
};

// If `name` is before + number + after, that number.
std::optional<double> number_inside(const std::string& name, const std::string& before,
                                    const std::string& after) {
  const std::size_t affixes = before.size() + after.size();
  if (name.size() <= affixes || !name.starts_with(before) || !name.ends_with(after)) {
    return std::nullopt;
  }
  const std::string text = name.substr(before.size(), name.size() - affixes);
  if (text.find_first_not_of("0123456789.") != std::string::npos) {
    return std::nullopt;
  }
  return std::stod(text);
}

// A column's name says its kind and the settings that differ between columns; the others are in
// the file's params.
column column_named(const std::string& name, const fixture& file) {
  namespace schedule = preheat::schedule;
  const index_t warmup = file.param<index_t>("warmup");
  if (name == "constant") {
    return {name, schedule::constant{}};
  }
  if (name == "constant_with_warmup") {
    return {name, schedule::constant{warmup}};
  }
  if (name == "linear") {
    return {name, schedule::linear{warmup}};
  }
  if (name == "linear_no_warmup") {
    return {name, schedule::linear{}};
  }
  if (name == "cosine") {
    return {name, schedule::cosine{warmup}};
  }
  if (const auto cycles = number_inside(name, "cosine_", "_cycles")) {
    return {"cosine_cycles", schedule::cosine{warmup, *cycles}};
  }
  if (const auto cycles = number_inside(name, "cosine_hard_restarts_", "")) {
    return {"cosine_hard_restarts", schedule::cosine_with_restarts{warmup, index_t(*cycles)}};
  }
  if (const auto power = number_inside(name, "polynomial_", "")) {
    const double end = file.param<double>("polynomial_lr_end") / file.param<double>("lr");
    return {"polynomial", schedule::polynomial{warmup, *power, end}};
  }
  if (name == "inverse_sqrt") {
    return {name, schedule::inverse_sqrt{warmup, file.param<double>("inverse_sqrt_timescale")}};
  }
  file.fail("has an unknown schedule " + name);
}

}  // namespace

TEST_CASE("golden optim: adamw") {
  check_optimizer("optim/adamw");
}
TEST_CASE("golden optim: adamw_custom") {
  check_optimizer("optim/adamw_custom");
}
TEST_CASE("golden optim: adamw_amsgrad") {
  check_optimizer("optim/adamw_amsgrad");
}
TEST_CASE("golden optim: adam") {
  check_optimizer("optim/adam");
}
TEST_CASE("golden optim: adam_l2") {
  check_optimizer("optim/adam_l2");
}
TEST_CASE("golden optim: sgd") {
  check_optimizer("optim/sgd");
}
TEST_CASE("golden optim: sgd_momentum") {
  check_optimizer("optim/sgd_momentum");
}
TEST_CASE("golden optim: sgd_nesterov") {
  check_optimizer("optim/sgd_nesterov");
}
TEST_CASE("golden optim: sgd_dampening_wd") {
  check_optimizer("optim/sgd_dampening_wd");
}

TEST_CASE("golden optim: schedules") {
  const fixture file("optim/schedules");
  const double lr = file.param<double>("lr");
  const index_t total = file.param<index_t>("total");
  const index_t rows = file.param<index_t>("rows");
  std::set<std::string> kinds;
  for (const std::string& name : file.names()) {
    const column c = column_named(name, file);
    kinds.insert(c.kind);
    dense rates(rows, 1);
    for (index_t step = 0; step < rows; ++step) {
      rates(step, 0) = lr * c.schedule(step, total);
    }
    golden::check_within(file, name, rates, file.matrix(name), rtol * lr);
  }
  const std::set<std::string> all = {
      "constant",   "constant_with_warmup", "linear",        "linear_no_warmup", "cosine",
      "polynomial", "cosine_hard_restarts", "cosine_cycles", "inverse_sqrt"};
  CHECK(kinds == all);
}
