// Which runs the comparison consists of, and the doing of them: one shift at a time, all its runs
// spread over the threads, then the grids of learning rates that turned out too narrow grow by a
// rate, until none does.
#pragma once
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "../console/progress.hpp"
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
  std::size_t wanted_runs() const { return wanted_runs_; }
  std::size_t kept_runs() const { return kept_runs_; }

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
  // All runs of one method at one rank on one shift.
  struct group {
    shift on;
    const method_entry* method;
    run_series runs;
  };

  const group& group_of(const grid_task& t) const;
  bool pretrain_bases(const std::vector<grid_task>& tasks);
  void do_run(const grid_task& t, progress_bar& bar);
  std::string note_best(const group& g, double accuracy);

  const options& wanted_;
  run_log& log_;
  std::map<shift, shift_data> data_;
  std::vector<group> groups_;
  std::size_t wanted_runs_ = 0;
  std::size_t kept_runs_ = 0;

  // Bases are shared by the shifts that pretrain on the same digits.
  using base_key = std::pair<bool, int>;  // pretrained on five classes only; seed
  static base_key base_of(shift s, int seed) { return {s == shift::new_classes, seed}; }
  std::map<base_key, std::shared_ptr<const pretrained_base>> bases_;

  std::mutex best_mutex_;
  std::map<shift, std::pair<double, std::string>> best_;  // validation accuracy, method
};

}  // namespace comparison
