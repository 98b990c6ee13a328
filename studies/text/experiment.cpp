#include "experiment.hpp"

#include <filesystem>

#include <fmt/format.h>

#include "model.hpp"
#include "studies/common/comparison_setup.hpp"

namespace studies::text {

experiment::experiment(const options& wanted, common::run_log& log)
    : timed_experiment(wanted, log), wanted_(wanted) {
  use_one_blas_thread();  // runs go in parallel
  const auto part = [&](const char* name) {
    return common::part_of(wanted.data, name,
                           "./run text --fetch brings the model and the sentences");
  };
  const std::filesystem::path model = part("minilm");
  const std::filesystem::path sentences = part("sentiment");
  const auto tokenizer = preheat::text::wordpiece::read(model / "vocab.txt");
  for (const set_description* const s : wanted.sets) {
    sets_.emplace(s->name, read_set(*s, sentences, tokenizer, wanted.amount.sizes));
  }
  model_ = read_model(model);
  const auto prints = common::fingerprints(
      wanted.threads, wanted.methods,
      [&](const method_entry& m) { return fingerprint(m, *model_, sets_.begin()->second); });
  for (const set_description* const s : wanted.sets) {
    const encoded_set& set = sets_.at(s->name);
    const std::string settings =
        fmt::format("{}; {}; sentences {:016x} split {}/{}/{} by {}; {}", model_->name(),
                    to_text(wanted.training), set.checksum, set.train.size(), set.validation.size(),
                    set.test.size(), split_seed, describe_backend());
    common::add_groups(runs_, s, wanted.methods, prints, wanted.amount,
                       {.problem = s->name, .steps = wanted.training.steps, .settings = settings},
                       [this, &set](const method_entry& m, const run_definition& run) {
                         return m.run(*model_, set, wanted_.training, run);
                       });
  }
}

const std::string& experiment::model_name() const {
  return model_->name();
}

long experiment::head_parameters() const {
  network net = model_->start(0);
  const auto& head = net.head().parameters;
  return long(head.W.rows() * head.W.cols() + head.b.rows());
}

}  // namespace studies::text
