// An adapter of whatever format as plain LoRA, layer by layer: PEFT folders, kohya's and other single files,
// LyCORIS (LoHa, LoKr, Tucker's lora_mid) and GGUF. Factors are read when they are asked for, in double.
#pragma once
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <preheat/peft/reader.hpp>

#include "base_model.hpp"
#include "factors.hpp"

namespace apps::adapter {

struct any_layer {
  std::string module;  // as the source calls it
  index_t out = 0;
  index_t in = 0;
  index_t rank = 0;
  double scaling = 1;
  bool embedding = false;
  std::vector<index_t>
      kernel{};  // of a convolution, whose in is that of the inputs times the kernel
  safetensors::dtype type = safetensors::dtype::F32;
  std::function<stored_factors<double>()> read{};
};

struct any_adapter {
  std::string format;  // "PEFT", "kohya", "LyCORIS", "GGUF"
  std::vector<any_layer> layers;
  std::shared_ptr<const peft::reader> lora;  // null for LyCORIS and GGUF
  std::vector<std::string> copied;           // other tensors, of `lora`
};

// Errors: io_error or invalid_argument, naming the file and the tensor: one that is not understood; a GGUF
// file whose rows are in pairs (llama's q and k) without a base that says the heads' size.
any_adapter read_any(const std::filesystem::path& path, const base_model* base);

// The size of a head, by the config.json of a base. Errors: it does not say.
index_t head_size(const base_model* base, const std::string& why);

}  // namespace apps::adapter
