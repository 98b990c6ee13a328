#include "experiment.hpp"

#include <set>

#include <fmt/format.h>

#include "../console/pool.hpp"
#include "table.hpp"

namespace comparison {

experiment::experiment(const options& wanted, run_log& log)
    : wanted_(wanted), log_(log), workshop_(wanted) {
  std::vector<std::string> settings(wanted.methods.size());
  run_jobs(wanted.threads, wanted.methods.size(),
           [&](std::size_t i) { settings[i] = workshop_.settings_of(wanted.methods[i]); });

  for (const shift s : wanted.shifts) {
    for (std::size_t i = 0; i < wanted.methods.size(); ++i) {
      const method_entry& m = wanted.methods[i];
      const std::vector<int> ranks = m.has_rank ? wanted.ranks : std::vector<int>{0};
      for (const int rank : ranks) {
        groups_.push_back({.on = s,
                           .method = &m,
                           .rank = rank,
                           .settings = settings[i],
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
    if (!do_all(tasks, bar)) {
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

// Returns false if it was stopped.
bool experiment::do_all(const std::vector<task>& tasks, progress_bar& bar) {
  if (spread_) {
    const auto question = [&](std::size_t i) { return workshop::question(tasks[i].run); };
    const auto take = [&](std::size_t i, const std::string& line) {
      keep(*tasks[i].of, from_line(line), bar);
    };
    return spread_(tasks.size(), question, take);
  }
  return pretrain_bases(tasks) && run_jobs(wanted_.threads, tasks.size(), [&](std::size_t i) {
           const group& g = *tasks[i].of;
           keep(g, workshop_.do_run(*g.method, g.on, tasks[i].run), bar);
         });
}

// The bases that tasks need and that are not there yet. Returns false if it was stopped.
bool experiment::pretrain_bases(const std::vector<task>& tasks) {
  struct missing_base {
    workshop::base_key key;
    shift of;
    workshop::base made;
  };
  std::vector<missing_base> needed;
  std::set<workshop::base_key> seen;
  for (const task& t : tasks) {
    const workshop::base_key key = workshop::key_of(t.of->on, t.run.base);
    if (!workshop_.has_base(key) && seen.insert(key).second) {
      needed.push_back({key, t.of->on, nullptr});
    }
  }
  const bool all_done = run_jobs(wanted_.threads, needed.size(), [&](std::size_t i) {
    missing_base& b = needed[i];
    b.made = workshop_.make_base(b.of, b.key.second);
  });
  for (const missing_base& b : needed) {
    if (b.made) {
      workshop_.keep_base(b.key, b.made);
    }
  }
  return all_done;
}

void experiment::keep(const group& g, const run_record& record, progress_bar& bar) {
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
