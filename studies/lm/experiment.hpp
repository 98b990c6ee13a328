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

class experiment : public common::timed_experiment<std::string, method_entry> {
 public:
  // Reads the model and the texts, and takes the methods' fingerprints. `wanted` and `log` must
  // outlive it.
  experiment(const options& wanted, common::run_log& log);

  common::ending run(apps::console::progress_bar& bar);

  std::vector<result> results(int rank) const {
    return runs_.results(wanted_.taught->problem, rank);
  }

  const base_model& model() const { return *model_; }
  const data_set& data() const { return data_; }

 private:
  const options& wanted_;
  std::shared_ptr<const base_model> model_;
  data_set data_;
};

}  // namespace studies::lm
