#include "experiment.hpp"

#include <filesystem>

#include <fmt/format.h>

#include "apps/console/text_table.hpp"
#include "backend.hpp"
#include "quotations.hpp"
#include "studies/common/comparison_setup.hpp"

namespace studies::lm {

experiment::experiment(const options& wanted, common::run_log& log)
    : timed_experiment(wanted, log), wanted_(wanted) {
  use_one_blas_thread();  // runs go in parallel
  const auto part = [&](const char* name) {
    return common::part_of(wanted.data, name,
                           "./run lm --fetch brings the model and the texts" +
                               std::string(wanted.taught == &tasks.front()
                                               ? ""
                                               : fmt::format(", and ./run lm --task {} --fetch "
                                                             "what this task needs",
                                                             wanted.taught->name)));
  };
  const std::filesystem::path file = part("model.gguf");
  part(wanted.taught->file);
  const std::filesystem::path quotations = part("literature");
  model_ = read_model(file);
  data_ = make_data(model_->words(), wanted.taught->read(wanted.data), read_quotations(quotations),
                    wanted.amount.sizes);
  const std::string problem = wanted.taught->problem;
  const auto prints =
      common::fingerprints(wanted.threads, wanted.methods, [&](const method_entry& m) {
        return wanted.fingerprints ? fingerprint(m, *model_, data_) : std::string("not taken");
      });
  const std::string settings = fmt::format(
      "{}; {}; texts {:016x} split {}/{}/{}/{} by {}; {}", model_->name(), to_text(wanted.training),
      data_.checksum, data_.train.size(), data_.validation.size(), data_.test.size(),
      data_.drift.size(), split_seed, describe_backend());
  common::add_groups(runs_, problem, wanted.methods, prints, wanted.amount,
                     {.problem = problem, .steps = wanted.training.steps, .settings = settings},
                     [this](const method_entry& m, const run_definition& run) {
                       return m.run(*model_, data_, wanted_.training, run);
                     });
}

common::ending experiment::run(apps::console::progress_bar& bar) {
  return runs_.run(wanted_.taught->problem, bar,
                   [](const common::grid_group& g, const common::run_record& r) {
                     return fmt::format("{}, rate {}: validation loss {}", g.name,
                                        apps::console::to_text(r.rate),
                                        apps::console::fixed(r.validation_loss, 3));
                   });
}

}  // namespace studies::lm
