// Which runs the comparison consists of, and the doing of them, one shift at a time.
#pragma once
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "apps/console/progress.hpp"
#include "methods.hpp"
#include "options.hpp"
#include "studies/common/comparison.hpp"
#include "studies/common/grid.hpp"
#include "studies/common/results.hpp"
#include "studies/common/selection.hpp"
#include "studies/digits/base_models.hpp"
#include "studies/digits/digits.hpp"

namespace studies::compare {

class experiment {
 public:
  // Nothing is trained yet but for the methods' fingerprints. `wanted` and `log` must outlive it.
  experiment(const options& wanted, run_log& log);

  // Runs that are wanted, as far as known now, and how many of them are kept from before.
  std::size_t wanted_runs() const { return grid_.wanted_runs(); }
  std::size_t kept_runs() const { return grid_.kept_runs(); }

  // For several processes: see grid.
  void run_with(grid::job_runner r) { grid_.run_with(std::move(r)); }
  std::string answer(const std::string& question) const { return grid_.answer(question); }

  // Does what is missing of one shift. Returns false if it was stopped before the end.
  bool run(shift s, progress_bar& bar);

  using result = common::method_result<method_entry>;
  // Of the methods with this rank or none, in the order of the list. After run(s).
  std::vector<result> results(shift s, int rank) const;

 private:
  using member = common::compared_group<shift, method_entry>;

  std::map<shift, shift_data> data_;
  base_models base_models_;
  grid grid_;
  std::vector<member> members_;

  common::best_accuracies best_;
};

}  // namespace studies::compare
