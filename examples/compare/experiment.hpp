// Which runs the comparison consists of, and the doing of them: one shift at a time, all its runs
// spread over threads or processes, then the grids of learning rates that turned out too narrow grow by a
// rate, until none does.
#pragma once
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "../console/progress.hpp"
#include "methods.hpp"
#include "options.hpp"
#include "results.hpp"
#include "selection.hpp"
#include "workshop.hpp"

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

  // Runs are done on threads of this process, unless they are spread: s(count, question, take) is to
  // have question(i) answered (workshop::answer) in whatever process, for i = 0 … count − 1, to give
  // the answer to take(i, …), called by one thread, and to return whether it did so for all.
  using question_of = std::function<std::string(std::size_t)>;
  using take_answer = std::function<void(std::size_t, const std::string&)>;
  using spreader = std::function<bool(std::size_t, const question_of&, const take_answer&)>;
  void spread(spreader s) { spread_ = std::move(s); }

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
    int rank;
    std::string settings;
    std::vector<double> rates;
    int added_rates;
  };
  struct task {
    const group* of;
    run_definition run;
  };

  std::vector<run_definition> definitions(const group& g, double rate) const;
  std::vector<task> missing(const group& g, double rate) const;
  run_group kept(const group& g) const;
  bool do_all(const std::vector<task>& tasks, progress_bar& bar);
  bool pretrain_bases(const std::vector<task>& tasks);
  void keep(const group& g, const run_record& record, progress_bar& bar);
  std::string note_best(const group& g, double accuracy);

  const options& wanted_;
  run_log& log_;
  workshop workshop_;
  spreader spread_;
  std::vector<group> groups_;
  std::size_t wanted_runs_ = 0;
  std::size_t kept_runs_ = 0;

  std::mutex best_mutex_;
  std::map<shift, std::pair<double, std::string>> best_;  // validation accuracy, method
};

}  // namespace comparison
