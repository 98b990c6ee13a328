// The pretrained language model and its tokenizer, from one GGUF file.
#pragma once
#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "network.hpp"

namespace studies::lm {

class base_model {
 public:
  base_model(network net, tokenizer t, std::vector<index_t> stop, std::string name)
      : net_(std::move(net)),
        tokenizer_(std::move(t)),
        stop_(std::move(stop)),
        name_(std::move(name)) {}

  // The model as it was pretrained. Its linear layers are copied; embedding and norms are shared.
  network start() const { return net_.copy(); }
  const tokenizer& words() const { return tokenizer_; }
  // Tokens after which a definition is over: all with a line end, and the model's end of a text.
  const std::vector<index_t>& stop() const { return stop_; }
  // "decoder of 30 blocks, width 576, 106168320 numbers in linear layers; weights 53aa…"
  const std::string& name() const { return name_; }

 private:
  network net_;
  tokenizer tokenizer_;
  std::vector<index_t> stop_;
  std::string name_;
};

// Throws preheat::io_error.
std::shared_ptr<const base_model> read_model(const std::filesystem::path& file);

}  // namespace studies::lm
