// Cells tried on problems: a group of the grid each, with its rate chosen on validation data.
#pragma once
#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "problems.hpp"
#include "studies/common/grid.hpp"
#include "studies/digits/base_models.hpp"

namespace studies::map {

// A problem with a number of training steps, preheating included.
struct setup {
  std::string problem;  // a shift's name, or "teacher " and a spectrum's
  int steps = 0;

  auto operator<=>(const setup&) const = default;
};

inline constexpr std::string_view teacher_mark = "teacher ";

inline bool is_teacher(const setup& p) {
  return p.problem.starts_with(teacher_mark);
}
// Of a teacher.
inline std::string spectrum_of(const setup& p) {
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
  trials(const trial_settings& s, common::run_log& log);

  // Asks for the runs of a start on this many pretrained bases, or pairs of teachers; once is enough.
  void want(const setup& p, const start_config& c, int bases);
  // Does what is wanted and missing. False if it was stopped before the end.
  bool run(apps::console::progress_bar& bar);

  // At the chosen rate, one value per base. All NaN if no rate gave finite losses.
  struct outcome {
    double rate = 0;
    bool at_edge = false;
    std::vector<double> validation_loss;
    std::vector<double> test_accuracy;  // of a teacher: the share explained
  };
  // Of a start that was wanted and run.
  outcome of(const setup& p, const start_config& c) const;

  // For what is measured beside the runs: the data of a shift, and its bases.
  const digits::shift_data& data(digits::shift s) const { return data_.at(s); }
  const digits::base_model& base(digits::shift s, int number) {
    return base_models_.of(s, data(s), number);
  }
  static digits::training_settings training(int steps) { return {.steps = steps}; }

 private:
  common::run_outcome run_one(const setup& p, const start_config& c,
                              const common::run_definition& run);

  trial_settings settings_;
  std::map<digits::shift, digits::shift_data> data_;
  digits::base_models base_models_;
  common::grid grid_;
  std::string common_;  // what all runs share, for their definitions
  std::map<std::pair<setup, std::string>, std::size_t> numbers_;
  std::vector<std::size_t> wanted_;
  std::size_t announced_ = 0;  // runs that the progress bar knows of
  std::size_t announced_kept_ = 0;
};

}  // namespace studies::map
