// Batches from a data set in memory: epochs of random permutations, in which each column is used
// once per epoch and the last batch is smaller if the batch size does not divide the size of the
// set. The batch of a step is a function of (stream, step) alone; only the current epoch's
// permutation is cached.
#pragma once
#include <algorithm>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "../core/communicator.hpp"
#include "gather.hpp"
#include "mlp.hpp"

namespace preheat::nn {

template <backend Be>
class minibatches {
 public:
  // X is features × N, the target has N columns. `size` is the number of columns per batch; 0: all
  // of them, unshuffled.
  minibatches(Be& be, mat<Be> X, mat<Be> target, index_t size)
      : be_(&be), X_(std::move(X)), target_(std::move(target)), size_(size) {
    require(X_.cols() > 0, "a data set has at least one token", X_.cols(), 1);
    require(X_.cols() == target_.cols(), "one target per token", target_.cols(), X_.cols());
    require(size >= 0, "batch size >= 0", size, 0);
    linalg::require_finite(be, X_, "minibatches: X");
    linalg::require_finite(be, target_, "minibatches: target");
    order_.resize(std::size_t(X_.cols()));
  }

  index_t per_epoch() const { return size_ == 0 ? 1 : (X_.cols() + size_ - 1) / size_; }

  void load(const generator& stream, index_t step, labelled_batch<Be>& batch) {
    load_shard(stream, step, {}, batch);
  }
  // Consecutive columns of that batch, one of `part.count` equal parts. Errors: a batch, or the
  // smaller last one of an epoch, whose columns cannot be divided so.
  void load_shard(const generator& stream, index_t step, shard part, labelled_batch<Be>& batch) {
    const index_t whole = size_ == 0 ? X_.cols() : size_;
    const index_t last = X_.cols() - (per_epoch() - 1) * whole;
    require(whole % part.count == 0, "columns of a batch % processes = 0", whole, part.count);
    require(last % part.count == 0, "columns of an epoch's last batch % processes = 0", last,
            part.count);
    if (size_ == 0) {
      take_all(part, batch);
      return;
    }
    prepare_epoch(stream.fork(purpose::batch, std::uint64_t(step / per_epoch())));
    const index_t begin = step % per_epoch() * size_;
    const index_t count = std::min(size_, X_.cols() - begin) / part.count;
    const index_t first = begin + part.index * count;
    be_->resize(batch.X, X_.rows(), count);
    be_->resize(batch.target, target_.rows(), count);
    const std::span<const index_t> chosen(order_.data() + first, std::size_t(count));
    gather<Be>(*be_, X_, chosen, batch.X);
    gather<Be>(*be_, target_, chosen, batch.target);
  }

 private:
  void take_all(shard part, labelled_batch<Be>& batch) {
    const index_t count = X_.cols() / part.count;
    const index_t first = part.index * count;
    be_->resize(batch.X, X_.rows(), count);
    be_->resize(batch.target, target_.rows(), count);
    be_->copy(transpose::no, view(X_).col_range(first, count), batch.X);
    be_->copy(transpose::no, view(target_).col_range(first, count), batch.target);
  }
  void prepare_epoch(const generator& epoch) {
    if (prepared_ && epoch.key() == epoch_key_) {
      return;
    }
    std::iota(order_.begin(), order_.end(), index_t(0));
    random_shuffle(order_, epoch);
    epoch_key_ = epoch.key();
    prepared_ = true;
  }

  Be* be_;
  mat<Be> X_;
  mat<Be> target_;
  index_t size_;
  std::vector<index_t> order_;
  std::uint64_t epoch_key_ = 0;
  bool prepared_ = false;
};

}  // namespace preheat::nn
