#include "trials.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace preheat_map {

namespace {

comparison::shift shift_of(const place& p) {
  for (const comparison::shift s : comparison::all_shifts) {
    if (comparison::name(s) == p.problem) {
      return s;
    }
  }
  throw std::logic_error("no such problem: " + p.problem);
}

// Changes when the library, the build or the machine gives other numbers: see
// comparison::fingerprint.
std::string fingerprint(const comparison::shift_data& data) {
  const cell preheated{.rank = 4, .steps = 2};
  const comparison::method_entry one{
      .id = {},
      .name = {},
      .citation = {},
      .run = [&](const comparison::pretrained_base& base, const comparison::shift_data& digits,
                 const comparison::training_settings& s, const comparison::run_definition& run) {
        return run_on_digits(preheated, base, digits, s, run);
      }};
  comparison::run_definition few;
  few.rank = main_rank;
  few.rate = 0.03;
  const double teacher =
      run_on_teacher(preheated, spectra[0], trials::training(20), few).validation_loss;
  return comparison::fingerprint(one, data) + " " + console::to_text(teacher);
}

}  // namespace

trials::trials(const trial_settings& s, comparison::run_log& log)
    : settings_(s), bases_(training(0)), grid_(log, s.threads, s.most_added_rates) {
  const comparison::samples digits = comparison::read_digits(comparison::find_digits(s.data));
  const comparison::split parts = comparison::stratified_split(digits.y);
  for (const comparison::shift shift : comparison::all_shifts) {
    data_.emplace(shift, comparison::make_shift(digits, shift, parts));
  }
  common_ = comparison::describe_settings(training(0), digits, parts) + "; fingerprint " +
            fingerprint(data_.at(comparison::shift::rotated));
}

void trials::want(const place& p, const cell& c, int bases) {
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
       .run = [this, p, c](const comparison::run_definition& run) { return run_one(p, c, run); }});
  wanted_.push_back(it->second);
}

comparison::run_outcome trials::run_one(const place& p, const cell& c,
                                        const comparison::run_definition& run) {
  if (is_teacher(p)) {
    return run_on_teacher(c, spectrum_of(p), training(p.steps), run);
  }
  const comparison::shift s = shift_of(p);
  return run_on_digits(c, base(s, run.base), data(s), training(p.steps), run);
}

bool trials::run(console::progress_bar& bar) {
  bar.grow(grid_.wanted_runs() - announced_, grid_.kept_runs() - announced_kept_);
  announced_ = grid_.wanted_runs();
  announced_kept_ = grid_.kept_runs();
  const bool all_done =
      grid_.run(wanted_, bar, [](const comparison::grid_group& g, const comparison::run_record&) {
        return fmt::format("{}, {} steps: {}", g.problem, g.steps, g.name);
      });
  wanted_.clear();
  return all_done;
}

trials::outcome trials::of(const place& p, const cell& c) const {
  const std::size_t number = numbers_.at({p, id_of(c)});
  const comparison::run_group runs = grid_.runs(number);
  const auto best = comparison::choose_rate(runs);
  if (!best) {
    const std::vector<double> none(std::size_t(grid_.group(number).bases),
                                   comparison::not_a_number);
    return {.validation_loss = none, .test_accuracy = none};
  }
  const auto at_best = [&](auto value) {
    return comparison::values_of(comparison::by_base(runs, best->rate, value));
  };
  return {
      .rate = best->rate,
      .at_edge = best->at_edge,
      .validation_loss = at_best([](const comparison::run_record& r) { return r.validation_loss; }),
      .test_accuracy = at_best([](const comparison::run_record& r) { return r.test_accuracy; })};
}

}  // namespace preheat_map
