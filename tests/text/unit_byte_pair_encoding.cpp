// Byte-level BPE on vocabularies small enough to know every answer by heart.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <preheat/text/byte_pair_encoding.hpp>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace {

using preheat::index_t;
using preheat::text::byte_pair_encoding;
using preheat::text::byte_pair_model;
using preheat::text::pre_tokenizer;
using preheat::text::pre_tokenizer_rule;
using preheat::text::special_tokens;

// Tokens 0 to 255 are the bytes; then come the results of the merges.
byte_pair_model model_with(std::vector<std::pair<std::string, std::string>> merges) {
  byte_pair_model model;
  for (int byte = 0; byte < 256; ++byte) {
    model.tokens.push_back(preheat::text::letter_of_byte(static_cast<unsigned char>(byte)));
  }
  for (const auto& [left, right] : merges) {
    model.tokens.push_back(left + right);
  }
  model.merges = std::move(merges);
  return model;
}

using list = std::vector<std::string>;

list words(const byte_pair_encoding& tokenizer, std::string_view text) {
  list found;
  for (const index_t id : tokenizer.pieces(text)) {
    found.push_back(tokenizer.token(id));
  }
  return found;
}

list pieces(pre_tokenizer_rule rule, std::string_view text) {
  list found;
  pre_tokenizer(rule).for_each_piece(text,
                                     [&](std::string_view piece) { found.emplace_back(piece); });
  return found;
}

TEST_CASE("bpe: the first merge first, the leftmost of equals, and what they make possible") {
  const byte_pair_encoding tokenizer(model_with({{"b", "c"}, {"a", "b"}, {"a", "bc"}, {"x", "x"}}));
  CHECK(words(tokenizer, "abc") == list{"abc"});  // bc before ab
  CHECK(words(tokenizer, "ab") == list{"ab"});
  CHECK(words(tokenizer, "abab") == list{"ab", "ab"});
  CHECK(words(tokenizer, "ababc") == list{"ab", "abc"});
  CHECK(words(tokenizer, "xxx") == list{"xx", "x"});
  CHECK(words(tokenizer, "xxxx") == list{"xx", "xx"});
  CHECK(words(tokenizer, "acb") == list{"a", "c", "b"});
  CHECK(words(tokenizer, "").empty());
}

// Merges by the book: the best pair of all, again and again.
list merged_by_the_book(list tokens,
                        const std::vector<std::pair<std::string, std::string>>& merges) {
  for (;;) {
    std::size_t best = merges.size();
    std::size_t place = 0;
    for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
      const std::pair<std::string, std::string> pair{tokens[i], tokens[i + 1]};
      const auto rank = std::size_t(std::find(merges.begin(), merges.end(), pair) - merges.begin());
      if (rank < best) {
        best = rank;
        place = i;
      }
    }
    if (best == merges.size()) {
      return tokens;
    }
    tokens[place] += tokens[place + 1];
    tokens.erase(tokens.begin() + index_t(place) + 1);
  }
}

TEST_CASE("bpe: random words under random merges, against merging by the book") {
  std::minstd_rand random(1);
  const auto next = [&random](std::size_t below) { return std::size_t(random()) % below; };
  for (int round = 0; round < 50; ++round) {
    std::vector<std::pair<std::string, std::string>> merges;
    list parts = {"a", "b", "c"};
    while (merges.size() < 12) {
      const std::pair<std::string, std::string> merge{parts[next(parts.size())],
                                                      parts[next(parts.size())]};
      const std::string result = merge.first + merge.second;
      if (std::find(parts.begin(), parts.end(), result) == parts.end()) {
        merges.push_back(merge);
        parts.push_back(result);
      }
    }
    std::shuffle(merges.begin(), merges.end(), random);  // also an order that no training gives
    const byte_pair_encoding tokenizer(model_with(merges));
    for (int k = 0; k < 20; ++k) {
      std::string word;
      list letters;
      for (std::size_t i = next(30); i > 0; --i) {
        word += char('a' + next(3));
        letters.emplace_back(1, word.back());
      }
      CAPTURE(word);
      CHECK(words(tokenizer, word) == merged_by_the_book(letters, merges));
    }
  }
}

TEST_CASE("bpe: nothing is merged across a cut") {
  const byte_pair_encoding tokenizer(model_with({{"a", "Ġ"}, {"Ġ", "a"}}));
  CHECK(words(tokenizer, "a a") == list{"a", "Ġa"});
}

TEST_CASE("bpe: how texts are cut") {
  using rule = pre_tokenizer_rule;
  const std::string text = "I'll pay  1234€, John'S\n\n x";
  CHECK(pieces(rule::gpt2, text) ==
        list{"I", "'ll", " pay", " ", " 1234", "€,", " John", "'", "S", "\n\n", " x"});
  CHECK(pieces(rule::smollm, text) ==
        list{"I", "'ll", " pay", "  ", "1", "2", "3", "4", "€,", " John", "'", "S", "\n\n", " x"});
  CHECK(pieces(rule::llama3, text) ==
        list{"I", "'ll", " pay", " ", " ", "123", "4", "€,", " John", "'S", "\n\n", " x"});
  CHECK(pieces(rule::qwen2, text) ==
        list{"I", "'ll", " pay", " ", " ", "1", "2", "3", "4", "€,", " John", "'S", "\n\n", " x"});
  CHECK(pieces(rule::llama3, "(a\tx") == list{"(a", "\tx"});
  CHECK(pieces(rule::gpt2, "(a\tx") == list{"(", "a", "\t", "x"});
  // U+180E is no white space and U+017F is an s; Arabic digits are numbers.
  CHECK(pieces(rule::gpt2, "a\u180Eb") == list{"a", "\u180E", "b"});
  CHECK(pieces(rule::llama3, "a'\u017F") == list{"a", "'\u017F"});
  CHECK(pieces(rule::gpt2, "a٣٤") == list{"a", "٣٤"});
  for (const rule one : {rule::gpt2, rule::smollm, rule::llama3, rule::qwen2}) {
    CHECK(pieces(one, "").empty());
    CHECK(pieces(one, " ") == list{" "});
  }
}

TEST_CASE("bpe: a long piece takes no longer than its length deserves") {
  const byte_pair_encoding tokenizer(model_with({{"Ġ", "Ġ"}, {"ĠĠ", "ĠĠ"}}));
  CHECK(tokenizer.pieces(std::string(4'000'000, ' ')).size() == 1'000'000);
}

TEST_CASE("bpe: added tokens, the longest at the leftmost place") {
  byte_pair_model model = model_with({});
  model.added = {{256, "<|a|>"}, {257, "<|a|>b"}, {258, "<tool>", false}, {260, "a b", false}};
  const byte_pair_encoding tokenizer(model);
  CHECK(tokenizer.size() == 261);
  CHECK(words(tokenizer, "x<|a|><|a|>by<tool>") == list{"x", "<|a|>", "<|a|>b", "y", "<tool>"});
  CHECK(words(tokenizer, "<|a|") == list{"<", "|", "a", "|"});
  CHECK(words(tokenizer, "xa b") == list{"x", "a b"});
  CHECK(tokenizer.is_special(256));
  CHECK(!tokenizer.is_special(258));
  CHECK(!tokenizer.is_special(0));
  const std::vector<index_t> ids = {256, 258, 260};
  CHECK(tokenizer.decode(ids) == "<|a|><tool>a b");
  CHECK(tokenizer.decode(ids, special_tokens::skip) == "<tool>a b");
  CHECK(tokenizer.find("<tool>") == 258);
  CHECK(!tokenizer.find("<tool"));
  CHECK_THROWS_WITH_AS(tokenizer.token(259), "preheat: tokenizer: no token has the number 259",
                       preheat::invalid_argument);
  CHECK_THROWS_WITH_AS(tokenizer.decode(std::vector<index_t>{261}),
                       "preheat: tokenizer: 0 <= id < tokens (261, 261)",
                       preheat::invalid_argument);
}

TEST_CASE("bpe: composition, before or after the added tokens are found") {
  byte_pair_model model = model_with({});
  model.added = {{256, "e\u0301", false, false}, {257, "o\u0301", false, true}};
  CHECK(words(byte_pair_encoding(model), "a\u0301e\u0301\u00F3") ==
        list{"a", "Ì", "ģ", "e\u0301", "Ã", "³"});
  model.compose = true;
  const byte_pair_encoding tokenizer(model);
  CHECK(words(tokenizer, "a\u0301") == list{"Ã", "¡"});
  CHECK(words(tokenizer, "e\u0301") == list{"e\u0301"});  // found before
  CHECK(words(tokenizer, "\u00E9") == list{"Ã", "©"});
  CHECK(words(tokenizer, "\u00F3") == list{"o\u0301"});  // found after
}

TEST_CASE("bpe: a piece that is a token is taken whole if the model says so") {
  byte_pair_model model =
      model_with({{"a", "b"}, {"c", "d"}, {"b", "c"}, {"a", "bc"}, {"abc", "d"}});
  CHECK(words(byte_pair_encoding(model), "abcd") == list{"ab", "cd"});
  model.ignore_merges = true;
  CHECK(words(byte_pair_encoding(model), "abcd") == list{"abcd"});
  CHECK(words(byte_pair_encoding(model), "abcda") == list{"ab", "cd", "a"});
}

TEST_CASE("bpe: bytes without a token are left out, and their neighbours meet") {
  byte_pair_model model = model_with({{"a", "b"}});
  model.tokens['\x01'] = "";
  CHECK(words(byte_pair_encoding(model), "a\x01") == list{"a"});
  CHECK(words(byte_pair_encoding(model), "\x01").empty());
  model.tokens['-'] = "";
  model.rule = pre_tokenizer_rule::gpt2;
  CHECK(words(byte_pair_encoding(model), "a-b") == list{"a", "b"});  // three pieces
}

TEST_CASE("bpe: the tokens around a text") {
  byte_pair_model model = model_with({});
  model.added = {{256, "<s>"}, {257, "</s>"}};
  model.before = {256};
  model.after = {257};
  const byte_pair_encoding tokenizer(model);
  CHECK(tokenizer.encode("a") == std::vector<index_t>{256, 'a', 257});
  CHECK(tokenizer.pieces("a") == std::vector<index_t>{'a'});
  model.before = {258};
  CHECK_THROWS_AS(byte_pair_encoding{model}, preheat::invalid_argument);
}

TEST_CASE("bpe: decoding joins bytes before it looks for characters") {
  const byte_pair_encoding tokenizer(model_with({}));
  CHECK(tokenizer.decode(std::vector<index_t>{0xC3, 0xA9}) == "é");
  CHECK(tokenizer.decode(std::vector<index_t>{0xE2, 0x82}) == "\uFFFD");  // one part, not two
  CHECK(tokenizer.decode(std::vector<index_t>{0xFF, 'a', 0xFF}) == "\uFFFDa\uFFFD");
  CHECK(tokenizer.bytes(0xE2) == "\xE2");
}

TEST_CASE("bpe: every byte has a letter of its own, and letters give the bytes back") {
  std::string all;
  std::string letters;
  for (int byte = 0; byte < 256; ++byte) {
    all += char(byte);
    letters += preheat::text::letter_of_byte(static_cast<unsigned char>(byte));
  }
  CHECK(preheat::text::bytes_of_letters(letters) == all);
  CHECK(preheat::text::letter_of_byte(' ') == "Ġ");
  CHECK(preheat::text::letter_of_byte('\n') == "Ċ");
  for (const char* const other : {" ", "\u00AD", "\u0144", "€", "\xFF"}) {
    CHECK(!preheat::text::bytes_of_letters(other));
  }
}

TEST_CASE("bpe: threads share a tokenizer") {
  const byte_pair_encoding tokenizer(model_with({{"a", "b"}, {"ab", "ab"}}));
  std::string text;
  for (int i = 0; i < 2000; ++i) {
    text += "ababab x" + std::to_string(i);
  }
  const std::vector<index_t> expected = tokenizer.pieces(text);
  std::vector<std::vector<index_t>> found(4);
  {
    std::vector<std::jthread> threads;
    for (auto& result : found) {
      threads.emplace_back([&] { result = tokenizer.pieces(text); });
    }
  }
  for (const auto& result : found) {
    CHECK(result == expected);
  }
}

TEST_CASE("bpe: what is wrong with a model is said") {
  const auto refused = [](const byte_pair_model& model, const char* message) {
    CHECK_THROWS_WITH_AS(byte_pair_encoding{model}, message, preheat::invalid_argument);
  };
  byte_pair_model model = model_with({{"a", "b"}});
  model.merges.emplace_back("a", "b");
  refused(model, "preheat: tokenizer: merge 1 is new: a and b are merged twice");
  model = model_with({{"a", "b"}});
  model.merges.emplace_back("ab", "zz");
  refused(model, "preheat: tokenizer: merge 1 of ab and zz: abzz is a token");
  model = model_with({});
  model.tokens.emplace_back("a");
  refused(model, "preheat: tokenizer: token 256 is new: a is there twice");
  model = model_with({});
  model.added = {{600, "<s>"}};
  refused(model,
          "preheat: tokenizer: added token <s>: 0 <= id < twice the number of tokens (600, 514)");
  model.added = {{-1, "<s>"}};
  refused(model,
          "preheat: tokenizer: added token <s>: 0 <= id < twice the number of tokens (-1, 514)");
  model.added = {{7, "<s>"}};
  refused(model, "preheat: tokenizer: added token <s>: no other token has its number 7");
  model.added = {{7, "a"}};
  refused(model, "preheat: tokenizer: added token a: its number is the vocabulary's (7, 97)");
  model.added = {{256, ""}};
  refused(model, "preheat: tokenizer: added token 256 is not empty");
}

}  // namespace
