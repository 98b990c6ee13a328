// A causal language model with its tokenizer: a folder of Hugging Face or a GGUF file.
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <preheat/text/byte_pair_encoding.hpp>

#include "chat.hpp"
#include "network.hpp"

namespace apps::finetune {

using tokenizer = preheat::text::byte_pair_encoding;

struct base_model {
  base_model(std::filesystem::path place, network model, tokenizer t)
      : path(std::move(place)), net(std::move(model)), words(std::move(t)) {}

  std::filesystem::path path;
  bool gguf = false;
  preheat::nn::recompute recompute = preheat::nn::recompute::norms_and_gates;  // of the network
  std::string architecture;  // in the words of GGUF: llama, qwen2, qwen3, gpt2
  network net;
  tokenizer words;
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

// Refuses an encoder as such, before its weights and its tokenizer are found strange. Errors: io_error.
void require_causal_model(const std::filesystem::path& path);

// Errors: io_error: naming the file, for what is missing, not understood or does not belong together.
base_model read_model(Be& be, const std::filesystem::path& path, preheat::weight_storage storage);

}  // namespace apps::finetune
