#include "experiment.hpp"

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
        groups_.push_back({.on = s,
                           .method = &m,
                           .rank = rank,
                           .settings = common + "; fingerprint " + fingerprints[i],
                           .rates = m.has_rate ? wanted.amount.rates : std::vector<double>{0},
                           .added_rates = 0});
      }
    }
  }
  for (const group& g : groups_) {
    for (const double rate : g.rates) {
      const std::size_t all = definitions(g, rate).size();
      wanted_runs_ += all;
      kept_runs_ += all - missing(g, rate).size();
    }
  }
}

std::vector<run_definition> experiment::definitions(const group& g, double rate) const {
  std::vector<run_definition> runs;
  const int seeds = g.method->has_rate ? wanted_.amount.seeds : 1;
  for (int base = 0; base < wanted_.amount.bases; ++base) {
    for (int seed = 0; seed < seeds; ++seed) {
      runs.push_back({.shift = std::string(name(g.on)),
                      .method = g.method->id,
                      .rank = g.rank,
                      .rate = rate,
                      .base = base,
                      .seed = seed,
                      .steps = g.method->has_rate ? wanted_.training.steps : 0,
                      .settings = g.settings});
    }
  }
  return runs;
}

std::vector<experiment::task> experiment::missing(const group& g, double rate) const {
  std::vector<task> tasks;
  for (run_definition& run : definitions(g, rate)) {
    if (log_.find(run) == nullptr) {
      tasks.push_back({&g, std::move(run)});
    }
  }
  return tasks;
}

run_group experiment::kept(const group& g) const {
  run_group runs;
  for (const double rate : g.rates) {
    for (const run_definition& run : definitions(g, rate)) {
      const run_record* const record = log_.find(run);
      if (record != nullptr) {
        runs.push_back(record);
      }
    }
  }
  return runs;
}

bool experiment::run(shift s, progress_bar& bar) {
  std::vector<task> tasks;
  const auto want = [&](const group& g, double rate) {
    for (task& t : missing(g, rate)) {
      tasks.push_back(std::move(t));
    }
  };
  for (const group& g : groups_) {
    if (g.on == s) {
      for (const double rate : g.rates) {
        want(g, rate);
      }
    }
  }
  while (true) {
    const bool all_done =
        pretrain_bases(tasks) &&
        run_jobs(wanted_.threads, tasks.size(), [&](std::size_t i) { do_run(tasks[i], bar); });
    if (!all_done) {
      return false;
    }
    tasks.clear();
    bool grown = false;
    for (group& g : groups_) {
      if (g.on != s) {
        continue;
      }
      const auto rate = rate_to_add(kept(g), g.added_rates, wanted_.amount.most_added_rates);
      if (rate) {
        g.rates.push_back(*rate);
        ++g.added_rates;
        grown = true;
        const std::size_t before = tasks.size();
        want(g, *rate);
        const std::size_t all = definitions(g, *rate).size();
        bar.grow(all, all - (tasks.size() - before));
      }
    }
    if (!grown) {
      return true;
    }
  }
}

// The bases that tasks need and that are not there yet. Returns false if it was stopped.
bool experiment::pretrain_bases(const std::vector<task>& tasks) {
  struct missing_base {
    base_key key;
    shift of;
    std::shared_ptr<const pretrained_base> made;
  };
  std::vector<missing_base> needed;
  std::set<base_key> seen;
  for (const task& t : tasks) {
    const base_key key = base_of(t.of->on, t.run.base);
    if (!bases_.contains(key) && seen.insert(key).second) {
      needed.push_back({key, t.of->on, nullptr});
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

void experiment::do_run(const task& t, progress_bar& bar) {
  const group& g = *t.of;
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
    return g.on == s && (g.rank == rank || !g.method->has_rank);
  };
  run_group reference;
  for (const group& g : groups_) {
    if (belongs(g) && g.method->id == reference_method) {
      reference = kept(g);
    }
  }
  std::vector<result> all;
  for (const group& g : groups_) {
    if (belongs(g)) {
      const run_group runs = kept(g);
      const bool is_reference = g.method->id == reference_method;
      all.push_back({.method = g.method,
                     .rank = g.rank,
                     .runs = runs,
                     .summary = summarize(runs, is_reference ? run_group{} : reference)});
    }
  }
  return all;
}

}  // namespace comparison
