#include "trials.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace studies::map {

namespace {

digits::shift shift_of(const setup& p) {
  for (const digits::shift s : digits::all_shifts) {
    if (digits::name(s) == p.problem) {
      return s;
    }
  }
  throw std::logic_error("no such problem: " + p.problem);
}

// Changes when the library, the build or the machine gives other numbers: see
// digits::fingerprint.
std::string fingerprint(const digits::shift_data& data) {
  const start_config preheated{.rank = 4, .steps = 2};
  const auto on_digits = [&](const digits::base_model& base, const digits::shift_data& of_shift,
                             const digits::training_settings& s,
                             const common::run_definition& run) {
    return run_on_digits(preheated, base, of_shift, s, run);
  };
  common::run_definition few;
  few.rank = main_rank;
  few.rate = 0.03;
  const double teacher =
      run_on_teacher(preheated, spectra[0], trials::training(20), few).validation_loss;
  return digits::fingerprint(on_digits, data) + " " + apps::console::to_text(teacher);
}

}  // namespace

trials::trials(const trial_settings& s, common::run_log& log)
    : settings_(s), base_models_(training(0)), grid_(log, s.threads, s.most_added_rates) {
  const digits::samples digits = digits::read_digits(digits::find_digits(s.data));
  const common::split parts = digits::stratified_split(digits.y);
  for (const digits::shift shift : digits::all_shifts) {
    data_.emplace(shift, digits::make_shift(digits, shift, parts));
  }
  common_ = digits::describe_settings(training(0), digits, parts) + "; fingerprint " +
            fingerprint(data_.at(digits::shift::rotated));
}

void trials::want(const setup& p, const start_config& c, int bases) {
  const auto [it, is_new] = numbers_.try_emplace({p, id_of(c)}, grid_.size());
  if (!is_new) {
    return;
  }
  grid_.add(
      {.problem = p.problem,
       .method = id_of(c),
       .name = id_of(c),
       .rank = main_rank,
       .steps = p.steps,
       .settings = common_,
       .rates = settings_.rates,
       .bases = bases,
       .run = [this, p, c](const common::run_definition& run) { return run_one(p, c, run); }});
  wanted_.push_back(it->second);
}

common::run_outcome trials::run_one(const setup& p, const start_config& c,
                                    const common::run_definition& run) {
  if (is_teacher(p)) {
    return run_on_teacher(c, spectrum_of(p), training(p.steps), run);
  }
  const digits::shift s = shift_of(p);
  return run_on_digits(c, base(s, run.base), data(s), training(p.steps), run);
}

bool trials::run(apps::console::progress_bar& bar) {
  bar.grow(grid_.wanted_runs() - announced_, grid_.kept_runs() - announced_kept_);
  announced_ = grid_.wanted_runs();
  announced_kept_ = grid_.kept_runs();
  const bool all_done =
      grid_.run(wanted_, bar, [](const common::grid_group& g, const common::run_record&) {
        return fmt::format("{}, {} steps: {}", g.problem, g.steps, g.name);
      });
  wanted_.clear();
  return all_done;
}

trials::outcome trials::of(const setup& p, const start_config& c) const {
  const std::size_t number = numbers_.at({p, id_of(c)});
  const common::run_group runs = grid_.runs(number);
  const auto best = common::choose_rate(runs);
  if (!best) {
    const std::vector<double> none(std::size_t(grid_.group(number).bases), common::not_a_number);
    return {.validation_loss = none, .test_accuracy = none};
  }
  const auto at_best = [&](auto value) {
    return common::values_of(common::by_base(runs, best->rate, value));
  };
  return {.rate = best->rate,
          .at_edge = best->at_edge,
          .validation_loss = at_best([](const common::run_record& r) { return r.validation_loss; }),
          .test_accuracy = at_best([](const common::run_record& r) { return r.test_accuracy; })};
}

}  // namespace studies::map
