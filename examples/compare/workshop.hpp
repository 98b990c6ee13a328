// What a process needs to do runs: the data of the shifts, and the networks that it has pretrained.
// The runs of an experiment are done in one workshop on several threads, or in several processes
// with a workshop each.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "digits.hpp"
#include "methods.hpp"
#include "options.hpp"
#include "results.hpp"

namespace comparison {

class workshop {
 public:
  // Bases are shared by the shifts that pretrain on the same digits.
  using base_key = std::pair<bool, int>;  // pretrained on five classes only; seed
  using base = std::shared_ptr<const pretrained_base>;
  static base_key key_of(shift s, int seed) { return {s == shift::new_classes, seed}; }

  // Reads the data. `wanted` must outlive it.
  explicit workshop(const options& wanted);

  // Everything that a method's numbers depend on beside the run itself, as text. Trains a little.
  std::string settings_of(const method_entry& m) const;

  bool has_base(base_key key) const { return bases_.contains(key); }
  base make_base(shift s, int seed) const;
  void keep_base(base_key key, base made) { bases_.emplace(key, std::move(made)); }

  // Does a run on a base that is there. Threads may share it.
  run_record do_run(const method_entry& m, shift s, const run_definition& run) const;

  // Does the run that a line asks for, the base too if it has to, and answers with the line of its
  // record. For one thread. Throws std::runtime_error if this process computes other numbers than
  // the one that asks.
  static std::string question(const run_definition& run);
  std::string answer(const std::string& question);

 private:
  const method_entry& method_of(const run_definition& run) const;
  shift shift_of(const run_definition& run) const;

  const options& wanted_;
  std::map<shift, shift_data> data_;
  std::string data_text_;
  std::map<base_key, base> bases_;
  std::map<std::string, std::string> settings_;  // of methods, by id, as far as asked for
};

}  // namespace comparison
