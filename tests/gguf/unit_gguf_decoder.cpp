// Decoders from GGUF files: every field and tensor arrives where Hugging Face has it, and every file
// that says something else than the network computes is refused with one error that names it.
#include <doctest/doctest.h>

#include <cmath>
#include <concepts>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <preheat/cpu/backend.hpp>
#include <preheat/gguf/decoder.hpp>
#include <preheat/gguf/gguf.hpp>
#include <preheat/nn/rotary.hpp>
#include <string>
#include <vector>

#include "support/scratch.hpp"

namespace {

using namespace preheat;
using Be = cpu<float>;
using weights_type = nn::decoder_weights<Be>;

// Entry i of a tensor: another number for every tensor and entry.
float entry(const std::string& name, index_t i) {
  return float(std::hash<std::string>{}(name) % 97) + float(i) / 1024;
}

// A model of one block that a test then breaks: 8 hidden, 2 heads of 4, 1 for keys, 6 wide, 5 tokens.
struct model {
  std::string architecture;
  gguf::metadata_writer metadata;
  std::map<std::string, std::vector<index_t>> tensors;

  explicit model(std::string name = "llama") : architecture(std::move(name)) {
    metadata.set("general.architecture", architecture);
    set("block_count", 1);
    set("context_length", 16);
    set("embedding_length", 8);
    set("feed_forward_length", 6);
    set("attention.head_count", 2);
    tensors["token_embd.weight"] = {5, 8};
    for (const char* const norm : {"output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"}) {
      tensors[std::string(norm) + ".weight"] = {8};
    }
    if (architecture == "gpt2") {
      add_gpt2();
    } else {
      add_llama();
    }
  }
  void set(const std::string& key, std::integral auto value) {
    metadata.set(architecture + "." + key, std::uint32_t(value));
  }
  void set(const std::string& key, float value) { metadata.set(architecture + "." + key, value); }

  weights_type read(Be& be, weight_storage keep = weight_storage::dense) const {
    const scratch::temporary_directory directory;
    gguf::writer writer;
    writer.metadata() = metadata;
    for (const auto& [name, shape] : tensors) {
      index_t count = 1;
      for (const index_t extent : shape) {
        count *= extent;
      }
      std::vector<float> values;
      for (index_t i = 0; i < count; ++i) {
        values.push_back(name == broken && i == 1 ? std::numeric_limits<float>::infinity()
                                                  : entry(name, i));
      }
      writer.add<float>(name, shape, values);
    }
    writer.write(directory / "m.gguf");
    return gguf::read_decoder(be, directory / "m.gguf", keep);
  }
  // What the reader says against it, behind the file's name.
  std::string fault(weight_storage keep = weight_storage::dense) const {
    Be be;
    try {
      read(be, keep);
    } catch (const io_error& error) {
      const std::string what = error.what();
      return what.substr(what.find("m.gguf: ") + 8);
    }
    return "(no error)";
  }

  std::string broken;  // a tensor with an infinite entry

 private:
  void add_llama() {
    set("attention.head_count_kv", 1);
    set("attention.layer_norm_rms_epsilon", 1e-6F);
    set("rope.freq_base", 500.0F);
    tensors["blk.0.attn_q.weight"] = {8, 8};
    tensors["blk.0.attn_k.weight"] = {4, 8};
    tensors["blk.0.attn_v.weight"] = {4, 8};
    tensors["blk.0.attn_output.weight"] = {8, 8};
    tensors["blk.0.ffn_gate.weight"] = {6, 8};
    tensors["blk.0.ffn_up.weight"] = {6, 8};
    tensors["blk.0.ffn_down.weight"] = {8, 6};
  }
  void add_gpt2() {
    set("attention.layer_norm_epsilon", 1e-5F);
    tensors["position_embd.weight"] = {16, 8};
    tensors["blk.0.attn_qkv.weight"] = {24, 8};
    tensors["blk.0.attn_output.weight"] = {8, 8};
    tensors["blk.0.ffn_up.weight"] = {6, 8};
    tensors["blk.0.ffn_down.weight"] = {8, 6};
    const auto all = tensors;
    for (const auto& [name, shape] : all) {
      if (name.find("embd") == std::string::npos) {
        tensors[name.substr(0, name.size() - 6) + "bias"] = {shape[0]};
      }
    }
  }
};

// The matrix is the tensor, its row i the row order[i] of the file.
bool is_tensor(const cpu_matrix<float>& M, const std::string& name,
               std::vector<index_t> order = {}) {
  bool same = M.rows() * M.cols() > 0;
  for (index_t i = 0; i < M.rows(); ++i) {
    const index_t row = order.empty() ? i : order[std::size_t(i)];
    for (index_t j = 0; j < M.cols(); ++j) {
      same = same && view<const float>(M).data()[i + j * M.ld()] == entry(name, row * M.cols() + j);
    }
  }
  return same;
}
bool is_table(const cpu_matrix<float>& M, const std::string& name) {
  bool same = M.rows() * M.cols() > 0;
  for (index_t j = 0; j < M.cols(); ++j) {
    for (index_t i = 0; i < M.rows(); ++i) {
      same = same && view<const float>(M).data()[i + j * M.ld()] == entry(name, j * M.rows() + i);
    }
  }
  return same;
}

}  // namespace

TEST_CASE("GGUF decoder: llama, its biases and its rows in pairs") {
  model m;
  m.tensors["blk.0.attn_q.bias"] = {8};
  m.tensors["blk.0.attn_k.bias"] = {4};
  m.tensors["blk.0.attn_v.bias"] = {4};
  m.set("attention.sliding_window", 7);
  m.metadata.set("general.name", "tiny");
  m.metadata.set("tokenizer.ggml.model", "gpt2");
  Be be;
  const weights_type w = m.read(be);
  const nn::decoder_config& c = w.config;
  CHECK(c.vocab_size == 5);
  CHECK(c.max_positions == 16);
  CHECK(c.head_size == 4);
  CHECK(c.key_value_heads == 1);
  CHECK(c.norm_epsilon == 1e-6);  // the decimal, not the float
  CHECK(c.rotary.theta == 500);
  CHECK(c.rotary.scaling == nn::rotary_scaling::none);
  CHECK(c.window == 7);
  CHECK(c.qkv_bias);
  CHECK_FALSE(c.output_bias);
  CHECK_FALSE(c.mlp_bias);
  CHECK(c.tied_head);
  const std::vector<index_t> pairs = {0, 2, 1, 3, 4, 6, 5, 7};
  REQUIRE(w.layers.size() == 7);
  CHECK(w.layers[0].name == "model.layers.0.self_attn.q_proj");
  CHECK(is_tensor(w.layers[0].W, "blk.0.attn_q.weight", pairs));
  CHECK(is_tensor(w.layers[0].b, "blk.0.attn_q.bias", pairs));
  CHECK(is_tensor(w.layers[1].W, "blk.0.attn_k.weight", pairs));
  CHECK(is_tensor(w.layers[1].b, "blk.0.attn_k.bias", pairs));
  CHECK(is_tensor(w.layers[2].W, "blk.0.attn_v.weight"));
  CHECK(is_tensor(w.layers[2].b, "blk.0.attn_v.bias"));
  CHECK(is_tensor(w.layers[6].W, "blk.0.ffn_down.weight"));
  CHECK(is_table(w.frozen.words, "token_embd.weight"));
  CHECK(is_tensor(w.frozen.norm.gamma, "output_norm.weight"));
  nn::require_valid(be, w);
}

TEST_CASE(
    "GGUF decoder: qwen3 keeps the order of its rows, and has norms of heads and an own head") {
  model m("qwen3");
  m.tensors["blk.0.attn_q_norm.weight"] = {4};
  m.tensors["blk.0.attn_k_norm.weight"] = {4};
  m.tensors["output.weight"] = {5, 8};
  m.metadata.set("qwen3.rope.scaling.type", "linear");
  m.set("rope.scaling.factor", 2.5F);
  Be be;
  const weights_type w = m.read(be);
  CHECK(w.config.qk_norm);
  CHECK_FALSE(w.config.tied_head);
  CHECK(w.config.rotary.scaling == nn::rotary_scaling::linear);
  CHECK(w.config.rotary.factor == 2.5);
  CHECK(is_tensor(w.layers[0].W, "blk.0.attn_q.weight"));
  CHECK(is_tensor(w.frozen.blocks[0].query, "blk.0.attn_q_norm.weight"));
  CHECK(is_tensor(w.frozen.blocks[0].key, "blk.0.attn_k_norm.weight"));
  CHECK(w.layers.back().name == "lm_head");
  CHECK(is_tensor(w.layers.back().W, "output.weight"));
  nn::require_valid(be, w);
}

TEST_CASE("GGUF decoder: gpt2") {
  Be be;
  const weights_type w = model("gpt2").read(be);
  const nn::decoder_config& c = w.config;
  CHECK(c.norm == nn::norm_kind::layer);
  CHECK(c.positions == nn::position_kind::learned);
  CHECK(c.activation == nn::activation_kind::gelu_tanh);
  CHECK(c.norm_epsilon == 1e-5);
  CHECK(c.fused_qkv);
  CHECK_FALSE(c.gated);
  CHECK(c.key_value_heads == 2);
  REQUIRE(w.layers.size() == 4);
  CHECK(w.layers[0].name == "transformer.h.0.attn.c_attn");
  CHECK(is_tensor(w.layers[0].W, "blk.0.attn_qkv.weight"));
  CHECK(is_tensor(w.layers[0].b, "blk.0.attn_qkv.bias"));
  CHECK(is_table(w.frozen.positions, "position_embd.weight"));
  CHECK(is_tensor(w.frozen.blocks[0].mlp.beta, "blk.0.ffn_norm.bias"));
  nn::require_valid(be, w);
}

TEST_CASE("GGUF decoder: Llama 3's divisors of the frequencies") {
  model m;
  m.tensors["rope_freqs.weight"] = {2};
  Be be;
  const weights_type w = m.read(be);
  REQUIRE(w.config.rotary.divisors.size() == 2);
  const double second = double(entry("rope_freqs.weight", 1));
  CHECK(w.config.rotary.divisors[1] == second);
  const auto f = nn::rotary_frequencies(w.config.rotary, 4);
  CHECK(f[1] == doctest::Approx(std::pow(500, -0.5) / second));
  m.tensors["rope_freqs.weight"] = {3};
  CHECK(m.fault() == "preheat: rotary divisors: none, or head_size/2 (3, 2)");
}

TEST_CASE("GGUF decoder: what is not understood is refused by name") {
  const auto fault_with = [](const std::function<void(model&)>& breaks) {
    model m;
    breaks(m);
    return m.fault();
  };
  CHECK(model().fault() == "(no error)");
  CHECK(model("mamba").fault() ==
        "preheat: the architecture \"mamba\" is not known; llama, qwen2, qwen3 and gpt2 are");
  CHECK(fault_with([](model& m) { m.metadata.set("general.type", "adapter"); }) ==
        "metadata \"general.type\": a \"model\" is needed, it is \"adapter\"");
  CHECK(fault_with([](model& m) { m.metadata.set("general.quantization_version", 1); }) ==
        "metadata \"general.quantization_version\": 2 is understood, not 1");
  CHECK(fault_with([](model& m) { m.metadata.set("split.count", std::uint16_t{3}); }) ==
        "metadata \"split.count\": the file is one of 3; merge them first");
  CHECK(fault_with([](model& m) { m.metadata.set("llama.rope.scaling.type", "yarn"); }) ==
        "metadata \"llama.rope.scaling.type\": none and linear are understood, not \"yarn\"");
  CHECK(fault_with([](model& m) { m.set("rope.dimension_count", 2); }) ==
        "metadata \"llama.rope.dimension_count\": 4 is understood, not 2");
  CHECK(fault_with([](model& m) { m.set("attention.value_length", 8); }) ==
        "metadata \"llama.attention.value_length\": 4 is understood, not 8");
  CHECK(fault_with([](model& m) { m.set("expert_count", 8); }) ==
        "metadata that is not understood: \"llama.expert_count\" = UINT32 8");
  CHECK(fault_with([](model& m) { m.set("vocab_size", 6); }) ==
        "metadata \"llama.vocab_size\": 5 is understood, not 6");
  CHECK(fault_with([](model& m) { m.set("block_count", 2); }) ==
        "tensor \"blk.1.attn_q.weight\": it is missing");
  CHECK(fault_with([](model& m) {
          m.set("block_count", 4'000'000'000U);
        }).find("blocks <= 2^30 (4000000000, 1073741824)") != std::string::npos);
  CHECK(fault_with([](model& m) {
          m.set("attention.head_count", 0);
        }).find("attention.head_count >= 1 (0, 1)") != std::string::npos);
  CHECK(fault_with([](model& m) {
          m.set("attention.key_length", 4'000'000'000U);
        }).find("head_size <= 2^30") != std::string::npos);
  CHECK(fault_with([](model& m) {
          m.metadata.set("llama.attention.head_count",
                         std::span<const std::uint32_t>(std::vector<std::uint32_t>{2, 2}));
        }) ==
        "metadata \"llama.attention.head_count\": a signed integer of 64 bits is needed, it is an "
        "array of 2 UINT32");
  CHECK(fault_with([](model& m) {
          m.set("attention.layer_norm_rms_epsilon", std::numeric_limits<float>::infinity());
        }) == "metadata \"llama.attention.layer_norm_rms_epsilon\": it is not finite");
  CHECK(fault_with([](model& m) { m.tensors.erase("token_embd.weight"); }) ==
        "preheat: tensor \"token_embd.weight\": it is missing");
  CHECK(fault_with([](model& m) {
          m.tensors["blk.0.attn_k.weight"] = {8, 4};
        }) == "tensor \"blk.0.attn_k.weight\": its shape is [8, 4], the metadata require [4, 8]");
  CHECK(
      fault_with([](model& m) { m.tensors["blk.0.attn_q_norm.weight"] = {4}; }) ==
      "tensor \"blk.0.attn_q_norm.weight\": a decoder of this architecture and config has no such "
      "tensor");
  CHECK(fault_with([](model& m) {
          m.tensors["blk.1.ffn_up.weight"] = {6, 8};
        }) ==
        "tensor \"blk.1.ffn_up.weight\": a decoder of this architecture and config has no such "
        "tensor");
  CHECK(fault_with([](model& m) { m.broken = "blk.0.ffn_up.weight"; }) ==
        "tensor \"blk.0.ffn_up.weight\": it has a NaN or infinite entry");
}

TEST_CASE(
    "GGUF decoder: kept as stored, in the order of Hugging Face, after the file's name is gone") {
  const model m;
  Be be;
  const weights_type dense = m.read(be);
  for (const weight_storage keep : {weight_storage::as_stored, weight_storage::bf16}) {
    weights_type w = m.read(be, keep);
    nn::require_valid(be, w);
    CHECK(w.frozen.words.rows() == 0);
    CHECK(w.frozen.word_rows.rows() == 5);
    for (std::size_t l = 0; l < w.layers.size(); ++l) {
      REQUIRE(w.layers[l].W.is_stored());
      w.layers[l].W.make_dense(be);
      if (keep == weight_storage::as_stored) {
        CHECK(be.download(w.layers[l].W) == be.download(dense.layers[l].W));
      }
    }
  }
  model infinite;
  infinite.broken = "blk.0.ffn_up.weight";
  CHECK(infinite.fault(weight_storage::as_stored) ==
        "tensor \"blk.0.ffn_up.weight\": it has a NaN or infinite entry");
  model missing;
  missing.tensors.erase("blk.0.ffn_up.weight");
  CHECK(missing.fault(weight_storage::nf4) == "tensor \"blk.0.ffn_up.weight\": it is missing");
}
