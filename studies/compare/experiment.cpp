#include "experiment.hpp"

#include <fmt/format.h>

#include "apps/console/pool.hpp"
#include "studies/common/table.hpp"

namespace studies::compare {

experiment::experiment(const options& wanted, run_log& log)
    : base_models_(wanted.training), grid_(log, wanted.threads, wanted.amount.most_added_rates) {
  use_one_blas_thread();  // runs go in parallel
  const samples digits = read_digits(find_digits(wanted.data));
  const split parts = stratified_split(digits.y);
  for (const shift s : wanted.shifts) {
    data_.emplace(s, make_shift(digits, s, parts));
  }

  std::vector<std::string> fingerprints(wanted.methods.size());
  run_jobs(wanted.threads, wanted.methods.size(), [&](std::size_t i) {
    fingerprints[i] = fingerprint(wanted.methods[i].run, data_.begin()->second);
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
                         return m.run(base_models_.of(s, data, run.base), data, training, run);
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
    const method_entry& m = *methods.at(&g);
    return best_.note(std::string(name(s)), m.name, r.validation_accuracy, m.has_rank);
  });
}

std::vector<experiment::result> experiment::results(shift s, int rank) const {
  return results_of(members_, s, rank, [&](const member& m) { return grid_.runs(m.number); });
}

}  // namespace studies::compare
