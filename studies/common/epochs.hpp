// Training batches: epochs of random permutations of the examples, the last batch of an epoch smaller.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include <preheat/core/error.hpp>
#include <preheat/core/random.hpp>
#include <preheat/core/types.hpp>

namespace studies::common {

// The batch of a step is a function of (stream, step) alone.
class epochs {
 public:
  epochs(std::size_t examples, preheat::index_t batch) : batch_(batch), order_(examples) {
    preheat::require(examples > 0, "at least one training example");
    preheat::require(batch >= 1, "examples in a batch >= 1", batch, 1);
  }

  preheat::index_t per_epoch() const {
    return (preheat::index_t(order_.size()) + batch_ - 1) / batch_;
  }

  // The numbers of the examples of a step; valid until the next call.
  std::span<const std::size_t> batch(const preheat::generator& stream, preheat::index_t step) {
    const preheat::generator epoch =
        stream.fork(preheat::purpose::batch, std::uint64_t(step / per_epoch()));
    if (!prepared_ || epoch.key() != epoch_key_) {
      std::iota(order_.begin(), order_.end(), std::size_t(0));
      preheat::random_shuffle(order_, epoch);
      epoch_key_ = epoch.key();
      prepared_ = true;
    }
    const preheat::index_t first = step % per_epoch() * batch_;
    const auto count = std::min(std::size_t(batch_), order_.size() - std::size_t(first));
    return std::span<const std::size_t>(order_).subspan(std::size_t(first), count);
  }

 private:
  preheat::index_t batch_;
  std::vector<std::size_t> order_;
  std::uint64_t epoch_key_ = 0;
  bool prepared_ = false;
};

}  // namespace studies::common
