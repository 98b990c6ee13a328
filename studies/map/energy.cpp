#include <cstddef>
#include <stdexcept>

#include "problems.hpp"
#include "studies/common/full_change.hpp"
#include "studies/digits/adapt.hpp"
#include "with_method.hpp"

namespace studies::map {

namespace {

using full_change = common::full_change<digits::backend>;

full_change changes(const digits::base_model& base, const digits::base_model& tuned) {
  digits::network before = base.net.copy();
  digits::network after = tuned.net.copy();
  return common::change_between(digits::be, before, after);
}

}  // namespace

energy measure_energy(const start_config& c, const digits::base_model& base,
                      const digits::base_model& fully_tuned, const digits::shift_data& data,
                      const digits::training_settings& s, const common::run_definition& run) {
  const full_change full = changes(base, fully_tuned);
  return with_method(c, [&](auto method) {
    digits::network net = base.net.copy();
    preheat::learning_rate(method.optim) = run.rate;
    digits::minibatches batches = digits::to_minibatches(data.train, s.batch);
    const preheat::fit_options options = digits::options_of(s, run, common::seed_of(run));
    auto steps = preheat::start_run(method, net, batches, options);
    energy result;
    result.at_start = common::share_in_rows(digits::be, steps, full);
    while (!steps.done()) {
      steps.step();
    }
    result.at_end = common::share_in_rows(digits::be, steps, full);
    return result;
  });
}

double best_energy(const digits::base_model& base, const digits::base_model& fully_tuned) {
  const full_change full = changes(base, fully_tuned);
  double sum = 0;
  for (const auto& D : full.D) {
    const auto svd = preheat::linalg::truncated_svd<digits::backend>(digits::be, D, main_rank);
    sum += double(digits::be.dot(svd.S, svd.S));
  }
  return sum / full.square;
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
