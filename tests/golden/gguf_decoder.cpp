// Decoders from GGUF files: the weights are, to the bit, those of the Hugging Face folder that the file
// was made from, and the logits those of transformers.
#include <algorithm>
#include <filesystem>
#include <preheat/gguf/decoder.hpp>
#include <preheat/huggingface/decoder.hpp>
#include <preheat/nn/decoder.hpp>
#include <preheat/operators/adapted.hpp>

#include "encoder_fixture.hpp"

namespace {

namespace fs = std::filesystem;
using namespace golden;
using namespace preheat;

// The files of a folder that are models, not adapters, without ".gguf"; sorted.
std::vector<std::string> models_in(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(path_of(folder))) {
    const fs::path& path = entry.path();
    const std::string stem = path.stem().string();
    if (path.extension() == ".gguf" && stem.find("lora") == std::string::npos) {
      names.push_back(stem);
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

template <class Be>
class comparison {
 public:
  comparison(Be& be, const nn::decoder_weights<Be>& found, const nn::decoder_weights<Be>& expected)
      : be_(be), found_(found), expected_(expected) {}

  void check() {
    same(found_.frozen.words, expected_.frozen.words);
    same(found_.frozen.positions, expected_.frozen.positions);
    same(found_.frozen.norm);
    REQUIRE(found_.layers.size() == expected_.layers.size());
    for (std::size_t i = 0; i < found_.layers.size(); ++i) {
      CAPTURE(found_.layers[i].name);
      CHECK(found_.layers[i].name == expected_.layers[i].name);
      same(found_.layers[i].W, expected_.layers[i].W);
      same(found_.layers[i].b, expected_.layers[i].b);
    }
    REQUIRE(found_.frozen.blocks.size() == expected_.frozen.blocks.size());
    for (std::size_t i = 0; i < found_.frozen.blocks.size(); ++i) {
      const auto& one = found_.frozen.blocks[i];
      const auto& other = expected_.frozen.blocks[i];
      same(one.attention.gamma, other.attention.gamma);
      same(one.attention.beta, other.attention.beta);
      same(one.mlp.gamma, other.mlp.gamma);
      same(one.mlp.beta, other.mlp.beta);
      same(one.query, other.query);
      same(one.key, other.key);
    }
    same(found_.frozen.norm.gamma, expected_.frozen.norm.gamma);
    same(found_.frozen.norm.beta, expected_.frozen.norm.beta);
  }

 private:
  void same(const nn::norm_weights<Be>& norm) { CHECK(norm.gamma.rows() > 0); }
  void same(const_view_of<Be> x, const_view_of<Be> y) {
    CHECK(compare(host(be_, x), host(be_, y), 0).good);
  }

  Be& be_;
  const nn::decoder_weights<Be>& found_;
  const nn::decoder_weights<Be>& expected_;
};

// Everything but the rotary scaling of Llama 3, which a GGUF file has as divisors, rounded to float.
void check_config(const nn::decoder_config& a, const nn::decoder_config& b) {
  CHECK(a.vocab_size == b.vocab_size);
  CHECK(a.hidden_size == b.hidden_size);
  CHECK(a.intermediate_size == b.intermediate_size);
  CHECK(a.blocks == b.blocks);
  CHECK(a.heads == b.heads);
  CHECK(a.key_value_heads == b.key_value_heads);
  CHECK(a.head_size == b.head_size);
  CHECK(a.max_positions == b.max_positions);
  CHECK(a.norm == b.norm);
  CHECK(a.norm_epsilon == b.norm_epsilon);
  CHECK(a.positions == b.positions);
  CHECK(a.rotary.theta == b.rotary.theta);
  CHECK(a.window == b.window);
  CHECK(a.qk_norm == b.qk_norm);
  CHECK(a.fused_qkv == b.fused_qkv);
  CHECK(a.qkv_bias == b.qkv_bias);
  CHECK(a.output_bias == b.output_bias);
  CHECK(a.mlp_bias == b.mlp_bias);
  CHECK(a.gated == b.gated);
  CHECK(a.activation == b.activation);
  CHECK(a.tied_head == b.tied_head);
  CHECK(a.names == b.names);
  const auto f = nn::rotary_frequencies(a.rotary, a.head_size);
  const auto g = nn::rotary_frequencies(b.rotary, b.head_size);
  for (std::size_t i = 0; i < f.size(); ++i) {
    CHECK(std::abs(f[i] - g[i]) <= (a.rotary.divisors.empty() ? 0 : 1e-7) * g[i]);
  }
}

}  // namespace

TEST_CASE_TEMPLATE("gguf decoder: the weights and logits of Hugging Face's folder", T, double,
                   float) {
  using Be = cpu<T>;
  const std::vector<std::string> names = models_in("gguf/twins");
  CHECK(names.size() >= 4);
  bool divided = false;
  for (const std::string& name : names) {
    CAPTURE(name);
    Be be;
    auto weights = gguf::read_decoder(be, path_of("gguf/twins/" + name + ".gguf"));
    const auto expected = huggingface::read_decoder<Be>(be, path_of("llama/" + name + "/base"));
    check_config(weights.config, expected.config);
    comparison<Be>(be, weights, expected).check();

    const bool divisors = !weights.config.rotary.divisors.empty();
    divided = divided || divisors;
    const fixture io_file("llama/" + name + "/io");
    nn::causal_batch<Be> batch;
    nn::pack<Be>(whole_numbers(io_file, "input_ids"), whole_numbers(io_file, "labels"),
                 whole_numbers(io_file, "attention_mask"), io_file.count("input_ids"), batch);
    nn::decoder<Be> net(be, std::move(weights));
    base_operator<Be> base(net);
    check_close(io_file, "logits_base", host(be, net.forward(batch, base)),
                tokens_of(io_file, "logits_base", batch),
                divisors ? std::max(output_rtol<T>, 1e-6) : output_rtol<T>);
  }
  CHECK(divided);
}

TEST_CASE_TEMPLATE("gguf decoder: a model of every type of tensor", T, double, float) {
  using Be = cpu<T>;
  const fixture io_file("gguf/model/io");
  const std::vector<index_t> ids = whole_numbers(io_file, "ids.values");
  const std::vector<index_t> offsets = whole_numbers(io_file, "ids.offsets");
  for (const std::string kind : {"f32", "mixed"}) {
    CAPTURE(kind);
    Be be;
    auto weights = gguf::read_decoder(be, path_of("gguf/model/model-" + kind + ".gguf"));
    const std::string folder = path_of(kind == "f32" ? "gguf/model/hf" : "gguf/model/hf_mixed");
    if (kind == "f32" || fs::exists(folder)) {  // the second is not in the repository
      const auto expected = huggingface::read_decoder<Be>(be, folder);
      check_config(weights.config, expected.config);
      comparison<Be>(be, weights, expected).check();
    }
    nn::decoder<Be> net(be, std::move(weights));
    base_operator<Be> base(net);
    for (std::size_t row = 0; row + 1 < offsets.size(); ++row) {
      nn::causal_batch<Be> batch;
      batch.ids.assign(ids.begin() + offsets[row], ids.begin() + offsets[row + 1]);
      batch.labels = batch.ids;
      batch.lengths = {index_t(batch.ids.size())};
      const std::string tensor = kind + ".logits." + std::to_string(row);
      check_close(io_file, tensor, host(be, net.forward(batch, base)), io_file.tokens(tensor),
                  output_rtol<T>);
    }
  }
}

// A model kept as its file has it: made dense it has the bits of the dense one, and before that its logits
// to rounding.
TEST_CASE_TEMPLATE("gguf decoder: kept as stored", T, double, float) {
  using Be = cpu<T>;
  Be be;
  std::vector<std::string> files;
  for (const std::string& name : models_in("gguf/twins")) {
    files.push_back("gguf/twins/" + name + ".gguf");
  }
  files.push_back("gguf/model/model-f32.gguf");
  files.push_back("gguf/model/model-mixed.gguf");
  for (const std::string& file : files) {
    CAPTURE(file);
    const auto dense = gguf::read_decoder(be, path_of(file));
    auto kept = gguf::read_decoder(be, path_of(file), weight_storage::as_stored);
    for (const auto& layer : kept.layers) {
      CHECK(layer.W.is_stored());
    }
    nn::decoder<Be> net(be, gguf::read_decoder(be, path_of(file), weight_storage::as_stored));
    nn::decoder<Be> plain(be, gguf::read_decoder(be, path_of(file)));
    base_operator<Be> of_net(net), of_plain(plain);
    const nn::causal_batch<Be> batch{{1, 3, 2, 4, 0, 2}, {1, 3, 2, 4, 0, 2}, {4, 2}};
    const golden::dense expected = host(be, plain.forward(batch, of_plain));
    CHECK(compare(host(be, net.forward(batch, of_net)), expected, output_rtol<T>).good);

    kept.frozen.words = be.zeros(dense.frozen.words.rows(), dense.frozen.words.cols());
    be.unpack_rows(kept.frozen.word_rows, 0, kept.frozen.words);
    for (auto& layer : kept.layers) {
      layer.W.make_dense(be);
    }
    comparison<Be>(be, kept, dense).check();
  }
}
