// BERT encoders as Hugging Face saves them: a folder with config.json and model.safetensors (or its
// shards). Tensor names may begin with "bert.", as in the files of a classifier.
//
//   const nn::bert_config shape = huggingface::read_bert_config("all-MiniLM-L6-v2");
//   nn::bert_weights<Be> weights = huggingface::read_bert(be, "all-MiniLM-L6-v2");
//
// F64, F32, F16 and BF16 are converted to the backend's scalar. The pooler and a classifier are
// read if they exist. The heads of pretraining ("cls.…") and the constant position_ids are ignored.
//
// Errors: io_error, naming the file and the field or the tensor with its shapes, for a config of
// another kind of model (relu, relative positions, decoders); for a tensor that is missing,
// unknown, of another shape than in the config, or not floating-point; and for a number that is not
// finite.
#pragma once
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <initializer_list>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "../files/strict_json.hpp"
#include "../files/text_file.hpp"
#include "../nn/bert_weights.hpp"
#include "../safetensors/tensor_files.hpp"
#include "../safetensors/tensor_values.hpp"

namespace preheat::huggingface {

namespace detail {

// Reads the fields of a config.json; errors name the field.
class bert_config_fields {
 public:
  explicit bert_config_fields(const std::filesystem::path& file) : source_(file.string()) {
    constexpr std::size_t longest = 10'000'000;
    constexpr std::size_t deepest = 16;
    fields_ = files::parse_strict_json(files::read_text_file(file, longest), source_, deepest);
    if (!fields_.is_object()) {
      throw io_error(source_ + ": an object is needed");
    }
  }

  // A field without a default must exist; null counts as absent.
  void read(const char* name, index_t& value, bool needed = true) const {
    if (const nlohmann::json* field = find(name, needed)) {
      if (!field->is_number_integer()) {
        fail(name, "a whole number is needed");
      }
      value = field->get<index_t>();
    }
  }
  void read(const char* name, double& value) const {
    if (const nlohmann::json* field = find(name, false)) {
      if (!field->is_number()) {
        fail(name, "a number is needed");
      }
      value = field->get<double>();
    }
  }
  // If the field exists, it must have this value.
  void expect(const char* name, const nlohmann::json& wanted, bool needed = false) const {
    const nlohmann::json* const field = find(name, needed);
    if (field != nullptr && *field != wanted) {
      fail(name, wanted.dump() + " is understood, not " + files::in_quotes(field->dump()));
    }
  }
  [[noreturn]] void fail(const std::string& problem) const {
    throw io_error(source_ + ": " + problem);
  }

 private:
  const nlohmann::json* find(const char* name, bool needed) const {
    const auto found = fields_.find(name);
    if (found != fields_.end() && !found->is_null()) {
      return &*found;
    }
    if (needed) {
      fail(name, "this field is missing");
    }
    return nullptr;
  }
  [[noreturn]] void fail(const char* name, const std::string& problem) const {
    fail(std::string("field ") + files::in_quotes(name) + ": " + problem);
  }

  std::string source_;
  nlohmann::json fields_;
};

}  // namespace detail

inline nn::bert_config read_bert_config(const std::filesystem::path& folder) {
  const detail::bert_config_fields fields(folder / "config.json");
  fields.expect("model_type", "bert", true);
  fields.expect("hidden_act", "gelu");
  fields.expect("position_embedding_type", "absolute");
  fields.expect("is_decoder", false);
  fields.expect("add_cross_attention", false);
  nn::bert_config c;
  fields.read("vocab_size", c.vocab_size);
  fields.read("hidden_size", c.hidden_size);
  fields.read("num_hidden_layers", c.num_hidden_layers);
  fields.read("num_attention_heads", c.num_attention_heads);
  fields.read("intermediate_size", c.intermediate_size);
  fields.read("max_position_embeddings", c.max_position_embeddings, false);
  fields.read("type_vocab_size", c.type_vocab_size, false);
  fields.read("layer_norm_eps", c.layer_norm_eps);
  fields.read("hidden_dropout_prob", c.hidden_dropout);
  fields.read("attention_probs_dropout_prob", c.attention_dropout);
  try {
    nn::require_valid(c);
  } catch (const invalid_argument& error) {
    fields.fail(error.what());
  }
  return c;
}

namespace detail {

// Reads a checkpoint's tensors one by one; `finish` refuses tensors that were not read.
template <backend Be>
class bert_reader {
 public:
  using T = scalar_of<Be>;

  bert_reader(Be& be, const std::filesystem::path& folder) : be_(be), files_(folder, "model") {
    for (const auto& entry : files_.tensors()) {
      std::string name = entry.first;
      if (name.starts_with(prefix)) {
        name.erase(0, prefix.size());
      }
      const auto [place, added] = stored_.emplace(name, entry.first);
      if (!added) {
        fail(entry.first, "it means the same as " + files::in_quotes(place->second));
      }
    }
  }

  bool contains(const std::string& name) const { return stored_.contains(name); }

  // The number of outputs of a tensor of two dimensions.
  index_t rows(const std::string& name) {
    const safetensors::tensor_info& tensor = files_.info(stored(name));
    return tensor.shape.empty() ? 0 : tensor.shape[0];
  }
  // [rows, cols] as rows × cols.
  mat<Be> matrix(const std::string& name, index_t rows, index_t cols) {
    mat<Be> M = be_.zeros(rows, cols);
    be_.copy(transpose::yes, table(name, rows, cols), M);
    return M;
  }
  // [entries, size] as size × entries, one column per entry.
  mat<Be> table(const std::string& name, index_t entries, index_t size) {
    return read(name, {entries, size}, size, entries);
  }
  // [size] as size×1.
  mat<Be> vector(const std::string& name, index_t size) { return read(name, {size}, size, 1); }

  base_layer<Be> linear(const std::string& name, index_t rows, index_t cols) {
    return {name, matrix(name + ".weight", rows, cols), vector(name + ".bias", rows)};
  }
  // Old checkpoints call the weight gamma and the bias beta.
  nn::layer_norm_weights<Be> norm(const std::string& name, index_t size) {
    const bool old = contains(name + ".gamma");
    return {vector(name + (old ? ".gamma" : ".weight"), size),
            vector(name + (old ? ".beta" : ".bias"), size)};
  }

  void finish() const {
    for (const auto& [name, in_file] : stored_) {
      const bool passed_over = name.starts_with("cls.") || name == "embeddings.position_ids";
      if (!taken_.contains(name) && !passed_over) {
        fail(in_file, "a BERT encoder of this config has no such tensor");
      }
    }
  }

 private:
  static constexpr std::string_view prefix = "bert.";

  [[noreturn]] void fail(const std::string& tensor, const std::string& problem) const {
    throw io_error(files_.source().string() + ": tensor " + files::in_quotes(tensor) + ": " +
                   problem);
  }
  const std::string& stored(const std::string& name) const {
    const auto found = stored_.find(name);
    if (found == stored_.end()) {
      fail(name, "it is missing (with and without the prefix \"bert.\")");
    }
    return found->second;
  }
  mat<Be> read(const std::string& name, const std::vector<index_t>& shape, index_t rows,
               index_t cols) {
    const std::string& in_file = stored(name);
    const safetensors::tensor_info& tensor = files_.info(in_file);
    if (tensor.shape != shape) {
      fail(in_file, "its shape is " + safetensors::shape_text(tensor.shape) +
                        ", the config requires " + safetensors::shape_text(shape));
    }
    if (!safetensors::is_floating(tensor.type)) {
      fail(in_file, "it is stored as " + std::string(safetensors::name_of(tensor.type)) +
                        "; F64, F32, F16 and BF16 are understood");
    }
    std::vector<T> host(static_cast<std::size_t>(tensor.count()));
    safetensors::read_rows<T>(in_file, tensor, 0, view<T>(host.data(), rows, cols));
    files_.release(in_file);
    if (!std::all_of(host.begin(), host.end(), [](T x) { return std::isfinite(x); })) {
      fail(in_file, "it has a NaN or infinite entry");
    }
    mat<Be> M = be_.zeros(rows, cols);
    be_.upload(host, M);
    taken_.insert(name);
    return M;
  }

  Be& be_;
  safetensors::tensor_files files_;
  std::map<std::string, std::string> stored_;  // the name without prefix -> in the file
  std::set<std::string> taken_;
};

}  // namespace detail

template <backend Be>
nn::bert_weights<Be> read_bert(Be& be, const std::filesystem::path& folder) {
  nn::bert_weights<Be> w;
  w.config = read_bert_config(folder);
  const nn::bert_config& c = w.config;
  const index_t size = c.hidden_size;
  detail::bert_reader<Be> file(be, folder);

  w.frozen.embeddings = {
      file.table("embeddings.word_embeddings.weight", c.vocab_size, size),
      file.table("embeddings.position_embeddings.weight", c.max_position_embeddings, size),
      file.table("embeddings.token_type_embeddings.weight", c.type_vocab_size, size)};
  w.frozen.norm = file.norm("embeddings.LayerNorm", size);
  const auto shapes = nn::linear_layer_shapes(c);
  for (index_t i = 0; i < c.num_hidden_layers; ++i) {
    const std::string block = "encoder.layer." + std::to_string(i) + ".";
    for (std::size_t k = 0; k < shapes.size(); ++k) {
      w.layers.push_back(
          file.linear(block + nn::linear_layer_names[k], shapes[k][0], shapes[k][1]));
    }
    w.frozen.blocks.push_back({file.norm(block + "attention.output.LayerNorm", size),
                               file.norm(block + "output.LayerNorm", size)});
  }
  if (file.contains("pooler.dense.weight") || file.contains("pooler.dense.bias")) {
    w.pooler = file.linear("pooler.dense", size, size);
  }
  if (file.contains("classifier.weight") || file.contains("classifier.bias")) {
    const index_t classes = file.rows("classifier.weight");
    w.classifier = {file.matrix("classifier.weight", classes, size),
                    file.vector("classifier.bias", classes)};
  }
  file.finish();
  return w;
}

}  // namespace preheat::huggingface
