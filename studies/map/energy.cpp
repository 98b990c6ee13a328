#include <cstddef>
#include <stdexcept>
#include <vector>

#include "problems.hpp"
#include "studies/digits/adapt.hpp"
#include "with_method.hpp"

namespace studies::map {

namespace {

using backend = digits::backend;
using matrix = preheat::mat<backend>;

// What full fine-tuning changed, layer by layer.
std::vector<matrix> changes(const digits::base_model& base, const digits::base_model& tuned) {
  digits::network before = base.net.copy();
  digits::network after = tuned.net.copy();
  std::vector<matrix> all;
  for (std::size_t l = 0; l < before.layers().size(); ++l) {
    matrix D = std::move(after.layers()[l].W);
    digits::be.apply(preheat::linalg::axpby<float>{-1, 1}, D, before.layers()[l].W);
    all.push_back(std::move(D));
  }
  return all;
}

double square(const std::vector<matrix>& all) {
  double sum = 0;
  for (const matrix& D : all) {
    sum += double(digits::be.dot(D, D));
  }
  return sum;
}

// ‖D·P‖² with P the projection on the rows' space of A.
double energy_in_rows(const matrix& D, const matrix& A) {
  const matrix Q = digits::be.qr(preheat::linalg::transposed<backend>(digits::be, A)).Q;
  matrix DQ = digits::be.zeros(D.rows(), Q.cols());
  digits::be.gemm(1, preheat::transpose::no, D, preheat::transpose::no, Q, 0, DQ);
  return double(digits::be.dot(DQ, DQ));
}

// Of a run's adapters, wherever it stands.
template <class Run>
double share_in_rows(Run& run, const std::vector<matrix>& all) {
  double sum = 0;
  for (std::size_t l = 0; l < all.size(); ++l) {
    const auto f = run.method.adapter.product(digits::be, run.adapters.layers()[l].parameters);
    sum += energy_in_rows(all[l], f.A);
  }
  return sum / square(all);
}

}  // namespace

energy measure_energy(const start_config& c, const digits::base_model& base,
                      const digits::base_model& fully_tuned, const digits::shift_data& data,
                      const digits::training_settings& s, const common::run_definition& run) {
  const std::vector<matrix> all = changes(base, fully_tuned);
  return with_method(c, [&](auto method) {
    digits::network net = base.net.copy();
    preheat::learning_rate(method.optim) = run.rate;
    digits::minibatches batches = digits::to_minibatches(data.train, s.batch);
    const preheat::fit_options options = digits::options_of(s, run, common::seed_of(run));
    auto steps = preheat::start_run(method, net, batches, options);
    energy result;
    result.at_start = share_in_rows(steps, all);
    while (!steps.done()) {
      steps.step();
    }
    result.at_end = share_in_rows(steps, all);
    return result;
  });
}

double best_energy(const digits::base_model& base, const digits::base_model& fully_tuned) {
  const std::vector<matrix> all = changes(base, fully_tuned);
  double sum = 0;
  for (const matrix& D : all) {
    const auto svd = preheat::linalg::truncated_svd<backend>(digits::be, D, main_rank);
    sum += double(digits::be.dot(svd.S, svd.S));
  }
  return sum / square(all);
}

std::shared_ptr<const digits::base_model> tune_fully(const digits::base_model& base,
                                                     const digits::shift_data& data,
                                                     const digits::training_settings& s,
                                                     const common::run_definition& run) {
  digits::network net = base.net.copy();
  const auto report = preheat::fit(preheat::full_fine_tuning{.optim = {.lr = run.rate}}, net,
                                   digits::to_minibatches(data.train, s.batch),
                                   digits::options_of(s, run, common::seed_of(run)));
  if (report.status != preheat::fit_status::completed) {
    throw std::runtime_error("full fine-tuning ended with: " +
                             std::string(preheat::to_string(report.status)));
  }
  preheat::merge(net, report);
  return std::make_shared<const digits::base_model>(std::move(net));
}

}  // namespace studies::map
