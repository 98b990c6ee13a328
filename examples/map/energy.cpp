#include <cstddef>
#include <stdexcept>
#include <vector>

#include "../compare/adapt.hpp"
#include "problems.hpp"
#include "with_method.hpp"

namespace preheat_map {

namespace {

using backend = comparison::backend;
using matrix = preheat::mat<backend>;
using comparison::be;

// What full fine-tuning changed, layer by layer.
std::vector<matrix> changes(const comparison::pretrained_base& base,
                            const comparison::pretrained_base& tuned) {
  comparison::network before = base.net.copy();
  comparison::network after = tuned.net.copy();
  std::vector<matrix> all;
  for (std::size_t l = 0; l < before.layers().size(); ++l) {
    matrix D = std::move(after.layers()[l].W);
    be.each(preheat::linalg::axpby<float>{-1, 1}, D, before.layers()[l].W);
    all.push_back(std::move(D));
  }
  return all;
}

double square(const std::vector<matrix>& all) {
  double sum = 0;
  for (const matrix& D : all) {
    sum += double(be.dot(D, D));
  }
  return sum;
}

// ‖D·P‖² with P the projection on the rows' space of A.
double energy_in_rows(const matrix& D, const matrix& A) {
  const matrix Q = be.qr(preheat::linalg::transposed<backend>(be, A)).Q;
  matrix DQ = be.zeros(D.rows(), Q.cols());
  be.gemm(1, preheat::op::none, D, preheat::op::none, Q, 0, DQ);
  return double(be.dot(DQ, DQ));
}

// Of a run's adapters, wherever it stands.
template <class Run>
double share_in_rows(Run& run, const std::vector<matrix>& all) {
  double sum = 0;
  for (std::size_t l = 0; l < all.size(); ++l) {
    const auto f = run.method.adapter.product(be, run.lin.slots()[l].parameters);
    sum += energy_in_rows(all[l], f.A);
  }
  return sum / square(all);
}

}  // namespace

energy measure_energy(const cell& c, const comparison::pretrained_base& base,
                      const comparison::pretrained_base& fully_tuned,
                      const comparison::shift_data& data, const comparison::training_settings& s,
                      const comparison::run_definition& run) {
  const std::vector<matrix> all = changes(base, fully_tuned);
  return with_method(c, [&](auto method) {
    comparison::network net = base.net.copy();
    preheat::learning_rate(method.optim) = run.rate;
    comparison::minibatches batches = comparison::to_minibatches(data.train, s.batch);
    const preheat::fit_options options = comparison::options_of(s, run, comparison::run_seed(run));
    preheat::run<decltype(method), comparison::network, comparison::minibatches, false> steps(
        method, net, batches, options, nullptr);
    energy result;
    result.at_start = share_in_rows(steps, all);
    while (!steps.done()) {
      steps.step();
    }
    result.at_end = share_in_rows(steps, all);
    return result;
  });
}

double best_energy(const comparison::pretrained_base& base,
                   const comparison::pretrained_base& fully_tuned) {
  const std::vector<matrix> all = changes(base, fully_tuned);
  double sum = 0;
  for (const matrix& D : all) {
    const auto svd = preheat::linalg::truncated_svd<backend>(be, D, main_rank);
    sum += double(be.dot(svd.S, svd.S));
  }
  return sum / square(all);
}

std::shared_ptr<const comparison::pretrained_base> tune_fully(
    const comparison::pretrained_base& base, const comparison::shift_data& data,
    const comparison::training_settings& s, const comparison::run_definition& run) {
  comparison::network net = base.net.copy();
  const auto report = preheat::fit(preheat::full_fine_tuning{.optim = {.lr = run.rate}}, net,
                                   comparison::to_minibatches(data.train, s.batch),
                                   comparison::options_of(s, run, comparison::run_seed(run)));
  if (report.status != preheat::fit_status::completed) {
    throw std::runtime_error("full fine-tuning ended with: " +
                             std::string(preheat::to_string(report.status)));
  }
  preheat::merge(net, report);
  return std::make_shared<const comparison::pretrained_base>(std::move(net));
}

}  // namespace preheat_map
