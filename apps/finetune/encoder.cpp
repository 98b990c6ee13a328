// BERT encoders as Hugging Face saves them, with WordPiece in vocab.txt or tokenizer.json.
#include <fmt/format.h>

#include <preheat/huggingface/bert.hpp>

#include "model.hpp"

namespace apps::finetune {
namespace {

using preheat::io_error;
using preheat::text::wordpiece;

// A field of an object, or null.
nlohmann::json field(const nlohmann::json& object, const char* name) {
  return object.is_object() ? object.value(name, nlohmann::json()) : nlohmann::json();
}

// Words in small letters or not. Accents go with them: another choice is refused.
bool lower_case_in(const nlohmann::json& settings, const char* name, const std::string& source) {
  const nlohmann::json lower = field(settings, name);
  const nlohmann::json accents = field(settings, "strip_accents");
  if (!(lower.is_null() || lower.is_boolean())) {
    throw io_error(source + ": " + name + " is true or false");
  }
  const bool small = lower.is_null() || lower.get<bool>();
  if (!accents.is_null() && accents != small) {
    throw io_error(
        fmt::format("{}: strip_accents {} with {} {} is not understood; they are the same", source,
                    accents.dump(), name, small));
  }
  return small;
}

// The tokens of {"[PAD]": 0, …} in the order of their numbers.
std::vector<std::string> tokens_of(const nlohmann::json& vocabulary, const std::string& source) {
  std::vector<std::string> tokens(vocabulary.size());
  for (const auto& [token, id] : vocabulary.items()) {
    const bool number = id.is_number_unsigned() && id.get<std::uint64_t>() < tokens.size();
    if (!number || !tokens[id.get<std::size_t>()].empty()) {
      throw io_error(source + ": model.vocab: the tokens are numbered from 0 on, without a gap");
    }
    tokens[id.get<std::size_t>()] = token;
  }
  return tokens;
}

wordpiece read_json_pieces(const std::filesystem::path& path) {
  const std::string source = path.string();
  const nlohmann::json all = read_model_json(path);
  const nlohmann::json model = field(all, "model");
  const nlohmann::json normalizer = field(all, "normalizer");
  const auto expect = [&](const nlohmann::json& object, const char* name,
                          const nlohmann::json& value, const char* where) {
    if (field(object, name) != value) {
      throw io_error(fmt::format("{}: {}{} is {}, and BERT's is {}", source, where, name,
                                 field(object, name).dump(), value.dump()));
    }
  };
  expect(model, "type", "WordPiece", "model.");
  expect(model, "unk_token", "[UNK]", "model.");
  expect(model, "continuing_subword_prefix", "##", "model.");
  expect(model, "max_input_chars_per_word", 100, "model.");
  expect(normalizer, "type", "BertNormalizer", "normalizer.");
  expect(normalizer, "clean_text", true, "normalizer.");
  expect(normalizer, "handle_chinese_chars", true, "normalizer.");
  expect(field(all, "pre_tokenizer"), "type", "BertPreTokenizer", "pre_tokenizer.");
  const bool small = lower_case_in(normalizer, "lowercase", source + ": normalizer");
  try {
    return wordpiece(tokens_of(field(model, "vocab"), source), {.lower_case = small});
  } catch (const preheat::invalid_argument& error) {
    throw io_error(source + ": " + error.what());
  }
}

wordpiece read_pieces(const std::filesystem::path& folder) {
  const std::filesystem::path vocabulary = folder / "vocab.txt";
  const std::filesystem::path json = folder / "tokenizer.json";
  if (std::filesystem::exists(json)) {
    return read_json_pieces(json);
  }
  if (!std::filesystem::exists(vocabulary)) {
    throw io_error(
        folder.string() +
        ": there is no tokenizer.json and no vocab.txt; an encoder is a folder of Hugging "
        "Face with config.json, one of the two and model.safetensors");
  }
  const std::filesystem::path settings = folder / "tokenizer_config.json";
  const bool small = !std::filesystem::exists(settings) ||
                     lower_case_in(read_model_json(settings), "do_lower_case", settings.string());
  return wordpiece::read(vocabulary, {.lower_case = small});
}

// The names in id2label, as many as the classifier has outputs; without it those that transformers gives.
class_list classes_of(const nlohmann::json& config, std::size_t count, const std::string& source) {
  const nlohmann::json given = field(config, "id2label");
  class_list classes{.names = {}, .by_name = true, .by_number = true};
  for (std::size_t i = 0; i < count; ++i) {
    const nlohmann::json name = field(given, std::to_string(i).c_str());
    if (given.is_object() && !name.is_string()) {
      throw io_error(fmt::format("{}: id2label has no name for output {} of {} of the classifier",
                                 source, i, count));
    }
    classes.names.push_back(given.is_object() ? name.get<std::string>()
                                              : fmt::format("LABEL_{}", i));
  }
  return classes;
}

}  // namespace

base_model read_encoder(Be& be, const std::filesystem::path& folder) {
  auto weights = preheat::huggingface::read_bert(be, folder);
  if (!weights.pooler) {
    throw io_error(
        folder.string() +
        ": the model has no pooler.dense, from which BertForSequenceClassification tells "
        "classes apart");
  }
  auto classifier = std::move(weights.classifier);
  auto head = preheat::nn::random_head(be, 2, weights.config.hidden_size, preheat::generator(0));
  base_model m(folder, network(network::encoder(be, std::move(weights), std::move(head))));
  m.architecture = "bert";
  m.pieces = read_pieces(folder);
  if (classifier) {
    const std::filesystem::path config = folder / "config.json";
    m.classes =
        classes_of(read_model_json(config), std::size_t(classifier->W.rows()), config.string());
    m.classifier = std::move(classifier);
  }
  return m;
}

}  // namespace apps::finetune
