// The training loop: determinism, accumulation, clipping, dropout, targets, ranks, and the statuses
// of a run.
#include <preheat/methods.hpp>
#include <preheat/nn/minibatches.hpp>
#include <preheat/train/fit.hpp>

#include "support/backends.hpp"
#include "support/toy_task.hpp"

using namespace conformance;
using namespace preheat;

namespace {

using plain_sgd = method<optim::sgd>;

fit_options settings(index_t steps) {
  return {.rank = 2, .steps = steps, .seed = 11};
}

// The trained parameters of a fresh task.
template <class Be, class Method>
auto run_fresh(const Method& m, const fit_options& options,
               index_t batch_size = toy_task<Be>::batch_size) {
  toy_task<Be> task(batch_size);
  return fit(m, task.net, task.data, options);
}

}  // namespace

TEST_CASE_TEMPLATE("fit: learns", Be, PREHEAT_BACKENDS) {
  toy_task<Be> task;
  toy_task<Be> untouched;
  const double before = task.base_loss();
  const auto report = fit(lora{.optim = {.lr = 1e-2}}, task.net, task.data, settings(60));
  CHECK(report.status == fit_status::completed);
  CHECK(report.losses.size() == 60);
  CHECK(report.learning_rates == std::vector<double>(60, 1e-2));
  CHECK(report.seconds > 0);
  CHECK(task.weights_are_those_of(untouched));
  merge(task.net, report);
  CHECK(task.base_loss() < 0.6 * before);
}

TEST_CASE_TEMPLATE("fit: the same seed gives the same bits whatever went before", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  fit_options options = settings(7);
  options.dropout = 0.2;
  const lora m{.optim = {.lr = 1e-2}};
  const auto first = run_fresh<Be>(m, options);
  // Other work in between, and on the same data object.
  toy_task<Be> task;
  options.seed = 12;
  const auto other = fit(m, task.net, task.data, options);
  options.seed = 11;
  const auto again = fit(m, task.net, task.data, options);
  CHECK(same_results(be, first, again));
  CHECK(parameter_gap(be, first, other) > 1e-3);
  CHECK(first.losses != other.losses);
}

// ∂ of a mean is the mean of the parts' ∂, when the parts are equally large: the first two batches
// of 8 in one step are what a batch of 16 gives.
TEST_CASE_TEMPLATE("fit: accumulating k batches equals one batch k times as large", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const plain_sgd m{.optim = {.lr = 0.1}};
  fit_options parts = settings(1);
  parts.accumulate = 3;
  const auto accumulated = run_fresh<Be>(m, parts, 8);
  const auto whole = run_fresh<Be>(m, settings(1), 24);  // the epoch's three batches at once
  CHECK(accumulated.losses.size() == 1);
  CHECK(accumulated.losses[0] == doctest::Approx(whole.losses[0]).epsilon(tolerance<Be>(1)));
  CHECK(parameter_gap(be, accumulated, whole) < tolerance<Be>(1));
  const auto one_part = run_fresh<Be>(m, settings(1), 8);
  CHECK(parameter_gap(be, accumulated, one_part) > 1e-4);
  // Batches are not used twice: step k takes numbers k·accumulate, …
  parts.steps = 2;
  CHECK(run_fresh<Be>(m, parts, 8).losses[1] != accumulated.losses[0]);
}

// torch.nn.utils.clip_grad_norm_: g·min(1, bound/(‖g‖ + 1e-6)), ‖·‖ over the whole network.
TEST_CASE_TEMPLATE("fit: clipping scales the whole gradient as torch does", Be, PREHEAT_BACKENDS) {
  Be be;
  const plain_sgd m{.optim = {.lr = 1}};
  fit_options options = settings(1);
  // With rate 1 a step is minus the gradient, and B starts at 0; A does not move at the first step.
  const auto free = run_fresh<Be>(m, options);
  double square = 0;
  for (const auto& l : free.layers) {
    square += square_norm(read<Be>(be, l.parameters.B));
  }
  const double norm = std::sqrt(square);
  for (const double bound : {norm / 4, norm * 2}) {
    options.max_gradient_norm = bound;
    const auto clipped = run_fresh<Be>(m, options);
    const double factor = std::min(1.0, bound / (norm + 1e-6));
    for (std::size_t l = 0; l < 3; ++l) {
      const table want = factor * read<Be>(be, free.layers[l].parameters.B);
      CHECK(gap(read<Be>(be, clipped.layers[l].parameters.B), want) < tolerance<Be>(1) * norm);
    }
  }
}

TEST_CASE_TEMPLATE("fit: dropout 0 is no dropout and another rate is another run", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const lora m{.optim = {.lr = 1e-2}};
  fit_options options = settings(4);
  const auto without = run_fresh<Be>(m, options);
  options.dropout = 0;
  CHECK(same_results(be, without, run_fresh<Be>(m, options)));
  options.dropout = 0.3;
  const auto with = run_fresh<Be>(m, options);
  // At the first step B = 0, so the loss is the same; the gradient of B is not.
  CHECK(with.losses[0] == without.losses[0]);
  CHECK(with.losses[2] != without.losses[2]);
}

TEST_CASE_TEMPLATE("fit: targets choose layers by name and suffix and pattern", Be,
                   conformance::cpu_float) {
  const lora m{.optim = {.lr = 1e-2}};
  toy_task<Be> untouched;
  const auto adapted_layers = [&](std::vector<std::string> targets) {
    fit_options options = settings(2);
    options.targets = std::move(targets);
    toy_task<Be> task;
    const auto report = fit(m, task.net, task.data, options);
    std::vector<index_t> indices;
    index_t trainable = 0;
    for (const auto& l : report.layers) {
      indices.push_back(l.index);
      CHECK(l.name == "layers." + std::to_string(l.index));
      trainable += trained_size(l.parameters);
    }
    CHECK(report.trainable_parameters == trainable);
    // Merging moves the chosen layers and no others.
    merge(task.net, report);
    for (std::size_t l = 0; l < 3; ++l) {
      const bool chosen = std::count(indices.begin(), indices.end(), index_t(l)) > 0;
      CHECK(same(read<Be>(task.be, task.net.layers()[l].W),
                 read<Be>(untouched.be, untouched.net.layers()[l].W)) != chosen);
    }
    return indices;
  };
  CHECK(adapted_layers({}) == std::vector<index_t>{0, 1, 2});
  CHECK(adapted_layers({"layers.1"}) == std::vector<index_t>{1});
  CHECK(adapted_layers({"2", "layers.0"}) == std::vector<index_t>{0, 2});
  CHECK(adapted_layers({"lay*"}) == std::vector<index_t>{0, 1, 2});
  CHECK_THROWS_AS(adapted_layers({"layer"}), invalid_argument);
}

TEST_CASE_TEMPLATE("fit: a rank above a layer's limit is cut and reported when asked", Be,
                   conformance::cpu_float) {
  fit_options options = settings(1);
  options.rank = 11;
  options.clamp_rank = true;
  const auto report = run_fresh<Be>(lora{}, options);
  const index_t limits[] = {10, 12, 5};
  for (std::size_t l = 0; l < 3; ++l) {
    CHECK(report.layers[l].rank == std::min<index_t>(11, limits[l]));
    CHECK(report.layers[l].clamped == (limits[l] < 11));
    CHECK(report.layers[l].parameters.A.rows() == report.layers[l].rank);
    // s = α/r of the layer, α twice the rank that was asked for.
    CHECK(report.layers[l].scaling == doctest::Approx(22.0 / double(report.layers[l].rank)));
  }
  options.clamp_rank = false;
  CHECK_THROWS_AS(run_fresh<Be>(lora{}, options), invalid_argument);
}

// A loss that is not finite ends the run; the parameters are those of before the step.
TEST_CASE_TEMPLATE("fit: a loss that is not finite is a status", Be, PREHEAT_BACKENDS) {
  const plain_sgd wild{.optim = {.lr = 1e200}};
  const auto report = run_fresh<Be>(wild, settings(50));
  CHECK(report.status == fit_status::non_finite);
  CHECK(report.steps < 50);
  CHECK(report.losses.size() == std::size_t(report.steps));
  for (const double loss : report.losses) {
    CHECK(std::isfinite(loss));
  }
  CHECK(std::string(to_string(report.status)) == "non-finite loss");
}

TEST_CASE_TEMPLATE("fit: full fine-tuning trains weights and biases", Be, PREHEAT_BACKENDS) {
  toy_task<Be> task;
  const double before = task.base_loss();
  const auto report =
      fit(full_fine_tuning{.optim = {.lr = 1e-2}}, task.net, task.data, settings(40));
  CHECK(report.trainable_parameters == 15 * 10 + 15 + 12 * 15 + 12 + 5 * 12 + 5);
  CHECK(task.base_loss() == before);
  const table output = task.adapted_output(report);
  merge(task.net, report);
  CHECK(same(task.base_output(), output));
  CHECK(task.base_loss() < 0.2 * before);
  CHECK(report.layers[0].rank == 0);
}
