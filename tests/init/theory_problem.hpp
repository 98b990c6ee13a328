// The problem of HRP's theory: gradient descent on ½‖s·B·A − M‖², from W = 0, s = 1.
#pragma once
#include <preheat/methods.hpp>
#include <preheat/nn/least_squares.hpp>
#include <preheat/train/fit.hpp>

#include "support/backends.hpp"
#include "support/spectrum.hpp"

namespace conformance {

using warm_train_a = preheat::method<preheat::adapter::asymmetric<preheat::parameter_role::A>,
                                     preheat::init::orthogonal, preheat::optim::sgd>;
using warm_train_b = preheat::method<preheat::adapter::asymmetric<preheat::parameter_role::B>,
                                     preheat::init::orthogonal, preheat::optim::sgd>;

// M is m×n with σ_i = 0.7^i.
struct theory {
  using Be = cpu_double;
  index_t m, n;
  std::vector<double> sigma = geometric(std::min(m, n), 0.7);
  table target = with_spectrum(m, n, sigma, 140);
  Be be{};

  template <class Method>
  auto run(const Method& method, preheat::fit_options options) {
    preheat::nn::least_squares<Be> net(be, be.zeros(m, n), matrix(be, target));
    options.rank = 4;
    options.scaling = preheat::scaling::constant(1);
    return preheat::fit(method, net, net.batches(), options);
  }
  template <class Report>
  double final_loss(const Report& report) {
    const auto& p = report.layers[0].parameters;
    return square_norm(read<Be>(be, p.B) * read<Be>(be, p.A) - target) / 2;
  }
  // ½Σ_{i>r}σ_i²: no product of rank r has a smaller loss.
  double floor(index_t r) const { return tail(sigma, r) / 2; }
};

}  // namespace conformance
