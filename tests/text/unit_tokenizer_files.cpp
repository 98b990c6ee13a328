// tokenizer.json and the metadata of GGUF: what is understood, and what is refused by its name.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <preheat/text/byte_pair_encoding.hpp>
#include <preheat/text/gguf_tokenizer.hpp>
#include <preheat/text/tokenizer_json.hpp>
#include <random>
#include <string>
#include <vector>

#include "support/scratch.hpp"

namespace {

using nlohmann::json;
using preheat::index_t;
using preheat::text::byte_pair_encoding;
using preheat::text::byte_pair_model;
using preheat::text::gguf_tokenizer;
using preheat::text::pre_tokenizer_rule;

// A file as Hugging Face writes it, with the vocabulary a, b, ab.
json small_file() {
  return json::parse(R"({
    "version": "1.0", "truncation": null, "padding": null,
    "added_tokens": [{"id": 3, "content": "<s>", "single_word": false, "lstrip": false,
                      "rstrip": false, "normalized": false, "special": true}],
    "normalizer": null,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                      "use_regex": true},
    "post_processor": null,
    "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true,
                "use_regex": true},
    "model": {"type": "BPE", "dropout": null, "unk_token": null,
              "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,
              "byte_fallback": false, "ignore_merges": false,
              "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}})");
}

byte_pair_model parsed(const json& file) {
  return preheat::text::parse_tokenizer_json(file.dump(), "t.json");
}

// The file with one value changed (a JSON pointer), and the error for it.
std::string error_with(const std::string& place, const json& value) {
  json file = small_file();
  file[json::json_pointer(place)] = value;
  try {
    byte_pair_encoding{parsed(file)};
  } catch (const preheat::io_error& error) {
    return error.what();
  } catch (const preheat::invalid_argument& error) {
    return error.what();
  }
  return "accepted";
}

TEST_CASE("tokenizer.json: a small file, from a text and from the disk") {
  const scratch::temporary_directory folder;
  scratch::write_file(folder / "tokenizer.json", small_file().dump());
  const byte_pair_encoding tokenizer(preheat::text::read_tokenizer_json(folder / "tokenizer.json"));
  CHECK(tokenizer.size() == 4);
  CHECK(tokenizer.encode("abba<s>") == std::vector<index_t>{2, 1, 0, 3});
  CHECK_THROWS_AS(preheat::text::read_tokenizer_json(folder / "none.json"), preheat::io_error);
}

TEST_CASE("tokenizer.json: both spellings of merges, null for empty, an old file without flags") {
  json file = small_file();
  file["model"]["merges"] = {"a b"};
  file["model"]["continuing_subword_prefix"] = "";
  file["model"]["end_of_word_suffix"] = "";
  file["model"].erase("ignore_merges");
  file["model"].erase("byte_fallback");
  file["model"].erase("type");
  file.erase("truncation");
  file.erase("normalizer");
  CHECK(byte_pair_encoding(parsed(file)).encode("ab") == std::vector<index_t>{2});
}

TEST_CASE("tokenizer.json: the steps of the four rules") {
  const json no_regex = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  const json with_regex = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
  const json digits = {{"type", "Digits"}, {"individual_digits", true}};
  const auto split = [](std::string_view pattern) {
    return json{{"type", "Split"},
                {"pattern", {{"Regex", pattern}}},
                {"behavior", "Isolated"},
                {"invert", false}};
  };
  const auto rule_of = [](const json& steps) {
    json file = small_file();
    file["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", steps}};
    return parsed(file).rule;
  };
  using rule = pre_tokenizer_rule;
  namespace patterns = preheat::text::patterns;
  CHECK(rule_of(json::array({with_regex})) == rule::gpt2);
  CHECK(rule_of({split(patterns::gpt2), no_regex}) == rule::gpt2);
  CHECK(rule_of({digits, with_regex}) == rule::smollm);
  CHECK(rule_of({split(patterns::llama3), no_regex}) == rule::llama3);
  CHECK(rule_of({split(patterns::qwen2), no_regex}) == rule::qwen2);
  CHECK_THROWS_WITH_AS(rule_of({split("\\w+"), no_regex}),
                       "preheat: t.json: pre_tokenizer: field \"steps\": those of GPT-2, SmolLM2, "
                       "Llama 3 and Qwen 2 are understood, not \"\\\\w+\", \"byte level\"",
                       preheat::io_error);
  CHECK_THROWS_AS(rule_of(json::array({no_regex})), preheat::io_error);
  CHECK_THROWS_AS(rule_of({split(patterns::qwen2), with_regex}), preheat::io_error);
  CHECK_THROWS_AS(rule_of(json::array()), preheat::io_error);
}

TEST_CASE("tokenizer.json: composition and the tokens around a text") {
  json file = small_file();
  file["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}}}};
  file["post_processor"] = json::parse(R"({"type": "Sequence", "processors": [
      {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true},
      {"type": "TemplateProcessing",
       "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
       "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [3], "tokens": ["<s>"]}}}]})");
  const byte_pair_model model = parsed(file);
  CHECK(model.compose);
  CHECK(model.before == std::vector<index_t>{3});
  CHECK(model.after.empty());
  CHECK(byte_pair_encoding(model).encode("ab") == std::vector<index_t>{3, 2});
  json& single = file["post_processor"]["processors"][1]["single"];
  std::swap(single[0], single[1]);
  CHECK(parsed(file).after == std::vector<index_t>{3});
  single[0]["Sequence"]["id"] = "B";
  CHECK_THROWS_AS(parsed(file), preheat::io_error);
  single.erase(0);
  CHECK_THROWS_AS(parsed(file), preheat::io_error);
  single[0]["SpecialToken"]["id"] = "<t>";
  CHECK_THROWS_AS(parsed(file), preheat::io_error);
}

TEST_CASE("tokenizer.json: what is not understood is refused by its name") {
  struct refusal {
    const char* place;
    json value;
    const char* names;  // what the error must contain
  };
  const std::vector<refusal> refusals = {
      {"/truncation", {{"max_length", 5}}, "\"truncation\""},
      {"/padding", {{"strategy", "BatchLongest"}}, "\"padding\""},
      {"/odd", 1, "\"odd\""},
      {"/added_tokens/0/lstrip", true, "\"lstrip\""},
      {"/added_tokens/0/rstrip", true, "\"rstrip\""},
      {"/added_tokens/0/single_word", true, "\"single_word\""},
      {"/added_tokens/0/odd", 1, "\"odd\""},
      {"/added_tokens/0/id", 1000000000, "twice the number of tokens"},
      {"/added_tokens/0/id", -1, "whole number"},
      {"/added_tokens/0/id", 1, "no other token has its number"},
      {"/added_tokens/0/content", "", "is not empty"},
      {"/added_tokens", "x", "\"added_tokens\""},
      {"/normalizer", {{"type", "NFKC"}}, "\"NFC\" or \"Sequence\""},
      {"/normalizer", {{"type", "NFC"}, {"odd", 1}}, "\"odd\""},
      {"/pre_tokenizer", nullptr, "\"pre_tokenizer\""},
      {"/pre_tokenizer/type", "Whitespace", "Whitespace"},
      {"/pre_tokenizer/add_prefix_space", true, "\"add_prefix_space\""},
      {"/pre_tokenizer/use_regex", false, "byte level"},
      {"/pre_tokenizer/use_regex", 1, "\"use_regex\""},
      {"/post_processor", {{"type", "BertProcessing"}}, "BertProcessing"},
      {"/decoder", nullptr, "\"decoder\""},
      {"/decoder/type", "WordPiece", "WordPiece"},
      {"/decoder/odd", 1, "\"odd\""},
      {"/model/type", "Unigram", "Unigram"},
      {"/model/dropout", 0.1, "\"dropout\""},
      {"/model/unk_token", "<unk>", "\"unk_token\""},
      {"/model/continuing_subword_prefix", "##", "\"continuing_subword_prefix\""},
      {"/model/end_of_word_suffix", "</w>", "\"end_of_word_suffix\""},
      {"/model/byte_fallback", true, "\"byte_fallback\""},
      {"/model/ignore_merges", "no", "\"ignore_merges\""},
      {"/model/odd", 1, "\"odd\""},
      {"/model/vocab", json::array(), "\"vocab\""},
      {"/model/vocab/ab", 1000000000, "twice the number of tokens"},
      {"/model/vocab/ab", 1.5, "whole number"},
      {"/model/vocab/ab", 1, "have one number"},
      {"/model/vocab/", 3, "not empty"},
      {"/model/merges", json::object(), "\"merges\""},
      {"/model/merges/0", "a b c", "a merge is"},
      {"/model/merges/0", "ab", "a merge is"},
      {"/model/merges/0", {"a"}, "a merge is"},
      {"/model/merges/0", {"a", 1}, "a merge is"},
      {"/model/merges/0", {"a", "a"}, "aa is a token"},
      {"/model/merges/1", {"a", "b"}, "merged twice"},
  };
  for (const refusal& one : refusals) {
    CAPTURE(one.place);
    CAPTURE(one.value.dump());
    const std::string error = error_with(one.place, one.value);
    CAPTURE(error);
    CHECK(error.starts_with("preheat: t"));  // t.json or tokenizer
    CHECK(error.find(one.names) != std::string::npos);
  }
  CHECK(error_with("/version", "2.0") == "accepted");
}

TEST_CASE("tokenizer.json: files that are no such thing") {
  const std::string deep = std::string(100000, '[') + std::string(100000, ']');
  for (const std::string& text :
       {std::string(), std::string("{}"), std::string("[]"), std::string("{\"model\": 1}"),
        std::string("{\"model\": {\"vocab\": {\"a\": 0, \"a\": 1}}}"), deep,
        small_file().dump().substr(0, 300), std::string("\0", 1)}) {
    CHECK_THROWS_AS(preheat::text::parse_tokenizer_json(text, "t.json"), preheat::io_error);
  }
}

TEST_CASE("tokenizer.json: a damaged file is read or refused, and never anything else") {
  const std::string whole = small_file().dump();
  std::minstd_rand random(1);
  const auto below = [&random](std::size_t limit) { return std::size_t(random()) % limit; };
  const std::string marks = "{}[]\",:0123456789-abtrufnl\\\xC4\xA0";
  std::size_t read = 0;
  std::size_t refused = 0;
  for (int round = 0; round < 4000; ++round) {
    std::string text = whole;
    for (std::size_t change = 1 + below(3); change > 0; --change) {
      const std::size_t place = below(text.size());
      switch (below(3)) {
        case 0:
          text[place] = marks[below(marks.size())];
          break;
        case 1:
          text.erase(place, 1 + below(8));
          break;
        default:
          text.insert(place, text.substr(below(text.size()), below(12)));
      }
    }
    try {
      const byte_pair_encoding tokenizer(preheat::text::parse_tokenizer_json(text, "t.json"));
      const std::vector<index_t> ids = tokenizer.encode("abba<s> \u00E9\xFF 12");
      tokenizer.decode(ids);
      ++read;
    } catch (const preheat::io_error&) {
      ++refused;
    } catch (const preheat::invalid_argument&) {
      ++refused;
    }
  }
  CHECK(read > 10);
  CHECK(refused > 2000);
}

gguf_tokenizer small_metadata() {
  gguf_tokenizer given;
  given.model = "gpt2";
  given.pre = "gpt-2";
  given.tokens = {"a", "b", "ab", "<s>", "<t>"};
  given.merges = {"a b"};
  given.token_types = {1, 1, 1, 3, 4};
  given.bos = 3;
  given.eos = 4;
  return given;
}

TEST_CASE("gguf tokenizer: types of tokens, and flags that add some") {
  gguf_tokenizer given = small_metadata();
  const byte_pair_encoding tokenizer(model_of(given));
  CHECK(tokenizer.encode("ab<s><t>b") == std::vector<index_t>{2, 3, 4, 1});
  CHECK(tokenizer.is_special(3));
  CHECK(!tokenizer.is_special(4));
  given.add_bos = true;
  given.add_eos = true;
  CHECK(byte_pair_encoding(model_of(given)).encode("a") == std::vector<index_t>{3, 0, 4});
  given.token_types[4] = 5;  // unused
  given.tokens[4] = "b\xFF";
  given.add_eos = false;
  CHECK(byte_pair_encoding(model_of(given)).encode("b") == std::vector<index_t>{3, 1});
}

TEST_CASE("gguf tokenizer: what follows from the name of the rule") {
  gguf_tokenizer given = small_metadata();
  const auto model = [&given](const char* pre) {
    given.pre = pre;
    return model_of(given);
  };
  CHECK(model("smollm").rule == pre_tokenizer_rule::smollm);
  CHECK(model("qwen2").compose);
  CHECK(!model("qwen2").ignore_merges);
  CHECK(model("llama-bpe").ignore_merges);
  CHECK(model("llama-bpe").before == std::vector<index_t>{3});
  CHECK(model("gpt-2").before.empty());
  given.add_bos = false;
  CHECK(model("llama-bpe").before.empty());
}

TEST_CASE("gguf tokenizer: what is not understood is refused by its key") {
  const auto refused = [](auto change, const char* key) {
    gguf_tokenizer given = small_metadata();
    change(given);
    std::string error = "accepted";
    try {
      model_of(given);
    } catch (const preheat::io_error& thrown) {
      error = thrown.what();
    }
    CAPTURE(error);
    CHECK(error.starts_with("preheat: GGUF metadata: tokenizer.ggml." + std::string(key) + ": "));
  };
  refused([](gguf_tokenizer& t) { t.model = "llama"; }, "model");
  refused([](gguf_tokenizer& t) { t.pre = "default"; }, "pre");
  refused([](gguf_tokenizer& t) { t.token_types.pop_back(); }, "token_type");
  refused([](gguf_tokenizer& t) { t.token_types[0] = 6; }, "token_type");
  refused([](gguf_tokenizer& t) { t.tokens[1] = ""; }, "tokens");
  refused([](gguf_tokenizer& t) { t.merges[0] = "ab"; }, "merges");
  refused([](gguf_tokenizer& t) { t.merges[0] = "a b c"; }, "merges");
  refused([](gguf_tokenizer& t) { t.add_space_prefix = true; }, "add_space_prefix");
  refused([](gguf_tokenizer& t) { t.add_bos = true, t.bos.reset(); }, "bos_token_id");
  refused([](gguf_tokenizer& t) { t.add_eos = true, t.eos = 5; }, "eos_token_id");
  refused([](gguf_tokenizer& t) { t.add_eos = true, t.eos = -1; }, "eos_token_id");
}

}  // namespace
