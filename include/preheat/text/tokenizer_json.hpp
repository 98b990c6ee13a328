// Reads the tokenizer.json of Hugging Face for a byte-level BPE model.
//
//   const text::byte_pair_encoding tokenizer(text::read_tokenizer_json("model/tokenizer.json"));
//
// Every field is used, or has the only value that this tokenizer knows, or is refused by its name:
//   used: model.vocab, .merges (both spellings), .ignore_merges; added_tokens with special and
//     normalized; the normalizer NFC; the pre-tokenizers of GPT-2, SmolLM2, Llama 3 and Qwen 2; a
//     post-processor that frames one text by special tokens.
//   without effect on the numbers of one text, and passed over: version, trim_offsets, the types and
//     the pair template of the post-processor, what the byte-level decoder says besides its type.
//   refused unless absent, null or off: truncation, padding, dropout, unknown tokens, affixes, byte
//     fallback, prefix spaces, added tokens that swallow blanks or only match words.
//
// Errors: io_error, naming the file and the field. Cost: two passes over the file, of at most 64 MiB.
#pragma once
#include <cstddef>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../core/error.hpp"
#include "../core/types.hpp"
#include "../files/strict_json.hpp"
#include "../files/text_file.hpp"
#include "byte_pair_model.hpp"
#include "json_fields.hpp"
#include "pre_tokenizer.hpp"

namespace preheat::text {

namespace detail {

class tokenizer_json_parser {
 public:
  byte_pair_model parse(const nlohmann::json& file, const std::string& source) {
    json_fields top(file, source);
    top.pass_over({"version"});
    top.expect("truncation", {nullptr});
    top.expect("padding", {nullptr});
    read_model(json_fields(top.need("model"), top.inner("model")));
    read_added(top);
    read_normalizer(top.find("normalizer"), top.inner("normalizer"));
    read_pre_tokenizer(json_fields(top.need("pre_tokenizer"), top.inner("pre_tokenizer")));
    read_post_processor(top.find("post_processor"), top.inner("post_processor"));
    json_fields decoder(top.need("decoder"), top.inner("decoder"));
    decoder.expect("type", {"ByteLevel"});
    decoder.pass_over({"add_prefix_space", "trim_offsets", "use_regex"});
    decoder.finish();
    top.finish();
    return std::move(model_);
  }

 private:
  void read_model(json_fields model) {
    model.expect("type", {nullptr, "BPE"});
    model.expect("dropout", {nullptr, 0.0});
    model.expect("unk_token", {nullptr});
    model.expect("continuing_subword_prefix", {nullptr, ""});
    model.expect("end_of_word_suffix", {nullptr, ""});
    model.expect("byte_fallback", {nullptr, false});
    model.pass_over({"fuse_unk"});  // of unknown tokens, which there are none
    model_.ignore_merges = model.flag("ignore_merges");
    const nlohmann::json& vocabulary = model.need("vocab", nlohmann::json::value_t::object);
    for (const auto& [token, id] : vocabulary.items()) {
      const std::size_t number = whole_number(id, 2 * vocabulary.size(), model, "vocab", token);
      if (token.empty()) {
        model.fail("vocab", "its tokens are not empty");
      }
      if (number >= model_.tokens.size()) {
        model_.tokens.resize(number + 1);
      }
      if (!model_.tokens[number].empty()) {
        model.fail("vocab", files::in_quotes(token) + " and " +
                                files::in_quotes(model_.tokens[number]) + " have one number");
      }
      model_.tokens[number] = token;
    }
    for (const nlohmann::json& merge : model.need("merges", nlohmann::json::value_t::array)) {
      model_.merges.push_back(merge_of(merge, model));
    }
    model.finish();
  }

  // ["a", "b"] or "a b".
  static std::pair<std::string, std::string> merge_of(const nlohmann::json& merge,
                                                      const json_fields& model) {
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      return {merge[0].get<std::string>(), merge[1].get<std::string>()};
    }
    const std::string text = merge.is_string() ? merge.get<std::string>() : "";
    const std::size_t space = text.find(' ');
    if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
      model.fail("merges",
                 R"(a merge is ["a", "b"] or "a b", not )" + files::in_quotes(merge.dump()));
    }
    return {text.substr(0, space), text.substr(space + 1)};
  }

  void read_added(json_fields& top) {
    const nlohmann::json& list = top.need("added_tokens", nlohmann::json::value_t::array);
    const std::size_t most = 2 * (model_.tokens.size() + list.size());
    for (const nlohmann::json& item : list) {
      json_fields token(item, top.inner("added_tokens"));
      added_token added;
      added.text = token.text("content");
      added.id = index_t(whole_number(token.need("id"), most, token, "id", added.text));
      added.special = token.flag("special");
      added.normalized = token.flag("normalized");
      for (const char* const unknown : {"single_word", "lstrip", "rstrip"}) {
        token.expect(unknown, {nullptr, false});
      }
      token.finish();
      model_.added.push_back(std::move(added));
    }
  }

  void read_normalizer(const nlohmann::json* value, const std::string& place) {
    if (value == nullptr) {
      return;
    }
    json_fields normalizer(*value, place);
    normalizer.expect("type", {"NFC", "Sequence"});
    if (normalizer.text("type") == "NFC") {
      model_.compose = true;
    } else {
      for (const nlohmann::json& step :
           normalizer.need("normalizers", nlohmann::json::value_t::array)) {
        read_normalizer(&step, normalizer.inner("normalizers"));  // nested as deeply as JSON may be
      }
    }
    normalizer.finish();
  }

  // Brings the steps into the words of one rule.
  void read_pre_tokenizer(json_fields given) {
    given.expect("type", {"ByteLevel", "Sequence"});
    std::vector<std::string> steps;
    if (given.text("type") == "ByteLevel") {
      steps.push_back(step_of(given));
    } else {
      for (const nlohmann::json& item :
           given.need("pretokenizers", nlohmann::json::value_t::array)) {
        json_fields step(item, given.inner("pretokenizers"));
        steps.push_back(step_of(step));
      }
      given.finish();
    }
    using rule = pre_tokenizer_rule;
    const std::vector<std::pair<std::vector<std::string>, rule>> known = {
        {{"byte level with its pattern"}, rule::gpt2},
        {{std::string(patterns::gpt2), "byte level"}, rule::gpt2},
        {{"digits", "byte level with its pattern"}, rule::smollm},
        {{std::string(patterns::llama3), "byte level"}, rule::llama3},
        {{std::string(patterns::qwen2), "byte level"}, rule::qwen2}};
    for (const auto& [words, name] : known) {
      if (steps == words) {
        model_.rule = name;
        return;
      }
    }
    std::string found;
    for (const std::string& step : steps) {
      found += (found.empty() ? "" : ", ") + files::in_quotes(step);
    }
    given.fail("steps", "those of GPT-2, SmolLM2, Llama 3 and Qwen 2 are understood, not " + found);
  }

  static std::string step_of(json_fields& step) {
    step.expect("type", {"ByteLevel", "Digits", "Split"});
    std::string words;
    if (step.text("type") == "ByteLevel") {
      step.expect("add_prefix_space", {false});  // absent, it would be true
      step.pass_over({"trim_offsets"});
      words = step.flag("use_regex", true) ? "byte level with its pattern" : "byte level";
    } else if (step.text("type") == "Digits") {
      step.expect("individual_digits", {true});
      words = "digits";
    } else {
      step.expect("behavior", {"Isolated"});
      step.expect("invert", {nullptr, false});
      json_fields pattern(step.need("pattern"), step.inner("pattern"));
      words = pattern.text("Regex");
      pattern.finish();
    }
    step.finish();
    return words;
  }

  void read_post_processor(const nlohmann::json* value, const std::string& place) {
    if (value == nullptr) {
      return;
    }
    json_fields processor(*value, place);
    processor.expect("type", {"ByteLevel", "Sequence", "TemplateProcessing"});
    const std::string type = processor.text("type");
    if (type == "ByteLevel") {
      processor.pass_over({"add_prefix_space", "trim_offsets", "use_regex"});
    } else if (type == "Sequence") {
      for (const nlohmann::json& step :
           processor.need("processors", nlohmann::json::value_t::array)) {
        read_post_processor(&step, processor.inner("processors"));
      }
    } else {
      read_template(processor);
    }
    processor.finish();
  }

  // [<|begin_of_text|>, A]: the tokens around the text.
  void read_template(json_fields& processor) {
    if (!model_.before.empty() || !model_.after.empty()) {
      processor.fail("type", "one step frames the text, not two");
    }
    processor.pass_over({"pair"});
    json_fields special(processor.need("special_tokens"), processor.inner("special_tokens"));
    bool text_seen = false;
    for (const nlohmann::json& item : processor.need("single", nlohmann::json::value_t::array)) {
      json_fields part(item, processor.inner("single"));
      if (const nlohmann::json* const sequence = part.find("Sequence")) {
        json_fields text(*sequence, part.inner("Sequence"));
        text.expect("id", {"A"});
        text.pass_over({"type_id"});
        text.finish();
        if (std::exchange(text_seen, true)) {
          processor.fail("single", "the text is in it once, not twice");
        }
      } else {
        json_fields named(part.need("SpecialToken"), part.inner("SpecialToken"));
        const std::string name = named.text("id");
        named.pass_over({"type_id"});
        named.finish();
        json_fields token(special.need(name.c_str()), special.inner(name.c_str()));
        token.pass_over({"id", "tokens"});
        for (const nlohmann::json& id : token.need("ids", nlohmann::json::value_t::array)) {
          const std::size_t most = 2 * (model_.tokens.size() + model_.added.size());
          (text_seen ? model_.after : model_.before)
              .push_back(index_t(whole_number(id, most, token, "ids", name)));
        }
        token.finish();
      }
      part.finish();
    }
    if (!text_seen) {
      processor.fail("single", "the text is in it");
    }
  }

  // A token's number. Numbers from `most` on would be mostly holes.
  static std::size_t whole_number(const nlohmann::json& value, std::size_t most,
                                  const json_fields& place, const char* key,
                                  const std::string& token) {
    if (!value.is_number_unsigned() || value.get<std::size_t>() >= most) {
      place.fail(key, "the number of " + files::in_quotes(token) + " is a whole number below " +
                          std::to_string(most) + ", twice the number of tokens, not " +
                          files::in_quotes(value.dump()));
    }
    return value.get<std::size_t>();
  }

  byte_pair_model model_;
};

}  // namespace detail

// The model in the text of a tokenizer.json; `source` names the file in errors.
inline byte_pair_model parse_tokenizer_json(std::string_view text, const std::string& source) {
  constexpr std::size_t deepest = 16;
  return detail::tokenizer_json_parser().parse(files::parse_strict_json(text, source, deepest),
                                               source);
}

inline byte_pair_model read_tokenizer_json(const std::filesystem::path& path) {
  constexpr std::size_t longest = std::size_t(1) << 26;
  return parse_tokenizer_json(files::read_text_file(path, longest), path.string());
}

}  // namespace preheat::text
