#include "workshop.hpp"

#include <algorithm>
#include <stdexcept>

#include <fmt/format.h>

namespace comparison {

workshop::workshop(const options& wanted) : wanted_(wanted) {
  const samples digits = read_digits(find_digits(wanted.data));
  const split parts = stratified_split(digits.y);
  for (const shift s : wanted.shifts) {
    data_.emplace(s, make_shift(digits, s, parts));
  }
  data_text_ =
      fmt::format("digits {:016x} split {}/{}/{} by {}", checksum(digits), parts.train.size(),
                  parts.validation.size(), parts.test.size(), split_seed);
}

std::string workshop::settings_of(const method_entry& m) const {
  return fmt::format("{}; {}; {}; fingerprint {}", to_text(wanted_.training), data_text_,
                     describe_backend(), fingerprint(m, data_.begin()->second));
}

workshop::base workshop::make_base(shift s, int seed) const {
  return pretrain(data_.at(s).pretrain, seed, wanted_.training);
}

run_record workshop::do_run(const method_entry& m, shift s, const run_definition& run) const {
  const pretrained_base& start = *bases_.at(key_of(s, run.base));
  run_record record;
  static_cast<run_definition&>(record) = run;
  static_cast<run_outcome&>(record) = m.run(start, data_.at(s), wanted_.training, run);
  record.name = m.name;
  return record;
}

std::string workshop::question(const run_definition& run) {
  run_record record;
  static_cast<run_definition&>(record) = run;
  return to_line(record);
}

std::string workshop::answer(const std::string& question) {
  const run_definition run = from_line(question);
  const method_entry& m = method_of(run);
  const shift s = shift_of(run);
  auto [settings, is_new] = settings_.try_emplace(m.id);
  if (is_new) {
    settings->second = settings_of(m);
  }
  if (settings->second != run.settings) {
    throw std::runtime_error(
        fmt::format("{} gives other numbers here than in process 0: use machines of one kind "
                    "(here: {}; there: {})",
                    m.name, settings->second, run.settings));
  }
  if (const base_key key = key_of(s, run.base); !has_base(key)) {
    keep_base(key, make_base(s, run.base));
  }
  return to_line(do_run(m, s, run));
}

const method_entry& workshop::method_of(const run_definition& run) const {
  return *std::find_if(wanted_.methods.begin(), wanted_.methods.end(),
                       [&](const method_entry& m) { return m.id == run.method; });
}

shift workshop::shift_of(const run_definition& run) const {
  return *std::find_if(wanted_.shifts.begin(), wanted_.shifts.end(),
                       [&](shift s) { return name(s) == run.shift; });
}

}  // namespace comparison
