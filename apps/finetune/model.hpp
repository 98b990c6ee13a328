// A model with its tokenizer: a causal language model, a folder of Hugging Face or a GGUF file; or a BERT
// encoder, a folder.
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <preheat/text/byte_pair_encoding.hpp>
#include <preheat/text/wordpiece.hpp>

#include "chat.hpp"
#include "network.hpp"

namespace apps::finetune {

using tokenizer = preheat::text::byte_pair_encoding;

// The classes of an encoder. Examples name a class by its name, by its number, or either, as the model or the
// training examples do (classes.hpp).
struct class_list {
  std::vector<std::string> names;
  bool by_name = false;
  bool by_number = false;
};

struct base_model {
  base_model(std::filesystem::path place, network model)
      : path(std::move(place)), net(std::move(model)) {}

  std::filesystem::path path;
  bool gguf = false;
  preheat::nn::recompute recompute = preheat::nn::recompute::norms_and_gates;  // of the network
  std::string architecture;  // in the words of GGUF: llama, qwen2, qwen3, gpt2; or bert
  network net;
  std::optional<tokenizer> words;                  // of a decoder
  std::optional<preheat::text::wordpiece> pieces;  // of an encoder
  class_list classes;                              // likewise; none: the training examples say them
  std::optional<preheat::head_params<Be>>
      classifier;                      // likewise; none: a run begins with a random one
  std::vector<index_t> begin;          // the tokens that a text begins with
  std::optional<index_t> end_of_text;  // follows a text or a completion
  std::vector<index_t> stop;           // a text that is written ends after one of these
  std::string chat_jinja;              // the model's template; empty: none
  std::string chat_source;             // where it stands

  // Errors: io_error for a model without a template, or one that is not understood.
  chat_template chat() const;
  // One of the forms as it is, "chatml".
  chat_template chat_named(const std::string& name) const;
  // "decoder of 30 blocks, width 576, 106168320 numbers in 210 linear layers"
  std::string describe();
};

// Whether it is a BERT encoder. Errors: io_error: there is no such model, or an encoder of another kind,
// before its weights and its tokenizer are found strange.
bool is_encoder(const std::filesystem::path& path);

// The JSON in a file of a model's folder. Errors: io_error.
nlohmann::json read_model_json(const std::filesystem::path& path);

// A BERT encoder. Errors: io_error, as of read_model; a model without pooler.dense.
base_model read_encoder(Be& be, const std::filesystem::path& folder);

// Errors: io_error: naming the file, for what is missing, not understood or does not belong together.
base_model read_model(Be& be, const std::filesystem::path& path, preheat::weight_storage storage);

}  // namespace apps::finetune
