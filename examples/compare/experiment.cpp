#include "experiment.hpp"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "../console/pool.hpp"
#include "table.hpp"

namespace comparison {

experiment::experiment(const options& wanted, run_log& log) : wanted_(wanted), log_(log) {
  const samples digits = read_digits(find_digits(wanted.data));
  const split parts = stratified_split(digits.y);
  for (const shift s : wanted.shifts) {
    data_.emplace(s, make_shift(digits, s, parts));
  }

  std::vector<std::string> fingerprints(wanted.methods.size());
  run_jobs(wanted.threads, wanted.methods.size(), [&](std::size_t i) {
    fingerprints[i] = fingerprint(wanted.methods[i], data_.begin()->second);
  });
  const std::string common =
      fmt::format("{}; digits {:016x} split {}/{}/{} by {}; {}", to_text(wanted.training),
                  checksum(digits), parts.train.size(), parts.validation.size(), parts.test.size(),
                  split_seed, describe_backend());

  for (const shift s : wanted.shifts) {
    for (std::size_t i = 0; i < wanted.methods.size(); ++i) {
      const method_entry& m = wanted.methods[i];
      const std::vector<int> ranks = m.has_rank ? wanted.ranks : std::vector<int>{0};
      for (const int rank : ranks) {
        groups_.push_back(
            {.on = s,
             .method = &m,
             .runs = {.common = {.shift = std::string(name(s)),
                                 .method = m.id,
                                 .rank = rank,
                                 .steps = m.has_rate ? wanted.training.steps : 0,
                                 .settings = common + "; fingerprint " + fingerprints[i]},
                      .bases = wanted.amount.bases,
                      .seeds = m.has_rate ? wanted.amount.seeds : 1,
                      .rates = m.has_rate ? wanted.amount.rates : std::vector<double>{0}}});
      }
    }
  }
  for (const group& g : groups_) {
    for (const double rate : g.runs.rates) {
      const std::size_t all = definitions(g.runs, rate).size();
      wanted_runs_ += all;
      kept_runs_ += all - missing(g.runs, rate, log_).size();
    }
  }
}

const experiment::group& experiment::group_of(const grid_task& t) const {
  return *std::find_if(groups_.begin(), groups_.end(),
                       [&](const group& g) { return &g.runs == t.of; });
}

bool experiment::run(shift s, progress_bar& bar) {
  std::vector<run_series*> series;
  for (group& g : groups_) {
    if (g.on == s) {
      series.push_back(&g.runs);
    }
  }
  return run_grid(
      series, log_, wanted_.amount.most_added_rates, bar, [&](const std::vector<grid_task>& tasks) {
        return pretrain_bases(tasks) && run_jobs(wanted_.threads, tasks.size(),
                                                 [&](std::size_t i) { do_run(tasks[i], bar); });
      });
}

// The bases that tasks need and that are not there yet. Returns false if it was stopped.
bool experiment::pretrain_bases(const std::vector<grid_task>& tasks) {
  struct missing_base {
    base_key key;
    shift of;
    std::shared_ptr<const pretrained_base> made;
  };
  std::vector<missing_base> needed;
  std::set<base_key> seen;
  for (const grid_task& t : tasks) {
    const shift on = group_of(t).on;
    const base_key key = base_of(on, t.run.base);
    if (!bases_.contains(key) && seen.insert(key).second) {
      needed.push_back({key, on, nullptr});
    }
  }
  const bool all_done = run_jobs(wanted_.threads, needed.size(), [&](std::size_t i) {
    missing_base& b = needed[i];
    b.made = pretrain(data_.at(b.of).pretrain, b.key.second, wanted_.training);
  });
  for (const missing_base& b : needed) {
    if (b.made) {
      bases_.emplace(b.key, b.made);
    }
  }
  return all_done;
}

void experiment::do_run(const grid_task& t, progress_bar& bar) {
  const group& g = group_of(t);
  const pretrained_base& base = *bases_.at(base_of(g.on, t.run.base));
  run_record record;
  static_cast<run_definition&>(record) = t.run;
  static_cast<run_outcome&>(record) = g.method->run(base, data_.at(g.on), wanted_.training, t.run);
  record.name = g.method->name;
  log_.append(record);
  bar.advance(note_best(g, record.validation_accuracy));
}

// The best validation accuracy of any single low-rank run of the shift, for the progress line.
std::string experiment::note_best(const group& g, double accuracy) {
  const std::lock_guard lock(best_mutex_);
  auto& [best, method] = best_[g.on];
  if (g.method->has_rank && accuracy > best) {
    best = accuracy;
    method = g.method->name;
  }
  return method.empty() ? std::string(name(g.on))
                        : fmt::format("{}, best {} ({})", name(g.on), fixed(best, 3), method);
}

std::vector<experiment::result> experiment::results(shift s, int rank) const {
  const auto belongs = [&](const group& g) {
    return g.on == s && (g.runs.common.rank == rank || !g.method->has_rank);
  };
  run_group reference;
  for (const group& g : groups_) {
    if (belongs(g) && g.method->id == reference_method) {
      reference = kept(g.runs, log_);
    }
  }
  std::vector<result> all;
  for (const group& g : groups_) {
    if (belongs(g)) {
      const run_group runs = kept(g.runs, log_);
      const bool is_reference = g.method->id == reference_method;
      all.push_back({.method = g.method,
                     .rank = g.runs.common.rank,
                     .runs = runs,
                     .summary = summarize(runs, is_reference ? run_group{} : reference)});
    }
  }
  return all;
}

}  // namespace comparison
