// The tokenizer with the vocabulary of all-MiniLM-L6-v2 against the `tokenizers` library: every
// number of every text.
#include <doctest/doctest.h>

#include <cstddef>
#include <preheat/text/wordpiece.hpp>
#include <string>
#include <vector>

#include "golden/fixtures.hpp"
#include "model_folder.hpp"

namespace {

using preheat::index_t;
using preheat::text::encoded_text;
using preheat::text::wordpiece;

// A fixture's column of numbers, cut into its items.
class items {
 public:
  items(const golden::fixture& file, const std::string& values, const std::string& offsets)
      : values_(file.matrix(values)), offsets_(file.matrix(offsets)) {}

  std::size_t count() const { return std::size_t(offsets_.rows()) - 1; }
  std::vector<index_t> numbers(std::size_t i) const {
    const auto begin = values_.data() + index_t(offsets_(index_t(i), 0));
    const auto end = values_.data() + index_t(offsets_(index_t(i) + 1, 0));
    return {begin, end};
  }
  std::string text(std::size_t i) const {
    std::string bytes;
    for (const index_t byte : numbers(i)) {
      bytes += char(byte);
    }
    return bytes;
  }

 private:
  golden::dense values_;
  golden::dense offsets_;
};

TEST_CASE("minilm: the tokenizer gives the numbers of `tokenizers`") {
  const wordpiece tokenizer = wordpiece::read(minilm::model_folder() + "/vocab.txt");
  const golden::fixture file("wordpiece");
  const items texts(file, "text.bytes", "text.offsets");
  const items ids(file, "ids.values", "ids.offsets");
  REQUIRE(texts.count() == 200);
  for (std::size_t i = 0; i < texts.count(); ++i) {
    CAPTURE(i);
    CAPTURE(texts.text(i));
    CHECK(tokenizer.encode(texts.text(i)).ids == ids.numbers(i));
  }
}

TEST_CASE("minilm: pairs of texts and their types") {
  const wordpiece tokenizer = wordpiece::read(minilm::model_folder() + "/vocab.txt");
  const golden::fixture file("wordpiece");
  const items a(file, "pair_a.bytes", "pair_a.offsets");
  const items b(file, "pair_b.bytes", "pair_b.offsets");
  const items ids(file, "pair_ids.values", "pair_ids.offsets");
  const items types(file, "pair_types.values", "pair_types.offsets");
  REQUIRE(a.count() == 20);
  for (std::size_t i = 0; i < a.count(); ++i) {
    CAPTURE(i);
    const encoded_text pair = tokenizer.encode(a.text(i), b.text(i));
    CHECK(pair.ids == ids.numbers(i));
    CHECK(pair.types == types.numbers(i));
  }
}

TEST_CASE("minilm: texts cut and padded to one length") {
  const wordpiece tokenizer = wordpiece::read(minilm::model_folder() + "/vocab.txt");
  const golden::fixture file("minilm/embeddings");
  const items texts(file, "text.bytes", "text.offsets");
  for (const index_t length : file.param<std::vector<index_t>>("max_length")) {
    const std::string suffix = "_" + std::to_string(length);
    const golden::dense ids = file.matrix("input_ids" + suffix);
    const golden::dense mask = file.matrix("attention_mask" + suffix);
    std::vector<encoded_text> encoded;
    for (std::size_t i = 0; i < texts.count(); ++i) {
      encoded.push_back(tokenizer.encode(texts.text(i), length));
    }
    const preheat::text::padded_texts batch = tokenizer.pad(encoded, length);
    REQUIRE(ids.rows() == index_t(texts.count()));
    REQUIRE(ids.cols() == length);
    for (index_t i = 0; i < ids.rows(); ++i) {
      CAPTURE(i);
      CHECK(batch.lengths[i] == index_t(mask.row(i).sum()));
      for (index_t k = 0; k < length; ++k) {
        CHECK(batch.ids[i * length + k] == index_t(ids(i, k)));
      }
    }
  }
}

}  // namespace
