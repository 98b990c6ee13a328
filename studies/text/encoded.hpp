// The sentences of a set as the network sees them, in three parts, and batches of them.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <utility>
#include <vector>

#include <preheat/nn/token_batch.hpp>
#include <preheat/text/wordpiece.hpp>

#include "sentences.hpp"
#include "studies/common/epochs.hpp"

namespace studies::text {

using preheat::index_t;

inline constexpr index_t longest_sentence = 128;  // in tokens; what is longer is cut

struct example {
  std::vector<index_t> ids;
  int label = 0;
};

// A set, split. The training part is in the order of the split, which `batches` shuffles.
struct encoded_set {
  const set_description* of = nullptr;
  std::vector<example> train;
  std::vector<example> validation;  // chooses the learning rate
  std::vector<example> test;        // measured, never chosen by
  std::size_t rated = 0;            // sentences in the file
  std::uint64_t checksum = 0;
  std::size_t cut = 0;  // sentences longer than the longest

  double positive() const {  // the share of positive sentences in the test part
    const auto count =
        std::count_if(test.begin(), test.end(), [](auto& e) { return e.label == 1; });
    return double(count) / double(test.size());
  }
};

struct part_sizes {
  std::size_t validation = 500;
  std::size_t test = 1000;
};

// Throws what read_sentences and split_by_source throw.
inline encoded_set read_set(const set_description& of, const std::filesystem::path& folder,
                            const preheat::text::wordpiece& tokenizer, part_sizes sizes) {
  std::vector<sentence> all = read_sentences(folder / of.file);
  encoded_set set;
  set.of = &of;
  set.rated = all.size();
  all = with_clear_sign(std::move(all));
  set.checksum = checksum(all);
  const common::split parts = split_by_source(all, sizes.validation, sizes.test);
  const auto encode = [&](const std::vector<std::size_t>& chosen) {
    std::vector<example> examples;
    for (const std::size_t i : chosen) {
      std::vector<index_t> ids = tokenizer.encode(all[i].text).ids;
      if (index_t(ids.size()) > longest_sentence) {
        ids = tokenizer.encode(all[i].text, longest_sentence).ids;
        ++set.cut;
      }
      examples.push_back({std::move(ids), all[i].label()});
    }
    return examples;
  };
  set.train = encode(parts.train);
  set.validation = encode(parts.validation);
  set.test = encode(parts.test);
  return set;
}

// Puts examples into a batch: tokens one after another, without padding.
template <preheat::backend Be, class Pick>
void fill(Be& be, preheat::nn::token_batch<Be>& batch, std::size_t count, Pick pick) {
  batch.ids.clear();
  batch.lengths.clear();
  std::vector<preheat::scalar_of<Be>> labels;
  for (std::size_t j = 0; j < count; ++j) {
    const example& e = pick(j);
    batch.ids.insert(batch.ids.end(), e.ids.begin(), e.ids.end());
    batch.lengths.push_back(index_t(e.ids.size()));
    labels.push_back(preheat::scalar_of<Be>(e.label));
  }
  be.resize(batch.target, 1, index_t(count));
  be.upload(labels, batch.target);
}

// Consecutive examples as one batch.
template <preheat::backend Be>
preheat::nn::token_batch<Be> batch_of(Be& be, std::span<const example> examples) {
  preheat::nn::token_batch<Be> batch;
  fill(be, batch, examples.size(), [&](std::size_t j) -> const example& { return examples[j]; });
  return batch;
}

// Training batches; the examples must outlive it.
template <preheat::backend Be>
class sentence_batches {
 public:
  sentence_batches(Be& be, std::span<const example> examples, index_t size)
      : be_(&be), examples_(examples), epochs_(examples.size(), size) {}

  index_t per_epoch() const { return epochs_.per_epoch(); }

  void load(const preheat::generator& stream, index_t step, preheat::nn::token_batch<Be>& batch) {
    const std::span<const std::size_t> chosen = epochs_.batch(stream, step);
    fill(*be_, batch, chosen.size(),
         [&](std::size_t j) -> const example& { return examples_[chosen[j]]; });
  }

 private:
  Be* be_;
  std::span<const example> examples_;
  common::epochs epochs_;
};

}  // namespace studies::text
