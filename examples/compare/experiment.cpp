#include "experiment.hpp"

#include <fmt/format.h>

#include "../console/pool.hpp"
#include "table.hpp"

namespace comparison {

experiment::experiment(const options& wanted, run_log& log)
    : bases_(wanted.training), grid_(log, wanted.threads, wanted.amount.most_added_rates) {
  use_one_blas_thread();  // runs go in parallel
  const samples digits = read_digits(find_digits(wanted.data));
  const split parts = stratified_split(digits.y);
  for (const shift s : wanted.shifts) {
    data_.emplace(s, make_shift(digits, s, parts));
  }

  std::vector<std::string> fingerprints(wanted.methods.size());
  run_jobs(wanted.threads, wanted.methods.size(), [&](std::size_t i) {
    fingerprints[i] = fingerprint(wanted.methods[i], data_.begin()->second);
  });
  const std::string common = describe_settings(wanted.training, digits, parts);

  for (const shift s : wanted.shifts) {
    for (std::size_t i = 0; i < wanted.methods.size(); ++i) {
      const method_entry& m = wanted.methods[i];
      const std::vector<int> ranks = m.has_rank ? wanted.ranks : std::vector<int>{0};
      for (const int rank : ranks) {
        const std::size_t number =
            grid_.add({.problem = std::string(name(s)),
                       .method = m.id,
                       .name = m.name,
                       .rank = rank,
                       .steps = m.has_rate ? wanted.training.steps : 0,
                       .settings = common + "; fingerprint " + fingerprints[i],
                       .rates = m.has_rate ? wanted.amount.rates : std::vector<double>{0},
                       .bases = wanted.amount.bases,
                       .seeds = m.has_rate ? wanted.amount.seeds : 1,
                       .run = [this, s, &m, training = wanted.training](const run_definition& run) {
                         const shift_data& data = data_.at(s);
                         return m.run(bases_.of(s, data, run.base), data, training, run);
                       }});
        members_.push_back({s, &m, rank, number});
      }
    }
  }
}

bool experiment::run(shift s, progress_bar& bar) {
  std::vector<std::size_t> which;
  std::map<const grid_group*, const method_entry*> methods;
  for (const member& m : members_) {
    if (m.on == s) {
      which.push_back(m.number);
      methods[&grid_.group(m.number)] = m.method;
    }
  }
  return grid_.run(which, bar, [&](const grid_group& g, const run_record& r) {
    return note_best(s, *methods.at(&g), r.validation_accuracy);
  });
}

// The best validation accuracy of any single low-rank run of the shift, for the progress line.
std::string experiment::note_best(shift s, const method_entry& m, double accuracy) {
  const std::lock_guard lock(best_mutex_);
  auto& [best, method] = best_[s];
  if (m.has_rank && accuracy > best) {
    best = accuracy;
    method = m.name;
  }
  return method.empty() ? std::string(name(s))
                        : fmt::format("{}, best {} ({})", name(s), fixed(best, 3), method);
}

std::vector<experiment::result> experiment::results(shift s, int rank) const {
  const auto belongs = [&](const member& m) {
    return m.on == s && (m.rank == rank || !m.method->has_rank);
  };
  run_group reference;
  for (const member& m : members_) {
    if (belongs(m) && m.method->id == reference_method) {
      reference = grid_.runs(m.number);
    }
  }
  std::vector<result> all;
  for (const member& m : members_) {
    if (belongs(m)) {
      const run_group runs = grid_.runs(m.number);
      const bool is_reference = m.method->id == reference_method;
      all.push_back({.method = m.method,
                     .rank = m.rank,
                     .runs = runs,
                     .summary = summarize(runs, is_reference ? run_group{} : reference)});
    }
  }
  return all;
}

}  // namespace comparison
