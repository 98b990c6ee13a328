#include "experiment.hpp"

#include <filesystem>
#include <stdexcept>

#include <fmt/format.h>

#include "apps/console/pool.hpp"
#include "apps/console/text_table.hpp"
#include "quotations.hpp"

namespace studies::lm {
namespace {

std::filesystem::path part_of(const std::string& data, const char* name) {
  const std::filesystem::path part = std::filesystem::path(data) / name;
  if (!std::filesystem::exists(part)) {
    throw std::runtime_error("there is no " + part.string() +
                             "; ./run lm --fetch brings the model and the texts");
  }
  return part;
}

}  // namespace

experiment::experiment(const options& wanted, common::run_log& log)
    : wanted_(wanted),
      runs_(log, wanted.threads, wanted.amount.most_added_rates, wanted.amount.seeds,
            wanted.amount.minutes) {
  use_one_blas_thread();  // runs go in parallel
  const std::filesystem::path file = part_of(wanted.data, "model.gguf");
  const std::filesystem::path words = part_of(wanted.data, "wordnet");
  const std::filesystem::path quotations = part_of(wanted.data, "literature");
  model_ = read_model(file);
  data_ = make_data(model_->words(), read_definitions(words), read_quotations(quotations),
                    wanted.amount.sizes);

  std::vector<std::string> fingerprints(wanted.methods.size());
  apps::console::run_jobs(wanted.threads, wanted.methods.size(), [&](std::size_t i) {
    fingerprints[i] = fingerprint(wanted.methods[i], *model_, data_);
  });

  const std::string common = fmt::format(
      "{}; {}; texts {:016x} split {}/{}/{}/{} by {}; {}", model_->name(), to_text(wanted.training),
      data_.checksum, data_.train.size(), data_.validation.size(), data_.test.size(),
      data_.drift.size(), split_seed, describe_backend());
  for (std::size_t i = 0; i < wanted.methods.size(); ++i) {
    const method_entry& m = wanted.methods[i];
    const std::vector<int> ranks = m.has_rank ? wanted.amount.ranks : std::vector<int>{0};
    for (const int rank : ranks) {
      runs_.add(problem, m, rank,
                {.problem = problem,
                 .method = m.id,
                 .name = m.name,
                 .rank = rank,
                 .steps = wanted.training.steps,
                 .settings = common + "; fingerprint " + fingerprints[i],
                 .rates = m.has_rate ? wanted.amount.rates : std::vector<double>{0},
                 .bases = wanted.amount.seeds,
                 .run = [this, &m](const run_definition& run) {
                   return m.run(*model_, data_, wanted_.training, run);
                 }});
    }
  }
}

common::ending experiment::run(apps::console::progress_bar& bar) {
  return runs_.run(problem, bar, [](const common::grid_group& g, const common::run_record& r) {
    return fmt::format("{}, rate {}: validation loss {}", g.name, apps::console::to_text(r.rate),
                       apps::console::fixed(r.validation_loss, 3));
  });
}

}  // namespace studies::lm
