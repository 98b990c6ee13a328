#include "experiment.hpp"

#include <algorithm>
#include <filesystem>
#include <stdexcept>
#include <utility>

#include <fmt/format.h>

#include "../console/pool.hpp"
#include "../console/text_table.hpp"
#include "model.hpp"

namespace sentiment {
namespace {

using comparison::definitions;
using comparison::grid_task;
using comparison::run_record;
using comparison::run_series;

std::filesystem::path part_of(const std::string& data, const char* name) {
  const std::filesystem::path folder = std::filesystem::path(data) / name;
  if (!std::filesystem::is_directory(folder)) {
    throw std::runtime_error("there is no folder " + folder.string() +
                             "; ./run text --fetch brings the model and the sentences");
  }
  return folder;
}

}  // namespace

experiment::experiment(const options& wanted, comparison::run_log& log)
    : wanted_(wanted), log_(log) {
  const std::filesystem::path model = part_of(wanted.data, "minilm");
  const std::filesystem::path sentences = part_of(wanted.data, "sentiment");
  const auto tokenizer = preheat::io::wordpiece::read(model / "vocab.txt");
  for (const set_description* const s : wanted.sets) {
    sets_.emplace(s->name, read_set(*s, sentences, tokenizer, wanted.amount.sizes));
  }
  model_ = read_model(model);

  std::vector<std::string> fingerprints(wanted.methods.size());
  console::run_jobs(wanted.threads, wanted.methods.size(), [&](std::size_t i) {
    fingerprints[i] = fingerprint(wanted.methods[i], *model_, sets_.begin()->second);
  });

  for (const set_description* const s : wanted.sets) {
    const encoded_set& set = sets_.at(s->name);
    const std::string common = fmt::format(
        "{}; {}; sentences {:016x} split {}/{}/{} by {}; {}", model_->name(),
        to_text(wanted.training), set.checksum, set.train.size(), set.validation.size(),
        set.test.size(), split_seed, describe_backend());
    for (std::size_t i = 0; i < wanted.methods.size(); ++i) {
      const method_entry& m = wanted.methods[i];
      const std::vector<int> ranks = m.has_rank ? wanted.amount.ranks : std::vector<int>{0};
      for (const int rank : ranks) {
        groups_.push_back(
            {.on = s,
             .method = &m,
             .runs = {.common = {.shift = s->name,
                                 .method = m.id,
                                 .rank = rank,
                                 .steps = wanted.training.steps,
                                 .settings = common + "; fingerprint " + fingerprints[i]},
                      .bases = wanted.amount.seeds,
                      .seeds = 1,
                      .rates = m.has_rate ? wanted.amount.rates : std::vector<double>{0}}});
      }
    }
  }
  for (const group& g : groups_) {
    for (const double rate : g.runs.rates) {
      const std::size_t all = definitions(g.runs, rate).size();
      wanted_runs_ += all;
      kept_runs_ += all - comparison::missing(g.runs, rate, log_).size();
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

const experiment::group& experiment::group_of(const grid_task& t) const {
  return *std::find_if(groups_.begin(), groups_.end(),
                       [&](const group& g) { return &g.runs == t.of; });
}

bool experiment::time_is_up() const {
  if (wanted_.amount.minutes <= 0) {
    return false;
  }
  const std::chrono::duration<double> elapsed = clock::now() - begun_;
  return elapsed.count() + longest_run_ > 60 * wanted_.amount.minutes;
}

experiment::ending experiment::run(const set_description& set, console::progress_bar& bar) {
  std::vector<run_series*> series;
  for (group& g : groups_) {
    if (g.on == &set) {
      series.push_back(&g.runs);
    }
  }
  const auto do_all = [&](std::vector<grid_task> tasks) {
    std::stable_sort(tasks.begin(), tasks.end(), [](const grid_task& a, const grid_task& b) {
      return a.run.base < b.run.base;
    });
    const bool all_done = console::run_jobs(wanted_.threads, tasks.size(), [&](std::size_t i) {
      if (out_of_time_ || time_is_up()) {
        out_of_time_ = true;
        return;
      }
      do_run(tasks[i], bar);
    });
    return all_done && !out_of_time_;
  };
  if (run_grid(series, log_, wanted_.amount.most_added_rates, bar, do_all)) {
    return ending::completed;
  }
  return out_of_time_ && !console::stop_requested ? ending::out_of_time : ending::stopped;
}

void experiment::do_run(const grid_task& t, console::progress_bar& bar) {
  const group& g = group_of(t);
  const clock::time_point started = clock::now();
  run_record record;
  static_cast<run_definition&>(record) = t.run;
  static_cast<run_outcome&>(record) =
      g.method->run(*model_, sets_.at(g.on->name), wanted_.training, t.run);
  record.name = g.method->name;
  log_.append(record);
  const std::chrono::duration<double> took = clock::now() - started;
  longest_run_ = std::max(longest_run_.load(), took.count());
  bar.advance(note_best(g, record.validation_accuracy));
}

// The best validation accuracy of any single run of the set, for the progress line.
std::string experiment::note_best(const group& g, double accuracy) {
  const std::lock_guard lock(best_mutex_);
  auto& [best, method] = best_[g.on->name];
  if (accuracy > best) {
    best = accuracy;
    method = g.method->name;
  }
  return method.empty() ? g.on->name
                        : fmt::format("{}, best {} ({})", g.on->name, console::fixed(best, 3), method);
}

// The seeds 0 … n − 1 for which every method has a run at each rate of the first grid.
int experiment::complete_seeds(const set_description& set) const {
  int complete = wanted_.amount.seeds;
  for (const group& g : groups_) {
    if (g.on != &set) {
      continue;
    }
    const std::size_t first_rates = g.runs.rates.size() - std::size_t(g.runs.added_rates);
    for (std::size_t k = 0; k < first_rates; ++k) {
      for (const run_definition& run : comparison::missing(g.runs, g.runs.rates[k], log_)) {
        complete = std::min(complete, run.base);
      }
    }
  }
  return complete;
}

std::vector<experiment::result> experiment::results(const set_description& set, int rank) const {
  const int seeds = complete_seeds(set);
  const auto belongs = [&](const group& g) {
    return g.on == &set && (g.runs.common.rank == rank || !g.method->has_rank);
  };
  // The rates that have a run for each of these seeds.
  const auto complete_runs = [&](const group& g) {
    run_series some = g.runs;
    some.bases = seeds;
    std::erase_if(some.rates, [&](double rate) {
      return !comparison::missing(some, rate, log_).empty();
    });
    return comparison::kept(some, log_);
  };
  if (seeds == 0) {
    return {};
  }
  run_group reference;
  for (const group& g : groups_) {
    if (belongs(g) && g.method->id == reference_method) {
      reference = complete_runs(g);
    }
  }
  std::vector<result> all;
  for (const group& g : groups_) {
    if (belongs(g)) {
      const run_group runs = complete_runs(g);
      const bool is_reference = g.method->id == reference_method;
      all.push_back({.method = g.method,
                     .rank = g.runs.common.rank,
                     .runs = runs,
                     .summary = comparison::summarize(runs, is_reference ? run_group{} : reference)});
    }
  }
  return all;
}

}  // namespace sentiment
