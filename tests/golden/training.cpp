// Whole training runs: an MLP with LoRA or DoRA on every layer, full batch, AdamW, from recorded
// factors, against PEFT and torch. Losses, factors, magnitudes and gradients on the way, and what
// comes out.
#include "fixtures.hpp"

#include <algorithm>
#include <preheat/adapter/dora.hpp>
#include <preheat/cpu/backend.hpp>
#include <preheat/nn/minibatches.hpp>
#include <preheat/nn/mlp.hpp>
#include <preheat/train/fit.hpp>

#include "stored_start.hpp"

namespace {

using golden::check_close;
using golden::dense;
using golden::fixture;
using golden::host;
using golden::index_t;

constexpr double loss_rtol = 1e-11;
constexpr double factor_rtol = 1e-10;

using backend_type = preheat::cpu<double>;
using start_type = golden::stored_start<preheat::initial_product::nonzero>;
template <class Adapter>
using method_type = preheat::method<Adapter, start_type, preheat::optim::adamw>;
using batches_type = preheat::nn::minibatches<backend_type>;
using batch_type = preheat::nn::labelled_batch<backend_type>;

// Layers are numbered from 1 in the files: W1, b1, A1_0, B1_0 …
std::string layer_name(const char* tensor, std::size_t layer) {
  return tensor + std::to_string(layer + 1);
}

// A fixture, and what it says a run starts from.
class recorded_run {
 public:
  explicit recorded_run(const fixture& recorded) : file(recorded) {
    while (file.contains(layer_name("W", depth))) {
      ++depth;
    }
    if (depth == 0) {
      file.fail("has no layers");
    }
    if (file.param<std::string>("optimizer") != "AdamW") {
      file.fail("has another optimizer than AdamW");
    }
  }

  template <class Loss>
  preheat::nn::mlp<backend_type, Loss> network(backend_type& be) const {
    std::vector<preheat::base_layer<backend_type>> layers;
    for (std::size_t l = 0; l < depth; ++l) {
      layers.push_back({layer_name("fc", l),
                        preheat::mat<backend_type>(file.matrix(layer_name("W", l))),
                        preheat::mat<backend_type>(file.matrix(layer_name("b", l)))});
    }
    return preheat::nn::mlp<backend_type, Loss>(be, std::move(layers));
  }
  batch_type batch() const { return {file.tokens("X"), file.tokens("target")}; }
  batches_type batches(backend_type& be) const {
    return batches_type(be, file.tokens("X"), file.tokens("target"), 0);
  }

  template <class Adapter>
  method_type<Adapter> method() const {
    const std::vector<double> betas = file.param<std::vector<double>>("betas");
    method_type<Adapter> m;
    for (std::size_t l = 0; l < depth; ++l) {
      m.init.layers.push_back({file.matrix(layer_name("A", l) + "_0"),  //
                               file.matrix(layer_name("B", l) + "_0")});
    }
    m.optim = {.lr = file.param<double>("lr"),
               .beta1 = betas.at(0),
               .beta2 = betas.at(1),
               .epsilon = file.param<double>("eps"),
               .weight_decay = file.param<double>("weight_decay")};
    return m;
  }
  preheat::fit_options options() const {
    const index_t rank = file.param<index_t>("r");
    const preheat::scaling_rule rule = golden::scaling_of(file);
    CHECK(rule(rank, rank) == file.param<double>("scaling"));
    return {.rank = rank, .steps = file.param<index_t>("steps"), .scaling = rule};
  }

  // Both factors of every layer and DoRA's magnitude, or their gradients: "A1" + suffix is compared
  // with a layer's A. `parts(l)` gives the struct of layer l. At step 0 magnitudes are the adapter's
  // own start, and only the factors are given.
  template <class Parts>
  void check_factors(backend_type& be, const std::string& prefix, const std::string& suffix,
                     Parts parts) const {
    for (std::size_t l = 0; l < depth; ++l) {
      const auto& p = parts(l);
      const std::string A = prefix + layer_name("A", l) + suffix;
      const std::string B = prefix + layer_name("B", l) + suffix;
      check_close(file, A, host(be, p.A), file.matrix(A), factor_rtol);
      check_close(file, B, host(be, p.B), file.matrix(B), factor_rtol);
      if constexpr (requires { p.magnitude; }) {
        const std::string m = prefix + layer_name("m", l) + suffix;
        check_close(file, m, host(be, p.magnitude), file.matrix(m), factor_rtol);
      }
    }
  }
  std::vector<double> stored_losses() const {
    const dense column = file.matrix("loss");
    return {column.data(), column.data() + column.size()};
  }
  // One loss for every step, before it is made.
  void check_losses(const std::vector<double>& losses) const {
    const std::vector<double> stored = stored_losses();
    const std::size_t steps = std::size_t(file.param<index_t>("steps"));
    REQUIRE(stored.size() == steps + 1);
    REQUIRE(losses.size() == steps);
    for (std::size_t k = 0; k < steps; ++k) {
      golden::check_number(file, "loss before step " + std::to_string(k + 1), losses[k], stored[k],
                           loss_rtol);
    }
  }
  void check_last_loss(double loss) const {
    golden::check_number(file, "loss after the last step", loss, stored_losses().back(), loss_rtol);
  }

  const fixture& file;
  std::size_t depth = 0;
};

// Step by step, looking inside.
template <class Adapter, class Loss>
void check_steps(const recorded_run& recorded) {
  const fixture& file = recorded.file;
  backend_type be;
  auto net = recorded.network<Loss>(be);
  batches_type batches = recorded.batches(be);
  const batch_type batch = recorded.batch();
  auto run = preheat::start_run(recorded.method<Adapter>(), net, batches, recorded.options());

  const std::vector<index_t> factor_steps = file.numbers_after("A1_");
  const std::vector<index_t> gradient_steps = file.numbers_after("grad_A1_at_");
  REQUIRE(factor_steps.size() >= 2);
  REQUIRE_FALSE(gradient_steps.empty());
  REQUIRE(factor_steps.back() == file.param<index_t>("steps"));
  const auto among = [&](const std::vector<index_t>& steps) {
    return std::find(steps.begin(), steps.end(), run.steps_done()) != steps.end();
  };
  while (true) {
    const std::string number = std::to_string(run.steps_done());
    if (among(factor_steps)) {
      recorded.check_factors(
          be, "", "_" + number, [&](std::size_t l) -> const auto& {
            return run.adapters.layers()[l].parameters;
          });
    }
    if (among(gradient_steps)) {
      for (auto& l : run.adapters.layers()) {
        preheat::set_zero(be, l.gradient);
      }
      const double loss = net.loss_and_gradient(batch, run.adapters);
      golden::check_number(file, "loss at " + number, loss,
                           recorded.stored_losses().at(std::size_t(run.steps_done())), loss_rtol);
      recorded.check_factors(
          be, "grad_", "_at_" + number, [&](std::size_t l) -> const auto& {
            return run.adapters.layers()[l].gradient;
          });
    }
    if (run.done()) {
      break;
    }
    run.step();
  }
  recorded.check_last_loss(net.loss(batch, run.adapters));
  recorded.check_losses(run.finish().losses);
}

// The same run by `fit`, and what a user does with its report.
template <class Adapter, class Loss>
void check_fit(const recorded_run& recorded) {
  const fixture& file = recorded.file;
  backend_type be;
  auto net = recorded.network<Loss>(be);
  const batch_type batch = recorded.batch();
  const auto report =
      fit(recorded.method<Adapter>(), net, recorded.batches(be), recorded.options());

  CHECK(report.status == preheat::fit_status::completed);
  CHECK_FALSE(report.base_changed);
  recorded.check_losses(report.losses);
  const double lr = file.param<double>("lr");
  for (const double rate : report.learning_rates) {
    CHECK(rate == lr);
  }
  recorded.check_factors(
      be, "", "_" + std::to_string(report.steps), [&](std::size_t l) -> const auto& {
        return report.layers.at(l).parameters;
      });

  auto adapted = preheat::attach(net, report);
  check_close(file, "Y_final", host(be, net.forward(batch.X, adapted)), file.tokens("Y_final"),
              factor_rtol);
  recorded.check_last_loss(net.loss(batch, adapted));

  preheat::merge(net, report);
  for (std::size_t l = 0; l < recorded.depth; ++l) {
    const std::string merged = layer_name("W", l) + "_merged";
    check_close(file, merged, host(be, net.layers()[l].W), file.matrix(merged), factor_rtol);
  }
  preheat::base_operator<backend_type> base(net);
  check_close(file, "Y_final after merge", host(be, net.forward(batch.X, base)),
              file.tokens("Y_final"), factor_rtol);
}

template <class Adapter, class Loss>
void check_run(const fixture& file) {
  const recorded_run recorded(file);
  check_steps<Adapter, Loss>(recorded);
  check_fit<Adapter, Loss>(recorded);
}

template <class Loss>
void check_loss(const fixture& file) {
  if (file.flag("use_dora")) {
    check_run<preheat::adapter::dora, Loss>(file);
  } else {
    check_run<preheat::adapter::lora, Loss>(file);
  }
}

void check_training(const fixture& file) {
  const std::string loss = file.param<std::string>("loss");
  if (loss == "mse") {
    check_loss<preheat::nn::mean_squared>(file);
  } else if (loss == "ce") {
    check_loss<preheat::nn::cross_entropy>(file);
  } else {
    file.fail("has an unknown loss " + loss);
  }
}

}  // namespace

PREHEAT_GOLDEN("training", "mse", check_training)
PREHEAT_GOLDEN("training", "ce", check_training)
PREHEAT_GOLDEN("training", "ce_dora", check_training)
PREHEAT_GOLDEN("training", "mse_rslora", check_training)
