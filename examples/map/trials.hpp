// Cells tried on problems: a group of the grid each, with its rate chosen on validation data.
#pragma once
#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "../compare/bases.hpp"
#include "../compare/grid.hpp"
#include "problems.hpp"

namespace preheat_map {

// A problem with a number of training steps, preheating included.
struct place {
  std::string problem;  // a shift's name, or "teacher " and a spectrum's
  int steps = 0;

  auto operator<=>(const place&) const = default;
};

inline constexpr std::string_view teacher_mark = "teacher ";

inline bool is_teacher(const place& p) {
  return p.problem.starts_with(teacher_mark);
}
// Of a teacher.
inline std::string spectrum_of(const place& p) {
  return p.problem.substr(teacher_mark.size());
}

struct trial_settings {
  std::vector<double> rates;
  int most_added_rates = 0;
  int threads = 1;
  std::string data;  // digits.csv; empty: look for it
};

class trials {
 public:
  // `log` must outlive it.
  trials(const trial_settings& s, comparison::run_log& log);

  // Asks for a cell's runs on this many pretrained bases, or pairs of teachers; once is enough.
  void want(const place& p, const cell& c, int bases);
  // Does what is wanted and missing. False if it was stopped before the end.
  bool run(console::progress_bar& bar);

  // At the chosen rate, one value a base. All NaN if no rate gave finite losses.
  struct outcome {
    double rate = 0;
    bool at_edge = false;
    std::vector<double> validation_loss;
    std::vector<double> test_accuracy;  // of a teacher: the share explained
  };
  // Of a cell that was wanted and run.
  outcome of(const place& p, const cell& c) const;

  // For what is measured beside the runs: the data of a shift, and its bases.
  const comparison::shift_data& data(comparison::shift s) const { return data_.at(s); }
  const comparison::pretrained_base& base(comparison::shift s, int number) {
    return bases_.of(s, data(s), number);
  }
  static comparison::training_settings training(int steps) { return {.steps = steps}; }

 private:
  comparison::run_outcome run_one(const place& p, const cell& c,
                                  const comparison::run_definition& run);

  trial_settings settings_;
  std::map<comparison::shift, comparison::shift_data> data_;
  comparison::pretrained_bases bases_;
  comparison::grid grid_;
  std::string common_;  // what all runs share, for their definitions
  std::map<std::pair<place, std::string>, std::size_t> numbers_;
  std::vector<std::size_t> wanted_;
  std::size_t announced_ = 0;  // runs that the progress bar knows of
  std::size_t announced_kept_ = 0;
};

}  // namespace preheat_map
