// EVA in a whole run: its cost, determinism and untouched output, what it refuses, how it ends early.
#include <preheat/adapter/asymmetric.hpp>
#include <preheat/init/eva.hpp>
#include <preheat/train/fit.hpp>

#include "support/backends.hpp"
#include "support/toy_task.hpp"

using namespace conformance;
using namespace preheat;

namespace {

template <class Adapter = adapter::lora>
using with_eva = method<Adapter, init::eva>;

}  // namespace

TEST_CASE_TEMPLATE("eva: in a run it is charged and deterministic and leaves the output alone", Be,
                   conformance::cpu_float, conformance::archetype_double) {
  toy_task<Be> untouched;
  const auto train = [&](double rate, std::uint64_t seed, bool charge = true) {
    toy_task<Be> p;
    with_eva<> m{.init = {.batches = 3}, .optim = {.lr = rate}};
    fit_options options{.rank = 2, .steps = 8, .seed = seed};
    options.count_calibration_steps = charge;
    auto report = fit(m, p.net, p.data, options);
    CHECK(report.status == fit_status::completed);
    CHECK(report.calibration_steps == (charge ? 3 : 0));
    CHECK(report.steps == (charge ? 5 : 8));
    CHECK_FALSE(report.base_changed);
    CHECK(p.weights_are_those_of(untouched));
    if (rate == 0) {
      CHECK(same(p.adapted_output(report), untouched.base_output()));
    }
    return report;
  };
  train(0, 5);
  train(0.01, 5, false);
  Be be;
  CHECK(same_results(be, train(0.01, 5), train(0.01, 5)));
  CHECK_FALSE(same_results(be, train(0.01, 5), train(0.01, 6)));
}

TEST_CASE("eva: misuse is refused in words") {
  using Be = cpu_double;
  toy_task<Be> p;
  const auto start = [&](const auto& m) { fit(m, p.net, p.data, {.rank = 2, .steps = 20}); };
  CHECK_THROWS_WITH_AS(
      start(with_eva<adapter::asymmetric<parameter_role::A>>{}),
      "preheat: init::eva: this adapter freezes B and takes singular vectors on the left "
      "side; EVA has them for A",
      invalid_argument);
  start(with_eva<adapter::asymmetric<parameter_role::B>>{});
  CHECK_THROWS_WITH_AS(start(with_eva<>{.init = {.rho = 0.5}}),
                       "preheat: init::eva: rho >= 1 (0.5, 1)", invalid_argument);
  CHECK_THROWS_WITH_AS(start(with_eva<>{.init = {.tau = 1.5}}),
                       "preheat: init::eva: 0 <= tau <= 1 (1.5, 1)", invalid_argument);
  CHECK_THROWS_WITH_AS(start(with_eva<>{.init = {.batches = 0}}),
                       "preheat: init::eva: batches >= 1 (0, 1)", invalid_argument);
  CHECK_THROWS_WITH_AS(start(with_eva<>{.init = {.batches = 20}}),
                       "preheat: steps of calibration < steps of the run (20, 20)",
                       invalid_argument);
  linalg::incremental_pca<Be> seen(2);
  seen.add(p.be, matrix(p.be, random_table(4, 5, 840)));
  const mat<Be> W = p.be.zeros(6, 5);
  CHECK_THROWS_WITH_AS(init::eva{}(p.be, target_layer<Be>{.W = W, .rank = 2}, seen),
                       "preheat: init::eva: features of the input = in of W (4, 5)",
                       invalid_argument);
  CHECK_THROWS_WITH_AS(init::eva{}(p.be, target_layer<Be>{.W = W, .rank = 6}, seen),
                       "preheat: init::eva: 1 <= rank <= min(out, in) (6, 5)", invalid_argument);
}

TEST_CASE("eva: inputs that are not finite and a stop end the run with a status") {
  using Be = cpu_double;
  toy_task<Be> p;
  std::atomic<bool> stop = true;
  fit_options options{.rank = 2, .steps = 20};
  options.stop = &stop;
  auto report = fit(with_eva<>{}, p.net, p.data, options);
  CHECK(report.status == fit_status::interrupted);
  CHECK(report.steps == 0);
  options.stop = nullptr;
  p.net.layers()[0].W.data()[0] = std::numeric_limits<double>::infinity();
  report = fit(with_eva<>{}, p.net, p.data, options);
  CHECK(report.status == fit_status::non_finite);
  CHECK(report.steps == 0);
  CHECK(report.calibration_steps == 8);
}

namespace {

// A network whose loss does not notice that its only layer was given infinity.
class deaf {
 public:
  using backend_type = cpu_double;
  using batch_type = mat<cpu_double>;
  struct batches {
    void load(const generator&, index_t step, batch_type& batch) const {
      batch = cpu_double().zeros(3, 4);
      batch.data()[step] = step < 2 ? 1 : std::numeric_limits<double>::infinity();
    }
  };

  explicit deaf(cpu_double& be) : be_(&be) {
    layers_.push_back({"layer", matrix(be, random_table(4, 3, 850)), {}});
  }
  cpu_double& backend() const { return *be_; }
  std::span<base_layer<cpu_double>> layers() { return layers_; }
  template <class Linear>
  double loss(const batch_type& X, Linear& linear) {
    linear.begin(pass_kind::evaluation);
    linear.forward(0, X);
    return 1;
  }
  template <class Linear>
  double loss_and_gradient(const batch_type& X, Linear& linear) {
    return loss(X, linear);
  }

 private:
  cpu_double* be_;
  std::vector<base_layer<cpu_double>> layers_;
};

}  // namespace

TEST_CASE("eva: an infinite input ends the run even where the loss is finite") {
  cpu_double be;
  deaf net(be);
  const auto report = fit(with_eva<>{}, net, deaf::batches{}, {.rank = 1, .steps = 20});
  CHECK(report.status == fit_status::non_finite);
  CHECK(report.steps == 0);
}
