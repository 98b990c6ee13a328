// Which runs the comparison consists of, and the doing of them: one set at a time, all its runs
// spread over the threads, seed by seed, then the grids of learning rates that turned out too narrow
// grow by a rate, until none does.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "apps/console/progress.hpp"
#include "options.hpp"
#include "studies/common/comparison.hpp"
#include "studies/common/timed_grid.hpp"

namespace studies::text {

using common::summary_row;

using common::reference_method;

class experiment : public common::timed_experiment<const set_description*, method_entry> {
 public:
  // Reads the model and the sentences, and takes the methods' fingerprints. `wanted` and `log` must
  // outlive it.
  experiment(const options& wanted, common::run_log& log);

  const std::map<std::string, encoded_set>& sets() const { return sets_; }
  const std::string& model_name() const;
  // Numbers of the head, which every method trains alike.
  long head_parameters() const;

  using ending = common::ending;

  // Does what is missing of one set.
  ending run(const set_description& set, apps::console::progress_bar& bar) {
    return runs_.run(&set, bar, [&](const common::grid_group&, const common::run_record& r) {
      return best_.note(set.name, r.name, r.validation_accuracy);
    });
  }

  // See common::timed_grid.
  std::vector<result> results(const set_description& set, int rank) const {
    return runs_.results(&set, rank);
  }

 private:
  const options& wanted_;
  std::shared_ptr<const base_model> model_;
  std::map<std::string, encoded_set> sets_;  // by name
  common::best_accuracies best_;
};

}  // namespace studies::text
