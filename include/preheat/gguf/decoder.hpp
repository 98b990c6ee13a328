// Causal language models in GGUF files, of every tensor type that unpack.hpp knows: Llama, Mistral,
// Qwen2, Qwen3 and GPT-2 (decoder_config.hpp).
//
//   auto net = nn::decoder<Be>(be, gguf::read_decoder(be, "SmolLM2-135M-Instruct.Q4_1.gguf"));
//
// Weights are unpacked to the backend's scalar, which they take as memory, and while one tensor is
// read its size more; the file's own pages are given back. Or they are kept as the file has them, or in
// bf16 or NF4 (weight_storage, core/stored_matrix.hpp): linear layers and an own head, on a CPU the embedding
// too; norms, biases and positions are dense always. A device keeps the file's blocks, which products unpack;
// BF16 and F16 in bf16; F32 dense. Layers have Hugging Face's names, and their rows Hugging Face's order
// (row_order.hpp), so adapters of PEFT fit.
//
// Errors: io_error, naming the file and the key, or the tensor with its shapes: it is missing, unknown,
// of another shape than the metadata say, of a type that is not unpacked, or has an entry that is not
// finite.
#pragma once
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../core/block_matrix.hpp"
#include "../nn/decoder_weights.hpp"
#include "../storage/keep.hpp"
#include "decoder_config.hpp"
#include "reader.hpp"
#include "row_order.hpp"
#include "tensor_names.hpp"
#include "tensor_rows.hpp"
#include "unpack.hpp"

namespace preheat::gguf {

namespace detail {

// Reads the tensors of a model one by one by the names of Hugging Face; `finish` refuses tensors that
// were not read.
template <backend Be>
class decoder_tensors {
 public:
  using T = scalar_of<Be>;

  decoder_tensors(Be& be, const reader& file, const nn::decoder_config& config)
      : be_(be), file_(file), architecture_(architecture_of(file)), head_size_(config.head_size) {}

  // [rows, cols] as a stored matrix; `file` is the reader of the constructor.
  stored_matrix stored(const std::shared_ptr<const reader>& file, const std::string& name,
                       index_t rows, index_t cols, weight_storage keep) {
    const std::string in_this_file = in_file(name);
    const tensor_info& tensor = info(in_this_file, {rows, cols});
    const auto finished = [&](auto source) {
      const stored_matrix W(std::make_shared<const decltype(source)>(std::move(source)));
      if (!storage::all_finite(W)) {
        fail(in_this_file, "it has a NaN or infinite entry");
      }
      taken_.insert(in_this_file);
      if (keep == weight_storage::as_stored) {
        return W;
      }
      const stored_matrix kept = storage::kept_as(keep, W);
      file_.release(tensor);
      return kept;
    };
    return has_pairs(name)
               ? finished(tensor_rows<rows_in_pairs>(file, tensor, rows_in_pairs(head_size_)))
               : finished(tensor_rows<>(file, tensor));
  }

  // [rows, cols] as a device keeps what the file has; `file` is the reader of the constructor.
  weight_of<Be> as_it_is(Be& device, const std::shared_ptr<const reader>& file,
                         const std::string& name, index_t rows, index_t cols) {
    const tensor_info& tensor = info(in_file(name), {rows, cols});
    weight_of<Be> W;
    visit_block(tensor.type, [&]<class Block>(std::type_identity<Block>) {
      if constexpr (Block::entries > 1) {
        stored(file, name, rows, cols, weight_storage::as_stored);  // looks for what is not finite
        const std::vector<Block> blocks = has_pairs(name)
                                              ? blocks_of<Block>(tensor, rows_in_pairs(head_size_))
                                              : blocks_of<Block>(tensor, rows_in_order());
        W = device.store(
            block_matrix<Block>{rows, cols, blocks, std::string(name_of(tensor.type))});
        file_.release(tensor);
      } else if constexpr (sizeof(Block) == 2) {
        W = device.store(matrix(name, rows, cols));
      } else {
        W = matrix(name, rows, cols);
      }
    });
    return W;
  }

  // [rows, cols] as rows × cols, in the order of Hugging Face.
  mat<Be> matrix(const std::string& name, index_t rows, index_t cols) {
    const std::string stored = in_file(name);
    const tensor_info& tensor = info(stored, {rows, cols});
    std::vector<T> host(std::size_t(tensor.count()));
    const view<T> to(host.data(), rows, cols);
    if (has_pairs(name)) {
      read_matrix(stored, tensor, to, rows_in_pairs(head_size_));
    } else {
      read_matrix(stored, tensor, to);
    }
    return uploaded(stored, host, rows, cols);
  }

  // [entries, size] as size × entries, one column per entry.
  mat<Be> table(const std::string& name, index_t entries, index_t size) {
    const std::string stored = in_file(name);
    const tensor_info& tensor = info(stored, {entries, size});
    std::vector<T> host(std::size_t(tensor.count()));
    read_rows(stored, tensor, 0, view<T>(host.data(), size, entries));
    return uploaded(stored, host, size, entries);
  }

  // [size] as size×1, in the order of Hugging Face.
  mat<Be> vector(const std::string& name, index_t size) {
    const std::string stored = in_file(name);
    const tensor_info& tensor = info(stored, {size});
    std::vector<T> host(std::size_t(tensor.count()));
    read_matrix(stored, tensor, view<T>(host.data(), size, 1));
    if (has_pairs(name)) {
      const rows_in_pairs order(head_size_);
      const std::vector<T> pairs = host;
      for (index_t i = 0; i < size; ++i) {
        host[std::size_t(i)] = pairs[std::size_t(order(i))];
      }
    }
    return uploaded(stored, host, size, 1);
  }

  // Refuses a tensor that was not read and is not `passed_over`.
  void finish(const std::string& passed_over) const {
    for (const auto& entry : file_.tensors()) {
      if (!taken_.contains(entry.first) && entry.first != passed_over) {
        fail(entry.first, "a decoder of this architecture and config has no such tensor");
      }
    }
  }

 private:
  // Whether the file has the rows of every head in pairs.
  bool has_pairs(const std::string& name) const {
    return has_rows_in_pairs(architecture_, std::string_view(name).substr(0, name.rfind('.')));
  }

  [[noreturn]] void fail(const std::string& stored, const std::string& problem) const {
    throw io_error(file_.source() + ": tensor " + files::in_quotes(stored) + ": " + problem);
  }

  std::string in_file(const std::string& name) const {
    const auto stored = gguf_name(architecture_, name);
    require(stored.has_value(), "no name in GGUF files for the tensor " + files::in_quotes(name));
    return *stored;
  }

  const tensor_info& info(const std::string& stored, const std::vector<index_t>& shape) {
    if (!file_.contains(stored)) {
      fail(stored, "it is missing");
    }
    const tensor_info& tensor = file_.info(stored);
    if (tensor.shape != shape) {
      fail(stored, "its shape is " + shape_text(tensor.shape) + ", the metadata require " +
                       shape_text(shape));
    }
    if (!is_unpacked(tensor.type)) {
      fail(stored, "its type " + std::string(name_of(tensor.type)) + " is not unpacked");
    }
    return tensor;
  }

  mat<Be> uploaded(const std::string& stored, const std::vector<T>& host, index_t rows,
                   index_t cols) {
    file_.release(file_.info(stored));
    if (!std::all_of(host.begin(), host.end(), [](T x) { return std::isfinite(x); })) {
      fail(stored, "it has a NaN or infinite entry");
    }
    mat<Be> M = be_.zeros(rows, cols);
    be_.upload(host, M);
    taken_.insert(stored);
    return M;
  }

  Be& be_;
  const reader& file_;
  std::string architecture_;
  index_t head_size_;
  std::set<std::string> taken_;
};

// The modules that are no linear layers, by the names of Hugging Face.
struct decoder_modules {
  std::string words, positions, attention_norm, mlp_norm, last_norm;
};
inline decoder_modules modules_of(nn::decoder_names names) {
  if (names == nn::decoder_names::gpt2) {
    return {"transformer.wte", "transformer.wpe", "ln_1", "ln_2", "transformer.ln_f"};
  }
  return {"model.embed_tokens", "", "input_layernorm", "post_attention_layernorm", "model.norm"};
}

}  // namespace detail

namespace detail {

// Without an owner of the file everything is dense.
template <backend Be>
nn::decoder_weights<Be> read_decoder(Be& be, const reader& file, weight_storage keep,
                                     const std::shared_ptr<const reader>& owner) {
  storage::require_keeps<Be>(keep);
  nn::decoder_weights<Be> w;
  w.config = read_decoder_config(file);
  const nn::decoder_config& c = w.config;
  const decoder_modules names = modules_of(c.names);
  decoder_tensors<Be> tensors(be, file, c);
  const auto norm = [&](const std::string& name) {
    nn::norm_weights<Be> one{tensors.vector(name + ".weight", c.hidden_size)};
    if (c.norm == nn::norm_kind::layer) {
      one.beta = tensors.vector(name + ".bias", c.hidden_size);
    }
    return one;
  };
  const auto matrix = [&](const std::string& name, index_t rows, index_t cols) -> weight_of<Be> {
    return storage::kept_by<Be>(
        be, keep, [&] { return tensors.matrix(name, rows, cols); },
        [&](weight_storage type) { return tensors.stored(owner, name, rows, cols, type); },
        [&](auto& device) { return tensors.as_it_is(device, owner, name, rows, cols); });
  };

  if (keep == weight_storage::dense || !stored_matrix_backend<Be>) {
    w.frozen.words = tensors.table(names.words + ".weight", c.vocab_size, c.hidden_size);
  } else {
    w.frozen.word_rows =
        tensors.stored(owner, names.words + ".weight", c.vocab_size, c.hidden_size, keep);
  }
  if (c.positions == nn::position_kind::learned) {
    w.frozen.positions = tensors.table(names.positions + ".weight", c.max_positions, c.hidden_size);
  }
  for (index_t i = 0; i < c.blocks; ++i) {
    const std::string block = nn::block_prefix(c, i);
    for (const nn::decoder_layer_shape& shape : nn::linear_layers_of_block(c)) {
      const std::string name = block + shape.name;
      base_layer<Be> layer{name, matrix(name + ".weight", shape.rows, shape.cols)};
      if (shape.bias) {
        layer.b = tensors.vector(name + ".bias", shape.rows);
      }
      w.layers.push_back(std::move(layer));
    }
    nn::decoder_block_norms<Be> norms{norm(block + names.attention_norm),
                                      norm(block + names.mlp_norm)};
    if (c.qk_norm) {
      norms.query = tensors.vector(block + "self_attn.q_norm.weight", c.head_size);
      norms.key = tensors.vector(block + "self_attn.k_norm.weight", c.head_size);
    }
    w.frozen.blocks.push_back(std::move(norms));
  }
  w.frozen.norm = norm(names.last_norm);
  if (!c.tied_head) {
    w.layers.push_back({"lm_head", matrix("lm_head.weight", c.vocab_size, c.hidden_size)});
  }
  tensors.finish(c.rotary.divisors.empty() ? "" : "rope_freqs.weight");
  return w;
}

}  // namespace detail

// The weights of an open file, dense.
template <backend Be>
nn::decoder_weights<Be> read_decoder(Be& be, const reader& file) {
  return detail::read_decoder(be, file, weight_storage::dense, nullptr);
}

// The weights of a file, kept in this type. Weights that are kept as stored keep the file open.
template <backend Be>
nn::decoder_weights<Be> read_decoder(Be& be, const std::filesystem::path& path,
                                     weight_storage keep = weight_storage::dense) {
  const auto file = std::make_shared<const reader>(path);
  return detail::read_decoder(be, *file, keep, file);
}
template <backend Be>
nn::decoder_weights<Be> read_decoder(Be& be, std::shared_ptr<const reader> file,
                                     weight_storage keep) {
  return detail::read_decoder(be, *file, keep, file);
}

}  // namespace preheat::gguf
