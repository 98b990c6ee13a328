// Pretrained classifiers, each made when the first run asks for it.
#pragma once
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "classifier.hpp"

namespace studies::digits {

class base_models {
 public:
  explicit base_models(training_settings s) : settings_(s) {}

  // The base of a shift's runs; a call that comes while it is being made waits. Threads may share this.
  const base_model& of(shift s, const shift_data& data, int seed) {
    entry* found;
    {
      const std::lock_guard lock(mutex_);
      found = &entries_[key_of(s, seed)];
    }
    std::call_once(found->once, [&] { found->base = pretrain(data.pretrain, seed, settings_); });
    return *found->base;
  }

 private:
  struct entry {
    std::once_flag once;
    std::shared_ptr<const base_model> base;
  };
  // Shifts that pretrain on the same digits share their bases.
  using key = std::pair<bool, int>;  // pretrained on five classes only; seed
  static key key_of(shift s, int seed) { return {s == shift::new_classes, seed}; }

  training_settings settings_;
  std::mutex mutex_;
  std::map<key, entry> entries_;  // a node never moves
};

}  // namespace studies::digits
