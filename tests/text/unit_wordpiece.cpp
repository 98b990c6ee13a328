// The tokenizer on a vocabulary small enough to know every answer by heart.
#include <doctest/doctest.h>

#include <fstream>
#include <preheat/text/wordpiece.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "support/scratch.hpp"

namespace {

using preheat::index_t;
using preheat::text::encoded_text;
using preheat::text::padded_texts;
using preheat::text::wordpiece;
using preheat::text::wordpiece_options;

// Numbers are places in this list.
const std::vector<std::string> small = {
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un",  "##aff", "##able", "cafe", "it", "'",
    "s",     ".",     "中",    "文",    "a",      "##a", "b",     "##b",    "Café", "$"};

std::vector<std::string> words(const wordpiece& tokenizer, std::string_view text) {
  std::vector<std::string> found;
  for (const index_t id : tokenizer.pieces(text)) {
    found.push_back(tokenizer.token(id));
  }
  return found;
}

using list = std::vector<std::string>;

TEST_CASE("wordpiece: the longest piece first, and a word that cannot be cut is unknown") {
  const wordpiece tokenizer(small);
  CHECK(words(tokenizer, "unaffable") == list{"un", "##aff", "##able"});
  CHECK(words(tokenizer, "aab ab b") == list{"a", "##a", "##b", "a", "##b", "b"});
  CHECK(words(tokenizer, "unable unx") == list{"un", "##able", "[UNK]"});
  CHECK(words(tokenizer, "x") == list{"[UNK]"});
  CHECK(words(tokenizer, "").empty());
  CHECK(words(tokenizer, " \t\r\n ").empty());
}

TEST_CASE("wordpiece: case, accents, punctuation, Chinese, white space") {
  const wordpiece tokenizer(small);
  const list cafe = {"cafe"};
  CHECK(words(tokenizer, "Café") == cafe);        // one code point
  CHECK(words(tokenizer, "CAFE\u0301") == cafe);  // letter and accent
  CHECK(words(tokenizer, "ca\u200Bfe") == cafe);  // a format character
  CHECK(words(tokenizer, "ca\u0007fe") == cafe);  // a control character
  CHECK(words(tokenizer, "ca\uE000fe") == cafe);  // private use
  CHECK(words(tokenizer, "ca\uFFFDfe") == cafe);
  CHECK(words(tokenizer, "it's.") == list{"it", "'", "s", "."});
  CHECK(words(tokenizer, "a$b") == list{"a", "$", "b"});
  CHECK(words(tokenizer, "a中文b") == list{"a", "中", "文", "b"});
  CHECK(words(tokenizer, "a\u00A0b\u3000a\u2028b") == list{"a", "b", "a", "b"});
}

TEST_CASE("wordpiece: without lower-casing accents stay") {
  const wordpiece tokenizer(small, {.lower_case = false});
  CHECK(words(tokenizer, "Café") == list{"Café"});
  CHECK(words(tokenizer, "cafe CAFE") == list{"cafe", "[UNK]"});
}

TEST_CASE("wordpiece: a word has at most so many characters, counted after accents are gone") {
  const wordpiece tokenizer(small, {.longest_word = 3});
  CHECK(words(tokenizer, "aaa") == list{"a", "##a", "##a"});
  CHECK(words(tokenizer, "ááá") == list{"a", "##a", "##a"});
  CHECK(words(tokenizer, "aaaa") == list{"[UNK]"});
  CHECK(wordpiece(small).pieces(std::string(100, 'a')).size() == 100);
  CHECK(wordpiece(small).pieces(std::string(101, 'a')).size() == 1);
}

TEST_CASE("wordpiece: bytes that are not UTF-8 are dropped, and nothing else is") {
  const wordpiece tokenizer(small);
  const std::vector<std::string> broken = {
      "\x80",              // goes on without a beginning
      "\xC3",              // begins without going on
      "\xE4\xB8",          // two of three bytes
      "\xC0\x80",          // longer than needed
      "\xED\xA0\x80",      // half of a surrogate pair
      "\xF4\x90\x80\x80",  // beyond the last code point
      "\xFF\xFE",
  };
  for (const std::string& bytes : broken) {
    CAPTURE(bytes.size());
    CHECK(words(tokenizer, "ca" + bytes + "fe") == list{"cafe"});
    CHECK(words(tokenizer, bytes).empty());
  }
  CHECK(words(tokenizer, "a" + std::string(1, '\0') + "b") == list{"a", "##b"});
}

TEST_CASE("wordpiece: special tokens in the text are themselves") {
  const wordpiece tokenizer(small);
  CHECK(words(tokenizer, "a[MASK]b [SEP][UNK]") == list{"a", "[MASK]", "b", "[SEP]", "[UNK]"});
  CHECK(words(tokenizer, "[mask]").front() == "[UNK]");
}

TEST_CASE("wordpiece: one text, framed, cut at its end") {
  const wordpiece tokenizer(small);
  const encoded_text all = tokenizer.encode("a b it");
  CHECK(all.ids == std::vector<index_t>{2, 15, 17, 9, 3});
  CHECK(all.types == std::vector<index_t>(5, 0));
  CHECK(tokenizer.encode("a b it", 5).ids == all.ids);
  CHECK(tokenizer.encode("a b it", 4).ids == std::vector<index_t>{2, 15, 17, 3});
  CHECK(tokenizer.encode("a b it", 2).ids == std::vector<index_t>{2, 3});
  CHECK_THROWS_WITH_AS(tokenizer.encode("a", 1),
                       "preheat: encode: special tokens <= max_length (2, 1)",
                       preheat::invalid_argument);
}

// How many of n and m tokens a pair keeps.
std::pair<index_t, index_t> kept(int n, int m, index_t max_length) {
  const wordpiece tokenizer(small);
  std::string a;
  std::string b;
  for (int i = 0; i < n; ++i) {
    a += "a ";
  }
  for (int i = 0; i < m; ++i) {
    b += "b ";
  }
  const encoded_text pair = tokenizer.encode(a, b, max_length);
  return {index_t(std::count(pair.ids.begin(), pair.ids.end(), 15)),
          index_t(std::count(pair.ids.begin(), pair.ids.end(), 17))};
}

TEST_CASE("wordpiece: two texts; the longer one is cut first") {
  const wordpiece tokenizer(small);
  const encoded_text pair = tokenizer.encode("a b", "it");
  CHECK(pair.ids == std::vector<index_t>{2, 15, 17, 3, 9, 3});
  CHECK(pair.types == std::vector<index_t>{0, 0, 0, 0, 1, 1});

  using two = std::pair<index_t, index_t>;
  CHECK(kept(4, 4, 11) == two{4, 4});
  CHECK(kept(9, 2, 9) == two{4, 2});  // only the longer one
  CHECK(kept(2, 9, 9) == two{2, 4});
  CHECK(kept(9, 9, 9) == two{3, 3});   // both
  CHECK(kept(9, 9, 10) == two{3, 4});  // an odd token: b's
  CHECK(kept(9, 8, 10) == two{4, 3});  // the longer one's
  CHECK(kept(9, 9, 3) == two{0, 0});
  CHECK_THROWS_AS(kept(1, 1, 2), preheat::invalid_argument);
}

TEST_CASE("wordpiece: padding") {
  const wordpiece tokenizer(small);
  const std::vector<encoded_text> texts = {tokenizer.encode("a", "b"), tokenizer.encode("it")};
  const padded_texts batch = tokenizer.pad(texts);
  CHECK(batch.length == 5);
  CHECK(batch.lengths == std::vector<index_t>{5, 3});
  CHECK(batch.ids == std::vector<index_t>{2, 15, 3, 17, 3, 2, 9, 3, 0, 0});
  CHECK(batch.types == std::vector<index_t>{0, 0, 0, 1, 1, 0, 0, 0, 0, 0});
  CHECK(tokenizer.pad(texts, 7).ids.size() == 14);
  CHECK_THROWS_WITH_AS(tokenizer.pad(texts, 4), "preheat: pad: longest text <= length (5, 4)",
                       preheat::invalid_argument);
}

TEST_CASE("wordpiece: what is wrong with a vocabulary is said") {
  const auto without = [](const std::string& token) {
    std::vector<std::string> fewer = small;
    std::erase(fewer, token);
    return fewer;
  };
  CHECK_THROWS_WITH_AS(wordpiece(without("[SEP]")),
                       "preheat: vocabulary: it has the special token [SEP]",
                       preheat::invalid_argument);
  std::vector<std::string> twice = small;
  twice.push_back("un");
  CHECK_THROWS_WITH_AS(wordpiece{twice}, "preheat: vocabulary: token 21 is new: un is there twice",
                       preheat::invalid_argument);
  twice.back() = "";
  CHECK_THROWS_WITH_AS(wordpiece{twice}, "preheat: vocabulary: token 21 is not empty",
                       preheat::invalid_argument);
  const wordpiece tokenizer(small);
  CHECK_THROWS_AS(tokenizer.token(21), preheat::invalid_argument);
}

TEST_CASE("wordpiece: a vocabulary from a file, with either end of line") {
  const scratch::temporary_directory folder;
  for (const std::string end : {"\n", "\r\n"}) {
    {
      std::ofstream file(folder / "vocab.txt");
      for (const std::string& token : small) {
        file << token << end;
      }
    }
    const wordpiece tokenizer = wordpiece::read(folder / "vocab.txt");
    CHECK(tokenizer.size() == index_t(small.size()));
    CHECK(words(tokenizer, "unaffable") == list{"un", "##aff", "##able"});
  }
  std::ofstream(folder / "few.txt") << "[PAD]\n[UNK]\n";
  CHECK_THROWS_AS(wordpiece::read(folder / "few.txt"), preheat::io_error);
  CHECK_THROWS_AS(wordpiece::read(folder / "none.txt"), preheat::io_error);
}

}  // namespace
