// LoRA-GA against PEFT: the mean gradient of the stored batches, and the factors of every direction
// and scale, up to the signs of singular vectors. PEFT finds the triplets by torch.svd_lowrank with
// a stored test matrix, exactly where that has min(out, in) columns.
#include "fixtures.hpp"

#include <algorithm>
#include <limits>
#include <preheat/cpu/backend.hpp>
#include <preheat/init/lora_ga.hpp>
#include <preheat/nn/least_squares.hpp>
#include <preheat/train/fit.hpp>

namespace {

using golden::check_close;
using golden::check_within;
using golden::dense;
using golden::fixture;
using golden::host;
using golden::index_t;
using preheat::const_view_of;
using preheat::transpose;

// The peer computes in float, and so does LoRA-GA here.
using cpu_float = preheat::cpu<float>;
using matrix = preheat::mat<cpu_float>;
using site_type = preheat::target_layer<cpu_float>;
using factors_type = preheat::factors<cpu_float>;
using gradient_type = preheat::svd_result<matrix>;
using lora_ga = preheat::init::lora_ga<>;
using direction = preheat::init::lora_ga_direction;
using scale = preheat::init::lora_ga_scale;

// One linear layer under the mean squared error over all entries, batch by batch: the peer's model.
class regression {
 public:
  using backend_type = cpu_float;
  using batch_type = index_t;
  struct batches {
    void load(const preheat::generator&, index_t step, index_t& batch) const { batch = step; }
  };

  regression(cpu_float& be, const fixture& file) : be_(&be) {
    layers_.push_back({"weight", matrix(file.matrix("W")), {}});
    for (index_t k = 0; k < file.count("X"); ++k) {  // [tokens, features]
      X_.emplace_back(dense(file.slice("X", k).transpose()));
      T_.emplace_back(dense(file.slice("T", k).transpose()));
    }
  }
  cpu_float& backend() const { return *be_; }
  std::span<preheat::base_layer<cpu_float>> layers() { return layers_; }
  index_t count() const { return index_t(X_.size()); }

  template <class Linear>
  float loss(const index_t& k, Linear& linear) {
    linear.begin(preheat::pass_kind::evaluation);
    return residual(std::size_t(k), linear);
  }
  template <class Linear>
  float loss_and_gradient(const index_t& k, Linear& linear) {
    linear.begin(preheat::pass_kind::training);
    const float value = residual(std::size_t(k), linear);
    be_->apply(preheat::linalg::scale<float>{2 / float(residual_.rows() * residual_.cols())},
               residual_);
    linear.backward(0, X_[k], residual_, false);
    return value;
  }

 private:
  template <class Linear>
  float residual(std::size_t k, Linear& linear) {
    const preheat::view_of<cpu_float> Y = linear.forward(0, X_[k]);
    be_->resize(residual_, Y.rows(), Y.cols());
    be_->copy(transpose::no, Y, residual_);
    be_->apply(preheat::linalg::axpby<float>{-1, 1}, residual_, T_[k]);
    return be_->dot(residual_, residual_) / float(residual_.rows() * residual_.cols());
  }

  cpu_float* be_;
  std::vector<preheat::base_layer<cpu_float>> layers_;
  std::vector<matrix> X_, T_;
  matrix residual_;
};

// The rows of `found`, each with the sign that brings it nearer to the row of `stored`.
dense with_signs_of(const dense& stored, dense found) {
  REQUIRE(found.rows() == stored.rows());
  REQUIRE(found.cols() == stored.cols());
  for (index_t i = 0; i < found.rows(); ++i) {
    if (found.row(i).dot(stored.row(i)) < 0) {
      found.row(i) *= -1;
    }
  }
  return found;
}

// W_base + s·B·A = W to 1e-5, as the peer reached it; the numbers of W's own size are rounded once.
void check_sum(const fixture& file, const std::string& what, const dense& base, const dense& A,
               const dense& B, double s) {
  const dense W = file.matrix("W");
  check_within(file, what + ": W_base + s·B·A", base + s * B.lazyProduct(A), W,
               1e-5 * W.cwiseAbs().maxCoeff());
}

// The SVD of G as the peer took it.
gradient_type gradient_of(const fixture& file, const std::string& key, const matrix& G) {
  cpu_float be;
  const index_t small = std::min(G.rows(), G.cols());
  const index_t q = file.param<index_t>("q");
  if (q >= small) {
    return preheat::linalg::truncated_svd<cpu_float>(be, G, small);
  }
  const matrix omega(file.matrix(key + ".Omega"));
  REQUIRE(omega.cols() == q);
  return preheat::linalg::randomized_svd<cpu_float>(be, G, q, omega, file.param<index_t>("niter"));
}

void check_start(const fixture& file, const std::string& key, const lora_ga& init,
                 const matrix& G) {
  cpu_float be;
  const matrix W(file.matrix("W"));
  const double s = file.param<double>("scaling");
  const site_type site{.W = W, .rank = file.param<index_t>("r"), .scaling = float(s)};
  const gradient_type g = gradient_of(file, key, G);
  const factors_type f = [&] {
    if (init.scale == scale::weight_svd) {
      const matrix omega(file.matrix(key + ".Omega_W"));
      return init(be, site, g, const_view_of<cpu_float>(omega));
    }
    return init(be, site, g);
  }();
  const dense A = host(be, f.A);
  const dense B = host(be, f.B);
  const dense stored_A = file.matrix(key + ".A");
  const dense stored_B = file.matrix(key + ".B");
  constexpr double rtol = 1e-4;
  check_close(file, key + ".A", with_signs_of(stored_A, A), stored_A, rtol);
  check_close(file, key + ".B", with_signs_of(stored_B.transpose(), B.transpose()).transpose(),
              stored_B, rtol);

  matrix base = preheat::clone<cpu_float>(be, W);
  be.gemm(-site.scaling, transpose::no, f.B, transpose::no, f.A, 1, base);
  check_sum(file, key, host(be, base), A, B, s);
  check_sum(file, key + " (stored)", file.matrix(key + ".W_base"), stored_A, stored_B, s);
}

const std::vector<std::pair<std::string, direction>> directions{
    {"ArBr", direction::ArBr}, {"A2rBr", direction::A2rBr}, {"ArB2r", direction::ArB2r}};
const std::vector<std::pair<std::string, scale>> scales{{"stable", scale::stable},
                                                        {"weight_svd", scale::weight_svd},
                                                        {"gd_scale", scale::gd_scale},
                                                        {"unit", scale::unit}};

void check_starts(const std::string& name) {
  const fixture file(name);
  lora_ga init;
  init.stable_gamma = file.param<double>("stable_gamma");
  init.weight.power_iterations = file.param<index_t>("niter");
  for (const auto& [direction_name, d] : directions) {
    for (const auto& [scale_name, s] : scales) {
      init.direction = d;
      init.scale = s;
      check_start(file, direction_name + "." + scale_name, init, matrix(file.matrix("G")));
    }
  }
}

// G from the batches, and its singular values; then a whole run from them.
void check_run(const std::string& name) {
  const fixture file(name);
  cpu_float be;
  regression net(be, file);
  regression::batches data;
  const preheat::fit_options options;
  preheat::calibration_context<regression, regression::batches> context(
      net, data, options, {{0}, {file.param<index_t>("r")}, {file.param<double>("scaling")}}, 0.01,
      preheat::generator());
  const std::vector<matrix> G = preheat::init::mean_gradients(context, net.count());
  check_close(file, "G", host(be, G[0]), file.matrix("G"), 1e-5);
  const index_t all = std::min(G[0].rows(), G[0].cols());
  const gradient_type g = preheat::linalg::truncated_svd<cpu_float>(be, G[0], all);
  check_close(file, "S_G", host(be, g.S), file.matrix("S_G"), 1e-5);

  const double alpha = file.param<double>("lora_alpha");
  const preheat::method<lora_ga> method{.init = {.gradient = {.batches = net.count()}}};
  const auto run = preheat::start_run(method, net, data,
                                      {.rank = file.param<index_t>("r"),
                                       .steps = net.count() + 1,
                                       .scaling = preheat::scaling::over_rank(alpha)});
  const auto& adapted_layer = run.adapters.layers().at(0);
  CHECK(adapted_layer.scaling == float(file.param<double>("scaling")));
  const dense A = host(be, adapted_layer.parameters.A);
  const dense B = host(be, adapted_layer.parameters.B);
  check_sum(file, "in a run", host(be, net.layers()[0].W), A, B, double(adapted_layer.scaling));
  // The defaults are PEFT's. A sketched fixture is near the exact SVD, no more.
  if (file.param<index_t>("q") >= all && file.param<double>("stable_gamma") == 16) {
    const dense stored_A = file.matrix("ArB2r.stable.A");
    const dense stored_B = file.matrix("ArB2r.stable.B");
    check_close(file, "A in a run", with_signs_of(stored_A, A), stored_A, 1e-4);
    check_close(file, "B in a run", with_signs_of(stored_B.transpose(), B.transpose()).transpose(),
                stored_B, 1e-4);
  }
}

}  // namespace

TEST_CASE("golden inits: lora_ga_tall, every direction and scale") {
  check_starts("inits/lora_ga_tall");
}
TEST_CASE("golden inits: lora_ga_wide, every direction and scale") {
  check_starts("inits/lora_ga_wide");
}
TEST_CASE("golden inits: lora_ga_tall, from the batches") {
  check_run("inits/lora_ga_tall");
}
TEST_CASE("golden inits: lora_ga_wide, from the batches") {
  check_run("inits/lora_ga_wide");
}
