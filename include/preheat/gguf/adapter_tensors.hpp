// LoRA adapters in GGUF files, as llama.cpp reads them: which tensors belong to which layer.
//
//   general.type = adapter, adapter.type = lora, adapter.lora.alpha (FLOAT32), general.architecture
//   blk.0.attn_q.weight.lora_a [r, in]   blk.0.attn_q.weight.lora_b [out, r]   s = alpha/r
//
// The rows of lora_b are ordered as those of the weight (row_order.hpp). On an embedding lora_a is the
// transpose of PEFT's, [vocabulary, r]. There is one alpha for the file, but r may differ.
#pragma once
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "decoder_config.hpp"
#include "reader.hpp"
#include "tensor_names.hpp"

namespace preheat::gguf::detail {

inline constexpr std::string_view factor_a = ".lora_a";
inline constexpr std::string_view factor_b = ".lora_b";

// One layer's factors: the name of Hugging Face, without ".weight", and the tensors.
struct adapter_pair {
  std::string layer;
  std::string weight;  // "blk.0.attn_q.weight"
  index_t rank = 0;
  index_t in = 0;
  index_t out = 0;
};

struct adapter_header {
  std::string architecture;
  double alpha = 1;
  std::vector<adapter_pair> pairs;
};

// Errors: io_error, naming the file and the key or tensor: another kind of file or adapter, metadata
// that are not understood, a factor without the other, a name that is no layer's, an embedding, shapes
// that do not go together.
inline adapter_header read_adapter_header(const file_header& file, const std::string& source) {
  metadata_reader metadata(file.metadata, source);
  const auto expect = [&](const char* key, const std::string& wanted) {
    const auto value = metadata.get<std::string>(key);
    if (value != wanted) {
      metadata.fail("metadata " + files::in_quotes(key) + ": " + files::in_quotes(wanted) +
                    " is needed, it is " + files::in_quotes(value));
    }
  };
  expect("general.type", "adapter");
  expect("adapter.type", "lora");
  adapter_header adapter;
  adapter.architecture = metadata.get<std::string>("general.architecture");
  adapter.alpha = decimal_of(metadata.get<float>("adapter.lora.alpha"));
  if (!std::isfinite(adapter.alpha)) {
    metadata.fail("metadata \"adapter.lora.alpha\": it is not finite");
  }
  metadata.ignore("general.");
  metadata.require_all_read();
  if (file.tensors.empty()) {
    metadata.fail("the adapter has no tensors");
  }

  const auto fail = [&](const std::string& name, const std::string& problem) {
    metadata.fail("tensor " + files::in_quotes(name) + ": " + problem);
  };
  for (const auto& [name, A] : file.tensors) {
    const bool is_a = name.ends_with(factor_a);
    if (!is_a && !name.ends_with(factor_b)) {
      fail(name, "an adapter has tensors \"….lora_a\" and \"….lora_b\" only");
    }
    adapter_pair pair;
    pair.weight = name.substr(0, name.size() - factor_a.size());
    const std::string other = pair.weight + std::string(is_a ? factor_b : factor_a);
    if (!file.tensors.contains(other)) {
      fail(name, "there is no " + files::in_quotes(other));
    }
    if (!is_a) {
      continue;
    }
    if (pair.weight == "token_embd.weight") {
      fail(name, "an embedding; only linear layers can have an adapter here");
    }
    const auto layer = hugging_face_name(adapter.architecture, pair.weight);
    constexpr std::string_view suffix = ".weight";
    if (!layer || !layer->ends_with(suffix)) {
      fail(name,
           "the architecture " + files::in_quotes(adapter.architecture) + " has no such weight");
    }
    pair.layer = layer->substr(0, layer->size() - suffix.size());
    const tensor_info& B = file.tensors.at(other);
    if (A.shape.size() != 2 || B.shape.size() != 2 || A.shape[0] != B.shape[1] || A.count() == 0 ||
        B.count() == 0) {
      fail(name, shape_text(A.shape) + " and " + shape_text(B.shape) +
                     " are no [rank, in] and [out, rank]");
    }
    pair.rank = A.shape[0];
    pair.in = A.shape[1];
    pair.out = B.shape[0];
    adapter.pairs.push_back(std::move(pair));
  }
  return adapter;
}

}  // namespace preheat::gguf::detail
