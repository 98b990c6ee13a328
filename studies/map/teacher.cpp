#include <cmath>

#include "problems.hpp"
#include "studies/digits/adapt.hpp"
#include "with_method.hpp"

namespace studies::map {

namespace {

using backend = digits::backend;
using matrix = preheat::mat<backend>;
using student = preheat::nn::mlp<backend, preheat::nn::mean_squared>;

constexpr index_t out_features = 64;
constexpr index_t in_features = 80;
constexpr index_t batch_size = 64;

double singular_value(const std::string& spectrum, index_t i) {
  if (spectrum == "exponential") {
    return 4 * std::pow(0.7, double(i));
  }
  return spectrum == "polynomial" ? 4 / double(i + 1) : 1;
}

double energy_of(const std::string& spectrum, index_t count) {
  double sum = 0;
  for (index_t i = 0; i < count; ++i) {
    sum += singular_value(spectrum, i) * singular_value(spectrum, i);
  }
  return sum;
}

// M = U·diag(σ)·Vᵀ, U and V uniformly drawn.
matrix make_target(backend& be, const std::string& spectrum, const preheat::generator& gen) {
  using preheat::purpose;
  matrix U =
      preheat::linalg::orthonormal(be, out_features, out_features, gen.fork(purpose::user, 0));
  const matrix V =
      preheat::linalg::orthonormal(be, in_features, out_features, gen.fork(purpose::user, 1));
  std::vector<float> sigma;
  for (index_t i = 0; i < out_features; ++i) {
    sigma.push_back(float(singular_value(spectrum, i)));
  }
  matrix scales = be.zeros(out_features, 1);
  be.upload(sigma, scales);
  be.scale_cols(scales, U);
  matrix M = be.zeros(out_features, in_features);
  be.gemm(1, preheat::transpose::no, U, preheat::transpose::yes, V, 0, M);
  return M;
}

struct teacher {
  backend* be;
  const matrix* M;
  double noise;  // standard deviation an output

  void load(const preheat::generator& stream, index_t step, digits::batch& b) const {
    const preheat::generator of_step = stream.fork(preheat::purpose::batch, std::uint64_t(step));
    b.X = preheat::linalg::normal(*be, in_features, batch_size, 1, of_step);
    b.target = preheat::linalg::normal(*be, out_features, batch_size, noise,
                                       of_step.fork(preheat::purpose::user));
    be->gemm(1, preheat::transpose::no, *M, preheat::transpose::no, b.X, 1, b.target);
  }
};

// ‖M − ΔW‖²/‖M‖² after a run; NaN if it diverged.
template <class Method>
double share_left(Method method, const std::string& spectrum, std::uint64_t draw,
                  const digits::training_settings& s, const common::run_definition& run) {
  backend& be = digits::be;
  const matrix M = make_target(be, spectrum, preheat::generator(draw));
  const double noise = std::sqrt(energy_of(spectrum, out_features) / double(out_features));
  std::vector<preheat::base_layer<backend>> layers;
  layers.push_back({"weight", be.zeros(out_features, in_features), {}});
  student net(be, std::move(layers));
  preheat::learning_rate(method.optim) = run.rate;
  const auto report =
      preheat::fit(method, net, teacher{&be, &M, noise}, digits::options_of(s, run, draw));
  if (report.status != preheat::fit_status::completed) {
    return common::not_a_number;
  }
  preheat::merge(net, report);
  matrix& rest = net.layers()[0].W;
  be.apply(preheat::linalg::axpby<float>{-1, 1}, rest, M);
  return double(be.dot(rest, rest)) / double(be.dot(M, M));
}

}  // namespace

double best_share(const std::string& spectrum) {
  return energy_of(spectrum, main_rank) / energy_of(spectrum, out_features);
}

common::run_outcome run_on_teacher(const start_config& c, const std::string& spectrum,
                                   const digits::training_settings& s,
                                   const common::run_definition& run) {
  return with_method(c, [&](auto method) {
    const double started = common::thread_seconds();
    common::run_outcome result;
    const std::uint64_t draw = 2 * common::seed_of(run);
    result.validation_loss = share_left(method, spectrum, draw, s, run);
    result.test_loss = share_left(method, spectrum, draw + 1, s, run);
    result.best_validation_loss = result.validation_loss;
    result.validation_accuracy = 1 - result.validation_loss;
    result.test_accuracy = 1 - result.test_loss;
    result.status =
        std::isfinite(result.validation_loss + result.test_loss) ? "completed" : "non-finite loss";
    result.trainable_parameters = main_rank * (in_features + out_features);
    result.calibration_steps = c.from == start::preheated ? c.steps : 0;
    result.seconds = common::thread_seconds() - started;
    return result;
  });
}

}  // namespace studies::map
