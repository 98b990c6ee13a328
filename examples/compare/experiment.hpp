// Which runs the comparison consists of, and the doing of them, one shift at a time.
#pragma once
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "../console/progress.hpp"
#include "bases.hpp"
#include "digits.hpp"
#include "grid.hpp"
#include "methods.hpp"
#include "options.hpp"
#include "results.hpp"
#include "selection.hpp"

namespace comparison {

// The method that the others' gains are counted from.
inline constexpr const char* reference_method = "lora";

class experiment {
 public:
  // Nothing is trained yet but for the methods' fingerprints. `wanted` and `log` must outlive it.
  experiment(const options& wanted, run_log& log);

  // Runs that are wanted, as far as known now, and how many of them are kept from before.
  std::size_t wanted_runs() const { return grid_.wanted_runs(); }
  std::size_t kept_runs() const { return grid_.kept_runs(); }

  // Does what is missing of one shift. Returns false if it was stopped before the end.
  bool run(shift s, progress_bar& bar);

  // A method's runs on a shift. Rank 0: the method has none.
  struct result {
    const method_entry* method;
    int rank;
    run_group runs;
    summary_row summary;
  };
  // Of the methods with this rank or none, in the order of the list. After run(s).
  std::vector<result> results(shift s, int rank) const;

 private:
  // All runs of one method at one rank on one shift: a group of the grid.
  struct member {
    shift on;
    const method_entry* method;
    int rank;
    std::size_t number;
  };

  std::string note_best(shift s, const method_entry& m, double accuracy);

  std::map<shift, shift_data> data_;
  pretrained_bases bases_;
  grid grid_;
  std::vector<member> members_;

  std::mutex best_mutex_;
  std::map<shift, std::pair<double, std::string>> best_;  // validation accuracy, method
};

}  // namespace comparison
