#include "model.hpp"

#include <algorithm>
#include <map>
#include <memory>

#include <fmt/format.h>

#include <preheat/files/strict_json.hpp>
#include <preheat/files/text_file.hpp>
#include <preheat/gguf/decoder.hpp>
#include <preheat/huggingface/decoder.hpp>
#include <preheat/text/read_gguf_tokenizer.hpp>
#include <preheat/text/tokenizer_json.hpp>

namespace apps::finetune {
namespace {

namespace files = preheat::files;
using preheat::io_error;

// The tokens that the tokenizer puts before a text.
std::vector<index_t> tokens_before(const tokenizer& words) {
  const std::vector<index_t> framed = words.encode("a");
  const std::vector<index_t> alone = words.pieces("a");
  const auto text = std::search(framed.begin(), framed.end(), alone.begin(), alone.end());
  return {framed.begin(), text};
}

void require_vocabulary(const base_model& m) {
  const index_t tokens = m.words ? m.words->size() : m.pieces->size();
  if (tokens > m.net.vocab_size()) {
    throw io_error(
        fmt::format("{}: the tokenizer has {} tokens and the model {}: they do not belong together",
                    m.path.string(), tokens, m.net.vocab_size()));
  }
}

void add_once(index_t id, std::vector<index_t>& ids) {
  if (std::find(ids.begin(), ids.end(), id) == ids.end()) {
    ids.push_back(id);
  }
}

// eos_token_id, a number or a list of them.
void add_ends(const nlohmann::json& config, std::vector<index_t>& ends) {
  const auto found = config.find("eos_token_id");
  if (found == config.end()) {
    return;
  }
  for (const nlohmann::json& id : found->is_array() ? *found : nlohmann::json::array({*found})) {
    if (id.is_number_integer()) {
      add_once(id.get<index_t>(), ends);
    }
  }
}

// A token that tokenizer_config.json names: "…" or {"content": "…"}.
std::string token_text(const nlohmann::json& config, const char* name) {
  const auto found = config.find(name);
  if (found == config.end()) {
    return {};
  }
  const nlohmann::json& text =
      found->is_object() && found->contains("content") ? (*found)["content"] : *found;
  return text.is_string() ? text.get<std::string>() : std::string();
}

// chat_template of tokenizer_config.json: a text, or a list of named ones, of which "default" is taken.
std::string template_in(const nlohmann::json& config) {
  const auto found = config.find("chat_template");
  if (found == config.end()) {
    return {};
  }
  if (found->is_array()) {
    for (const nlohmann::json& one : *found) {
      if (one.is_object() && one.value("name", "") == "default" && one.contains("template") &&
          one["template"].is_string()) {
        return one["template"].get<std::string>();
      }
    }
  }
  return found->is_string() ? found->get<std::string>() : std::string();
}

base_model read_folder(Be& be, const std::filesystem::path& folder,
                       preheat::weight_storage storage) {
  const auto in_folder = [&](const char* name) { return folder / name; };
  for (const char* const name : {"config.json", "tokenizer.json"}) {
    if (!std::filesystem::exists(in_folder(name))) {
      throw io_error(folder.string() + ": there is no " + name +
                     "; a model is a folder of Hugging Face with config.json, tokenizer.json and "
                     "model.safetensors, or a GGUF file");
    }
  }
  const nlohmann::json config = read_model_json(in_folder("config.json"));
  tokenizer words(preheat::text::read_tokenizer_json(in_folder("tokenizer.json")));
  base_model m(folder, network(network::decoder(
                           be, preheat::huggingface::read_decoder(be, folder, storage))));
  m.words = std::move(words);
  const std::string type = config.value("model_type", "");
  m.architecture = type == "mistral" ? "llama" : type;
  m.begin = tokens_before(*m.words);
  add_ends(config, m.stop);
  if (std::filesystem::exists(in_folder("generation_config.json"))) {
    add_ends(read_model_json(in_folder("generation_config.json")), m.stop);
  }
  if (!m.stop.empty()) {
    m.end_of_text = m.stop.front();
  }
  if (std::filesystem::exists(in_folder("tokenizer_config.json"))) {
    const nlohmann::json more = read_model_json(in_folder("tokenizer_config.json"));
    const std::optional<index_t> named = m.words->find(token_text(more, "eos_token"));
    m.end_of_text = named ? named : m.end_of_text;
    m.chat_jinja = template_in(more);
    m.chat_source = in_folder("tokenizer_config.json").string() + ": chat_template";
  }
  if (std::filesystem::exists(in_folder("chat_template.jinja"))) {
    constexpr std::size_t longest = 1 << 20;
    m.chat_jinja = files::read_text_file(in_folder("chat_template.jinja"), longest);
    m.chat_source = in_folder("chat_template.jinja").string();
  }
  return m;
}

base_model read_file(Be& be, const std::filesystem::path& path, preheat::weight_storage storage) {
  const auto opened = std::make_shared<const preheat::gguf::reader>(path);
  const preheat::gguf::reader& file = *opened;
  const preheat::text::gguf_tokenizer described = preheat::text::read_gguf_tokenizer(file);
  tokenizer words(model_of(described));
  base_model m(path,
               network(network::decoder(be, preheat::gguf::read_decoder(be, opened, storage))));
  m.words = std::move(words);
  m.gguf = true;
  preheat::gguf::metadata_reader metadata = file.read_metadata();
  m.architecture = metadata.get<std::string>("general.architecture");
  m.begin = tokens_before(*m.words);
  m.end_of_text = described.eos;
  m.chat_jinja = metadata.get_or<std::string>("tokenizer.chat_template", "");
  m.chat_source = path.string() + ": tokenizer.chat_template";
  return m;
}

}  // namespace

chat_template base_model::chat() const {
  if (chat_jinja.empty()) {
    throw io_error(path.string() +
                   ": the model has no chat template; --chat chatml, llama3 or zephyr names one");
  }
  return recognize_chat_template(
      chat_jinja, end_of_text ? words->token(*end_of_text) : std::string(), chat_source);
}

chat_template base_model::chat_named(const std::string& name) const {
  const std::map<std::string, chat_form> forms = {
      {"chatml", chat_form::chatml}, {"llama3", chat_form::llama3}, {"zephyr", chat_form::zephyr}};
  return {.form = forms.at(name),
          .end_of_text = end_of_text ? words->token(*end_of_text) : std::string(),
          .default_system = {}};
}

std::string base_model::describe() {
  index_t numbers = 0;
  for (const auto& l : net.layers()) {
    numbers += l.W.rows() * l.W.cols();
  }
  const auto shape = net.classifies() ? std::pair(net.as_encoder().config().num_hidden_layers,
                                                  net.as_encoder().config().hidden_size)
                                      : std::pair(net.config().blocks, net.config().hidden_size);
  return fmt::format("{}: {} of {} blocks, width {}, {} numbers in {} linear layers", path.string(),
                     architecture, shape.first, shape.second, numbers, net.layers().size());
}

nlohmann::json read_model_json(const std::filesystem::path& path) {
  constexpr std::size_t longest = 16 << 20;
  constexpr std::size_t deepest = 32;
  return files::parse_strict_json(files::read_text_file(path, longest), path.string(), deepest);
}

bool is_encoder(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) {
    throw io_error(path.string() + ": there is no such model");
  }
  const std::filesystem::path file = path / "config.json";
  if (!std::filesystem::is_directory(path) || !std::filesystem::exists(file)) {
    return false;
  }
  const nlohmann::json type = read_model_json(file).value("model_type", nlohmann::json());
  for (const char* const other : {"roberta", "distilbert", "modernbert", "deberta-v2"}) {
    if (type == other) {
      throw io_error(file.string() + ": model_type \"" + other +
                     "\" is an encoder of a kind that is not understood; of encoders BERT is");
    }
  }
  return type == "bert";
}

base_model read_model(Be& be, const std::filesystem::path& path, preheat::weight_storage storage) {
  const bool encoder = is_encoder(path);
  base_model m = encoder                               ? read_encoder(be, path)
                 : std::filesystem::is_directory(path) ? read_folder(be, path, storage)
                                                       : read_file(be, path, storage);
  require_vocabulary(m);
  if (encoder) {
    return m;
  }
  for (const char* const end : {"<|im_end|>", "<|eot_id|>"}) {
    if (const std::optional<index_t> id = m.words->find(end)) {
      add_once(*id, m.stop);
    }
  }
  if (m.end_of_text) {
    add_once(*m.end_of_text, m.stop);
  }
  return m;
}

}  // namespace apps::finetune
