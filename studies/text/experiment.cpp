#include "experiment.hpp"

#include <algorithm>
#include <filesystem>
#include <stdexcept>
#include <utility>

#include <fmt/format.h>

#include "apps/console/pool.hpp"
#include "apps/console/text_table.hpp"
#include "model.hpp"

namespace studies::text {
namespace {

std::filesystem::path part_of(const std::string& data, const char* name) {
  const std::filesystem::path folder = std::filesystem::path(data) / name;
  if (!std::filesystem::is_directory(folder)) {
    throw std::runtime_error("there is no folder " + folder.string() +
                             "; ./run text --fetch brings the model and the sentences");
  }
  return folder;
}

}  // namespace

experiment::experiment(const options& wanted, common::run_log& log)
    : wanted_(wanted),
      runs_(log, wanted.threads, wanted.amount.most_added_rates, wanted.amount.seeds,
            wanted.amount.minutes) {
  use_one_blas_thread();  // runs go in parallel
  const std::filesystem::path model = part_of(wanted.data, "minilm");
  const std::filesystem::path sentences = part_of(wanted.data, "sentiment");
  const auto tokenizer = preheat::text::wordpiece::read(model / "vocab.txt");
  for (const set_description* const s : wanted.sets) {
    sets_.emplace(s->name, read_set(*s, sentences, tokenizer, wanted.amount.sizes));
  }
  model_ = read_model(model);

  std::vector<std::string> fingerprints(wanted.methods.size());
  apps::console::run_jobs(wanted.threads, wanted.methods.size(), [&](std::size_t i) {
    fingerprints[i] = fingerprint(wanted.methods[i], *model_, sets_.begin()->second);
  });

  for (const set_description* const s : wanted.sets) {
    const encoded_set& set = sets_.at(s->name);
    const std::string common =
        fmt::format("{}; {}; sentences {:016x} split {}/{}/{} by {}; {}", model_->name(),
                    to_text(wanted.training), set.checksum, set.train.size(), set.validation.size(),
                    set.test.size(), split_seed, describe_backend());
    for (std::size_t i = 0; i < wanted.methods.size(); ++i) {
      const method_entry& m = wanted.methods[i];
      const std::vector<int> ranks = m.has_rank ? wanted.amount.ranks : std::vector<int>{0};
      for (const int rank : ranks) {
        runs_.add(s, m, rank,
                  {.problem = s->name,
                   .method = m.id,
                   .name = m.name,
                   .rank = rank,
                   .steps = wanted.training.steps,
                   .settings = common + "; fingerprint " + fingerprints[i],
                   .rates = m.has_rate ? wanted.amount.rates : std::vector<double>{0},
                   .bases = wanted.amount.seeds,
                   .run = [this, &m, &set](const run_definition& run) {
                     return m.run(*model_, set, wanted_.training, run);
                   }});
      }
    }
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
