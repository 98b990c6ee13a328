// Which runs the comparison consists of, and the doing of them: one set at a time, all its runs
// spread over the threads, seed by seed, then the grids of learning rates that turned out too narrow
// grow by a rate, until none does.
#pragma once
#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "apps/console/progress.hpp"
#include "options.hpp"
#include "studies/common/comparison.hpp"
#include "studies/common/grid.hpp"

namespace studies::text {

using common::run_group;
using common::summary_row;

using common::reference_method;

class experiment {
 public:
  // Reads the model and the sentences, and takes the methods' fingerprints. `wanted` and `log` must
  // outlive it.
  experiment(const options& wanted, common::run_log& log);

  // See common::grid.
  void run_with(common::grid::job_runner r) { grid_.run_with(std::move(r)); }
  std::string answer(const std::string& question) const { return grid_.answer(question); }

  // Runs that are wanted, as far as known now, and how many of them are kept from before.
  std::size_t wanted_runs() const { return grid_.wanted_runs(); }
  std::size_t kept_runs() const { return grid_.kept_runs(); }
  const std::map<std::string, encoded_set>& sets() const { return sets_; }
  const std::string& model_name() const;
  // Numbers of the head, which every method trains alike.
  long head_parameters() const;

  enum class ending { completed, stopped, out_of_time };

  // Does what is missing of one set.
  ending run(const set_description& set, apps::console::progress_bar& bar);

  using result = common::method_result<method_entry>;
  // Of the methods with this rank or none, in the order of the list; after run(set). Seeds for which
  // some method's grid is not complete are left out, for every method. Empty if that leaves none.
  std::vector<result> results(const set_description& set, int rank) const;

 private:
  using clock = std::chrono::steady_clock;

  using member = common::compared_group<const set_description*, method_entry>;

  std::vector<std::size_t> numbers_of(const set_description& set) const;
  int complete_seeds(const set_description& set) const;
  run_group complete_runs(const member& m, int seeds) const;
  run_outcome timed(const method_entry& m, const encoded_set& set, const run_definition& run);
  bool may_begin();

  const options& wanted_;
  std::shared_ptr<const base_model> model_;
  std::map<std::string, encoded_set> sets_;  // by name
  common::grid grid_;
  std::vector<member> members_;

  clock::time_point begun_ = clock::now();
  std::atomic<double> longest_run_{0};  // seconds, of those done now
  std::atomic<bool> out_of_time_{false};

  common::best_accuracies best_;
};

}  // namespace studies::text
