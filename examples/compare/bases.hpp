// Pretrained classifiers, each made when the first run asks for it.
#pragma once
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "digits.hpp"
#include "methods.hpp"

namespace comparison {

class pretrained_bases {
 public:
  explicit pretrained_bases(training_settings s) : settings_(s) {}

  // The base of a shift's runs; whoever asks while it is being made waits. Threads may share this.
  const pretrained_base& of(shift s, const shift_data& data, int seed) {
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
    std::shared_ptr<const pretrained_base> base;
  };
  // Shifts that pretrain on the same digits share their bases.
  using key = std::pair<bool, int>;  // pretrained on five classes only; seed
  static key key_of(shift s, int seed) { return {s == shift::new_classes, seed}; }

  training_settings settings_;
  std::mutex mutex_;
  std::map<key, entry> entries_;  // a node never moves
};

}  // namespace comparison
