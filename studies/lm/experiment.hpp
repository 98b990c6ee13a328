// Which runs the comparison consists of.
#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model.hpp"
#include "options.hpp"
#include "studies/common/timed_grid.hpp"

namespace studies::lm {

using common::reference_method;

class experiment {
 public:
  // Reads the model and the texts, and takes the methods' fingerprints. `wanted` and `log` must
  // outlive it.
  experiment(const options& wanted, common::run_log& log);

  // See common::timed_grid.
  void run_with(common::grid::job_runner r) { runs_.run_with(std::move(r)); }
  std::string answer(const std::string& question) const { return runs_.answer(question); }
  std::string fit_to_time(int at_a_time) { return runs_.fit_to_time(at_a_time); }
  std::size_t wanted_runs() const { return runs_.wanted_runs(); }
  std::size_t kept_runs() const { return runs_.kept_runs(); }
  common::ending run(apps::console::progress_bar& bar);

  using result = common::method_result<method_entry>;
  std::vector<result> results(int rank) const { return runs_.results(problem, rank); }

  const base_model& model() const { return *model_; }
  const data_set& data() const { return data_; }

 private:
  static inline const std::string problem = "definitions";

  const options& wanted_;
  std::shared_ptr<const base_model> model_;
  data_set data_;
  common::timed_grid<std::string, method_entry> runs_;
};

}  // namespace studies::lm
