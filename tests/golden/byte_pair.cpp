// Byte-level BPE against `tokenizers`: every number of every text, in both directions, for every
// tokenizer in the folder bpe.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <preheat/text/basic_tokenizer.hpp>
#include <preheat/text/byte_pair_encoding.hpp>
#include <preheat/text/read_gguf_tokenizer.hpp>
#include <preheat/text/tokenizer_json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "fixtures.hpp"
#include "lists.hpp"

namespace {

using golden::lists;
using preheat::index_t;
using preheat::text::byte_pair_encoding;
using preheat::text::byte_pair_model;
using preheat::text::gguf_tokenizer;
using preheat::text::pre_tokenizer_rule;
using preheat::text::special_tokens;

// The folders of tokenizers whose vocabulary is there.
std::vector<std::string> tokenizers() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(golden::path_of("bpe"))) {
    if (std::filesystem::exists(entry.path() / "tokenizer.json")) {
      names.push_back("bpe/" + entry.path().filename().string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

byte_pair_model model_in(const std::string& folder) {
  return preheat::text::read_tokenizer_json(golden::path_of(folder + "/tokenizer.json"));
}

// Every text of a tensor as the numbers of the fixture. Reports the first difference alone.
void check_ids(const byte_pair_encoding& tokenizer, const lists& texts, const lists& ids) {
  REQUIRE(texts.count() == ids.count());
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < texts.count(); ++i) {
    if (tokenizer.pieces(texts.text(i)) != ids.numbers(i) && wrong++ == 0) {
      CAPTURE(i);
      CAPTURE(texts.text(i));
      CHECK(tokenizer.pieces(texts.text(i)) == ids.numbers(i));
    }
  }
  CHECK(wrong == 0);
}

void check_tokenizer(const byte_pair_encoding& tokenizer, const std::string& folder) {
  const golden::fixture strings("bpe/strings");
  const golden::fixture file(folder + "/ids");
  const lists texts(strings, "text.bytes", "text.offsets");
  const lists ids(file, "ids.values", "ids.offsets");
  const lists broken(strings, "invalid.bytes", "invalid.offsets");
  REQUIRE(texts.count() > 100);
  REQUIRE(broken.count() > 10);
  check_ids(tokenizer, texts, ids);
  check_ids(tokenizer, broken, lists(file, "invalid_ids.values", "invalid_ids.offsets"));

  // NFC is not undone by decoding.
  const auto differs = file.entries("round_trip_differs");
  for (std::size_t i = 0; i < texts.count(); ++i) {
    const bool same = tokenizer.decode(ids.numbers(i)) == texts.text(i);
    const bool expected = std::count(differs.begin(), differs.end(), double(i)) == 0;
    CAPTURE(i);
    REQUIRE(same == expected);
  }

  const lists random(file, "decode.ids.values", "decode.ids.offsets");
  const lists kept(file, "decode.text.bytes", "decode.text.offsets");
  const lists skipped(file, "decode.text_skip_special.bytes", "decode.text_skip_special.offsets");
  REQUIRE(random.count() > 100);
  for (std::size_t i = 0; i < random.count(); ++i) {
    CAPTURE(i);
    CHECK(tokenizer.decode(random.numbers(i)) == kept.text(i));
    CHECK(tokenizer.decode(random.numbers(i), special_tokens::skip) == skipped.text(i));
  }
}

TEST_CASE("golden bpe: tokenizer.json, there and back") {
  const std::vector<std::string> folders = tokenizers();
  REQUIRE(!folders.empty());
  for (const std::string& folder : folders) {
    CAPTURE(folder);
    const byte_pair_encoding tokenizer(model_in(folder));
    CHECK(tokenizer.size() == golden::fixture(folder + "/ids").param<index_t>("vocab_size"));
    check_tokenizer(tokenizer, folder);
  }
}

// The same vocabulary as the metadata of a GGUF file would have it.
gguf_tokenizer as_gguf(const byte_pair_model& model) {
  gguf_tokenizer all;
  all.model = "gpt2";
  const bool has_name[] = {
      model.rule == pre_tokenizer_rule::gpt2, model.rule == pre_tokenizer_rule::smollm,
      model.rule == pre_tokenizer_rule::llama3, model.rule == pre_tokenizer_rule::qwen2};
  const char* const names[] = {"gpt-2", "smollm", "llama-bpe", "qwen2"};
  all.pre = names[std::find(has_name, has_name + 4, true) - has_name];
  all.tokens = model.tokens;
  for (const auto& token : model.added) {
    all.tokens.resize(std::max(all.tokens.size(), std::size_t(token.id) + 1));
    all.tokens[std::size_t(token.id)] = token.text;
  }
  all.token_types.assign(all.tokens.size(), 1);
  for (const auto& token : model.added) {
    all.token_types[std::size_t(token.id)] = token.special ? 3 : 4;
  }
  for (const auto& [left, right] : model.merges) {
    all.merges.push_back(left + " " + right);
  }
  all.add_bos = false;
  // A number without a token (tokenizer.json may leave it out) is a token nobody writes.
  for (std::size_t i = 0; i < all.tokens.size(); ++i) {
    if (all.tokens[i].empty()) {
      all.tokens[i] = "[no token " + std::to_string(i) + "]";
      all.token_types[i] = 5;
    }
  }
  return all;
}

TEST_CASE("golden bpe: the same from the metadata of GGUF") {
  for (const std::string& folder : tokenizers()) {
    CAPTURE(folder);
    check_tokenizer(byte_pair_encoding(model_of(as_gguf(model_in(folder)))), folder);
  }
}

TEST_CASE("golden bpe: SmolLM2, where ./run lm --fetch has brought it") {
  const std::filesystem::path model = PREHEAT_GOLDEN_DIR_DEFAULT "/../../build/lm/model.gguf";
  if (!std::filesystem::exists(model)) {
    MESSAGE("skipped: there is no " << model.string());
    return;
  }
  const preheat::gguf::reader file(model);
  const byte_pair_encoding tokenizer(model_of(preheat::text::read_gguf_tokenizer(file)));
  CHECK(tokenizer.size() == golden::fixture("bpe/smollm2/ids").param<index_t>("vocab_size"));
  check_tokenizer(tokenizer, "bpe/smollm2");
}

TEST_CASE("golden bpe: bytes that are not UTF-8") {
  const golden::fixture strings("bpe/strings");
  const lists broken(strings, "invalid.bytes", "invalid.offsets");
  const lists replaced(strings, "replaced.bytes", "replaced.offsets");
  REQUIRE(broken.count() == replaced.count());
  for (std::size_t i = 0; i < broken.count(); ++i) {
    CAPTURE(i);
    CHECK(preheat::text::to_utf8(broken.text(i)) == replaced.text(i));
    CHECK(!preheat::text::is_utf8(broken.text(i)));
    CHECK(preheat::text::is_utf8(replaced.text(i)));
  }
}

// The ranges of code points that match a class, with those that only newer tables know.
void check_class(const golden::fixture& file, const std::string& tensor, std::string_view pattern) {
  const preheat::text::split_pattern one(pattern);
  const golden::dense ranges = file.matrix(tensor);
  // Whether the class takes a character is whether "x", the character, "x" has a cut.
  const auto matches = [&](char32_t point) {
    std::string text;
    preheat::text::detail::append_utf8(text, utf8proc_int32_t(point));
    bool found = false;
    one.for_each_piece("\x01" + text + "\x01",
                       [&](std::string_view piece) { found = found || piece == text; });
    return found;
  };
  index_t next = 0;
  std::size_t missing = 0;
  std::size_t more = 0;
  for (char32_t point = 2; point < 0x110000; ++point) {
    if (point >= 0xD800 && point < 0xE000) {
      continue;  // no characters
    }
    while (next < ranges.rows() && point > char32_t(ranges(next, 1))) {
      ++next;
    }
    const bool expected = next < ranges.rows() && point >= char32_t(ranges(next, 0));
    const bool found = matches(point);
    missing += expected && !found;
    more += found && !expected;
  }
  CAPTURE(tensor);
  CHECK(missing == 0);
  // A PCRE2 with tables after Unicode 16 may know more, and no other may.
  char version[24];
  pcre2_config(PCRE2_CONFIG_UNICODE_VERSION, version);
  if (std::stoi(version) <= 16) {
    CHECK(more == 0);
  }
}

TEST_CASE("golden bpe: the characters that are letters, numbers, white space") {
  const golden::fixture file("bpe/classes");
  check_class(file, "letter", R"(\p{L})");
  check_class(file, "number", R"(\p{N})");
  check_class(file, "space", R"(\s)");
}

}  // namespace
