// Training batches of a file of examples: rows of one or several examples, in an order of their own every
// epoch. A batch is a function of the stream and the step alone, so a resumed run sees the same ones.
#pragma once
#include <cstddef>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include <preheat/core/communicator.hpp>

#include "examples.hpp"
#include "network.hpp"
#include "studies/common/epochs.hpp"

namespace apps::finetune {

// Adds an example as a text of the batch.
inline void append(network::batch_type& batch, const example& e) {
  batch.ids.insert(batch.ids.end(), e.ids.begin(), e.ids.end());
  batch.labels.insert(batch.labels.end(), e.labels.begin(), e.labels.end());
  batch.lengths.push_back(index_t(e.ids.size()));
  if (e.category >= 0) {
    batch.classes.push_back(e.category);
  }
}

inline network::batch_type whole_batch(std::span<const example> examples) {
  network::batch_type batch;
  for (const example& e : examples) {
    append(batch, e);
  }
  return batch;
}

// Numbers of examples that fill rows of at most `seq` tokens, each example in the first row that has room
// for it. Without packing every example is a row. Nothing is padded and no example sees another.
inline std::vector<std::vector<std::size_t>> rows_of(std::span<const example> examples,
                                                     std::size_t seq, bool pack) {
  constexpr std::size_t open_rows = 64;  // looked through for each example
  std::vector<std::vector<std::size_t>> rows;
  std::vector<std::size_t> tokens;
  for (std::size_t i = 0; i < examples.size(); ++i) {
    const std::size_t size = examples[i].ids.size();
    std::size_t row = rows.size() > open_rows ? rows.size() - open_rows : 0;
    while (row < rows.size() && (!pack || tokens[row] + size > seq)) {
      ++row;
    }
    if (row == rows.size()) {
      rows.emplace_back();
      tokens.push_back(0);
    }
    rows[row].push_back(i);
    tokens[row] += size;
  }
  return rows;
}

// The examples must outlive it.
class batches {
 public:
  batches(std::span<const example> examples, std::vector<std::vector<std::size_t>> rows,
          index_t size)
      : examples_(examples), rows_(std::move(rows)), epochs_(rows_.size(), size) {
    for (const auto& row : rows_) {
      double counted = 0;
      for (const std::size_t i : row) {
        counted += double(examples_[i].counted());
      }
      counted_.push_back(counted);
    }
  }

  index_t per_epoch() const { return epochs_.per_epoch(); }

  void load(const preheat::generator& stream, index_t step, network::batch_type& batch) {
    load_shard(stream, step, {}, batch);
  }
  // Every `count`-th row from the `index`-th on. The mean of the parts' losses is the loss of the whole
  // batch. A batch with fewer rows than there are parts gives the others its first row, which counts nothing.
  void load_shard(const preheat::generator& stream, index_t step, preheat::shard part,
                  network::batch_type& batch) {
    const std::span<const std::size_t> chosen = epochs_.batch(stream, step);
    batch.ids.clear();
    batch.labels.clear();
    batch.lengths.clear();
    batch.classes.clear();
    for (std::size_t k = std::size_t(part.index); k < chosen.size(); k += std::size_t(part.count)) {
      append_row(batch, chosen[k]);
    }
    tokens_ += batch.tokens() * part.count;
    batch.divisor = 0;
    if (part.count > 1) {
      double counted = 0;
      for (const std::size_t row : chosen) {
        counted += counted_[row];
      }
      batch.divisor = counted / double(part.count);
    }
    if (batch.ids.empty()) {
      append_row(batch, chosen[0]);
      batch.divisor = std::numeric_limits<double>::infinity();
    }
    if (positions_ > 0) {
      round_lengths(batch, positions_);
    }
  }
  // From now on texts have few different lengths, for a decoder on a GPU with so many positions.
  void round_lengths_within(index_t positions) { positions_ = positions; }
  // Loaded so far in all passes, the other parts as if they were as large.
  index_t tokens() const { return tokens_; }

 private:
  void append_row(network::batch_type& batch, std::size_t row) const {
    for (const std::size_t i : rows_[row]) {
      append(batch, examples_[i]);
    }
  }

  std::span<const example> examples_;
  std::vector<std::vector<std::size_t>> rows_;
  std::vector<double> counted_;  // tokens of every row
  studies::common::epochs epochs_;
  index_t tokens_ = 0;
  index_t positions_ = 0;
};

}  // namespace apps::finetune
