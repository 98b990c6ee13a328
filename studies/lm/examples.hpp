// Definitions and quotations as the network sees them: token numbers, in parts, in batches.
//
//   word: gloss↵      the loss is that of the gloss and its line end, which says that it is over
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <preheat/core/random.hpp>
#include <preheat/nn/causal_batch.hpp>
#include <preheat/text/byte_pair_encoding.hpp>

#include "studies/common/epochs.hpp"
#include "studies/common/text_lengths.hpp"
#include "wordnet.hpp"

namespace studies::lm {

using preheat::index_t;
using tokenizer = preheat::text::byte_pair_encoding;

inline constexpr std::size_t longest_text = 64;  // in tokens; what is longer is left out

struct example {
  std::vector<index_t> ids;
  std::size_t prompt = 0;  // so many tokens count in no loss

  std::span<const index_t> question() const { return std::span(ids).first(prompt); }
  // The first token of a text is predicted from nothing.
  std::size_t counted() const { return ids.size() - std::max<std::size_t>(prompt, 1); }
};

inline example encode_definition(const tokenizer& t, const definition& d) {
  example e{.ids = t.pieces(d.word + ":"), .prompt = 0};
  e.prompt = e.ids.size();
  const std::vector<index_t> gloss = t.pieces(" " + d.gloss + "\n");
  e.ids.insert(e.ids.end(), gloss.begin(), gloss.end());
  return e;
}

struct part_sizes {
  std::size_t validation = 96;
  std::size_t test = 192;
  std::size_t drift = 48;
};

// All that runs read.
struct data_set {
  std::vector<example> train;
  std::vector<example> validation;  // chooses the learning rate
  std::vector<example> test;        // measured, never chosen by
  std::vector<example> drift;       // quotations: every token counts
  std::vector<definition> asked;    // those of the test part that samples are of
  std::size_t left_out = 0;         // definitions longer than longest_text
  std::uint64_t checksum = 0;
};

inline std::size_t tokens_in(std::span<const example> part) {
  return std::accumulate(part.begin(), part.end(), std::size_t(0),
                         [](std::size_t sum, const example& e) { return sum + e.ids.size(); });
}
inline std::size_t counted_in(std::span<const example> part) {
  return std::accumulate(part.begin(), part.end(), std::size_t(0),
                         [](std::size_t sum, const example& e) { return sum + e.counted(); });
}

namespace detail {

inline void mix(std::uint64_t& hash, const example& e) {  // 64-bit FNV-1a
  for (const index_t id : e.ids) {
    hash = (hash ^ std::uint64_t(id)) * 1099511628211u;
  }
  hash = (hash ^ e.prompt) * 1099511628211u;
}

}  // namespace detail

inline constexpr std::uint64_t split_seed = 2026;
inline constexpr std::size_t shortest_quotation = 16;  // in tokens: prose rather than a title

// A random part of the definitions for test, one for validation, the rest to train on; no word and no
// synset is in two parts, because each is there once. Of the quotations of 16 to 64 tokens a random
// part. Throws std::runtime_error if there are too few of either.
inline data_set make_data(const tokenizer& t, std::vector<definition> definitions,
                          std::vector<std::string> quotations, part_sizes sizes,
                          std::uint64_t seed = split_seed) {
  const preheat::generator gen(seed);
  preheat::random_shuffle(definitions, gen.fork(preheat::purpose::split, 0));
  preheat::random_shuffle(quotations, gen.fork(preheat::purpose::split, 1));
  data_set set;
  set.checksum = 14695981039346656037u;
  for (definition& d : definitions) {
    example e = encode_definition(t, d);
    if (e.ids.size() > longest_text) {
      ++set.left_out;
      continue;
    }
    detail::mix(set.checksum, e);
    if (set.test.size() < sizes.test) {
      set.test.push_back(std::move(e));
      set.asked.push_back(std::move(d));
    } else {
      (set.validation.size() < sizes.validation ? set.validation : set.train)
          .push_back(std::move(e));
    }
  }
  for (const std::string& text : quotations) {
    example e{.ids = t.pieces(text), .prompt = 0};
    if (shortest_quotation <= e.ids.size() && e.ids.size() <= longest_text &&
        set.drift.size() < sizes.drift) {
      detail::mix(set.checksum, e);
      set.drift.push_back(std::move(e));
    }
  }
  if (set.train.empty() || set.drift.size() < sizes.drift) {
    throw std::runtime_error("too few texts: " + std::to_string(set.train.size()) +
                             " definitions to train on, " + std::to_string(set.drift.size()) +
                             " of " + std::to_string(sizes.drift) + " quotations");
  }
  return set;
}

// Puts examples into a batch: tokens one after another, without padding.
template <class Be, class Pick>
void fill(preheat::nn::causal_batch<Be>& batch, std::size_t count, Pick pick) {
  batch.ids.clear();
  batch.labels.clear();
  batch.lengths.clear();
  for (std::size_t j = 0; j < count; ++j) {
    const example& e = pick(j);
    batch.ids.insert(batch.ids.end(), e.ids.begin(), e.ids.end());
    batch.labels.insert(batch.labels.end(), e.prompt, preheat::nn::not_counted);
    batch.labels.insert(batch.labels.end(), e.ids.begin() + index_t(e.prompt), e.ids.end());
    batch.lengths.push_back(index_t(e.ids.size()));
  }
}

// Makes all texts as long as the longest one (studies/common/text_lengths.hpp).
template <class Be>
void make_equally_long(preheat::nn::causal_batch<Be>& batch) {
  const index_t longest = *std::max_element(batch.lengths.begin(), batch.lengths.end());
  common::round_lengths(batch, longest, longest);
}

template <class Be>
preheat::nn::causal_batch<Be> batch_of(std::span<const example> examples) {
  preheat::nn::causal_batch<Be> batch;
  fill(batch, examples.size(), [&](std::size_t j) -> const example& { return examples[j]; });
  return batch;
}

// Training batches, which count their tokens; the examples must outlive it.
template <class Be>
class definition_batches {
 public:
  definition_batches(std::span<const example> examples, index_t size)
      : examples_(examples), epochs_(examples.size(), size) {}

  void load(const preheat::generator& stream, index_t step, preheat::nn::causal_batch<Be>& batch) {
    const std::span<const std::size_t> chosen = epochs_.batch(stream, step);
    fill(batch, chosen.size(),
         [&](std::size_t j) -> const example& { return examples_[chosen[j]]; });
    tokens_ += batch.tokens();
    if (equally_long_) {
      lm::make_equally_long(batch);
    }
  }
  // From now on, or no longer.
  void make_equally_long(bool on) { equally_long_ = on; }
  // Those of the texts.
  index_t tokens() const { return tokens_; }

 private:
  std::span<const example> examples_;
  common::epochs epochs_;
  index_t tokens_ = 0;
  bool equally_long_ = false;
};

}  // namespace studies::lm
