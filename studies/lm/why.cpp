#include "why.hpp"

#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>

#include "studies/common/outcome.hpp"

namespace studies::lm {

static std::shared_ptr<const full_change> train_fully(const base_model& model, const data_set& set,
                                                      const training_settings& s,
                                                      const run_definition& run) {
  network after = model.start();
  definition_batches<backend> batches(set.train, s.batch);
  batches.make_equally_long(computes_on_gpu);
  preheat::fit_options options = common::options_of(s, run, common::same_rank);
  options.max_gradient_norm = s.most_gradient;
  const auto report = preheat::fit(preheat::full_fine_tuning{.optim = {.lr = why_full_rate}}, after,
                                   batches, options);
  if (report.status != preheat::fit_status::completed) {
    throw std::runtime_error("--why: full fine-tuning ended with: " +
                             std::string(preheat::to_string(report.status)));
  }
  preheat::merge(after, report);
  network before = model.start();
  return std::make_shared<full_change>(common::change_between(the_backend(), before, after));
}

std::shared_ptr<const full_change> full_change_of(const base_model& model, const data_set& set,
                                                  const training_settings& s,
                                                  const run_definition& run) {
  static std::mutex mutex;
  static std::shared_ptr<const full_change> kept;
  static std::pair<const data_set*, std::uint64_t> kept_of;
  const std::lock_guard lock(mutex);
  const std::pair<const data_set*, std::uint64_t> wanted(&set, common::seed_of(run));
  if (!kept || kept_of != wanted) {
    kept = nullptr;  // one at a time, as large as the model
    kept = train_fully(model, set, s, run);
    kept_of = wanted;
  }
  return kept;
}

}  // namespace studies::lm
