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
    : wanted_(wanted), grid_(log, wanted.threads, wanted.amount.most_added_rates) {
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
        const std::size_t number = grid_.add(
            {.problem = s->name,
             .method = m.id,
             .name = m.name,
             .rank = rank,
             .steps = wanted.training.steps,
             .settings = common + "; fingerprint " + fingerprints[i],
             .rates = m.has_rate ? wanted.amount.rates : std::vector<double>{0},
             .bases = wanted.amount.seeds,
             .run = [this, &m, &set](const run_definition& run) { return timed(m, set, run); }});
        members_.push_back({s, &m, rank, number});
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

// Remembers how long a run takes by the clock on the wall.
run_outcome experiment::timed(const method_entry& m, const encoded_set& set,
                              const run_definition& run) {
  const clock::time_point started = clock::now();
  run_outcome outcome = m.run(*model_, set, wanted_.training, run);
  const std::chrono::duration<double> took = clock::now() - started;
  longest_run_ = std::max(longest_run_.load(), took.count());
  return outcome;
}

bool experiment::may_begin() {
  const std::chrono::duration<double> elapsed = clock::now() - begun_;
  const double minutes = wanted_.amount.minutes;
  if (minutes > 0 && elapsed.count() + longest_run_ > 60 * minutes) {
    out_of_time_ = true;
  }
  return !out_of_time_;
}

std::vector<std::size_t> experiment::numbers_of(const set_description& set) const {
  std::vector<std::size_t> numbers;
  for (const member& m : members_) {
    if (m.on == &set) {
      numbers.push_back(m.number);
    }
  }
  return numbers;
}

experiment::ending experiment::run(const set_description& set, apps::console::progress_bar& bar) {
  const bool completed = grid_.run(
      numbers_of(set), bar,
      [&](const common::grid_group&, const common::run_record& r) {
        return best_.note(set.name, r.name, r.validation_accuracy);
      },
      [&] { return may_begin(); });
  if (completed) {
    return ending::completed;
  }
  return out_of_time_ && !apps::console::stop_requested ? ending::out_of_time : ending::stopped;
}

// The seeds 0 … n − 1 for which every method has a run at each rate of the first grid.
int experiment::complete_seeds(const set_description& set) const {
  const std::vector<std::size_t> numbers = numbers_of(set);
  int complete = 0;
  while (complete < wanted_.amount.seeds && grid_.complete(numbers, complete)) {
    ++complete;
  }
  return complete;
}

// The runs with these seeds at the rates that have one for each of them.
run_group experiment::complete_runs(const member& m, int seeds) const {
  run_group runs = grid_.runs(m.number);
  std::erase_if(runs, [&](const common::run_record* r) { return r->base >= seeds; });
  std::map<double, int> count;
  for (const common::run_record* const r : runs) {
    ++count[r->rate];
  }
  std::erase_if(runs, [&](const common::run_record* r) { return count.at(r->rate) < seeds; });
  return runs;
}

std::vector<experiment::result> experiment::results(const set_description& set, int rank) const {
  const int seeds = complete_seeds(set);
  if (seeds == 0) {
    return {};
  }
  return common::results_of(members_, &set, rank,
                            [&](const member& m) { return complete_runs(m, seeds); });
}

}  // namespace studies::text
