// Folders of causal language models: what is written is read back, with and without the prefix, and
// every broken folder is refused with one error that names the fault.
#include <doctest/doctest.h>

#include <filesystem>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <preheat/cpu/backend.hpp>
#include <preheat/huggingface/decoder.hpp>
#include <preheat/safetensors/safetensors.hpp>

#include "support/scratch.hpp"
#include "support/stored_model.hpp"

namespace {

using namespace preheat;
using nlohmann::json;
using safetensors::dtype;
using Be = cpu<float>;

// A checkpoint that a test then breaks.
struct model_folder : conformance::stored_model {
  std::string prefix;

  void write(const std::filesystem::path& folder, bool prefixed = true,
             dtype type = dtype::F32) const {
    const auto prefix_of = [&](const std::string& name) {
      return !prefixed || name == "lm_head.weight" ? "" : prefix;
    };
    write_with(folder, prefix_of, type);
  }
};

model_folder llama() {
  model_folder m;
  m.prefix = "model.";
  m.config = {{"model_type", "llama"},        {"vocab_size", 5},        {"hidden_size", 4},
              {"intermediate_size", 6},       {"num_hidden_layers", 2}, {"num_attention_heads", 2},
              {"num_key_value_heads", 1},     {"rms_norm_eps", 1e-5},   {"rope_theta", 100.0},
              {"max_position_embeddings", 9}, {"attention_bias", true}, {"torch_dtype", "float32"}};
  m.add("embed_tokens.weight", {5, 4});
  for (const char* number : {"0", "1"}) {
    const std::string block = std::string("layers.") + number + ".";
    const auto linear = [&](const std::string& name, index_t rows, index_t cols, bool bias) {
      m.add(block + name + ".weight", {rows, cols});
      if (bias) {
        m.add(block + name + ".bias", {rows});
      }
    };
    linear("self_attn.q_proj", 4, 4, true);
    linear("self_attn.k_proj", 2, 4, true);
    linear("self_attn.v_proj", 2, 4, true);
    linear("self_attn.o_proj", 4, 4, true);
    linear("mlp.gate_proj", 6, 4, false);
    linear("mlp.up_proj", 6, 4, false);
    linear("mlp.down_proj", 4, 6, false);
    m.add(block + "input_layernorm.weight", {4});
    m.add(block + "post_attention_layernorm.weight", {4});
  }
  m.add("norm.weight", {4});
  m.add("lm_head.weight", {5, 4});
  return m;
}
model_folder gpt2() {
  model_folder m;
  m.prefix = "transformer.";
  m.config = {{"model_type", "gpt2"}, {"vocab_size", 5},  {"n_embd", 4}, {"n_layer", 1},
              {"n_head", 2},          {"n_positions", 3}, {"n_ctx", 3}};
  m.add("wte.weight", {5, 4});
  m.add("wpe.weight", {3, 4});
  const auto linear = [&](const std::string& name, index_t in, index_t out) {
    m.add("h.0." + name + ".weight", {in, out});
    m.add("h.0." + name + ".bias", {out});
  };
  linear("attn.c_attn", 4, 12);
  linear("attn.c_proj", 4, 4);
  linear("mlp.c_fc", 4, 16);
  linear("mlp.c_proj", 16, 4);
  for (const char* norm : {"h.0.ln_1", "h.0.ln_2", "ln_f"}) {
    m.add(std::string(norm) + ".weight", {4});
    m.add(std::string(norm) + ".bias", {4});
  }
  m.add("h.0.attn.bias", {1, 1, 3, 3});  // the causal mask
  m.add("h.0.attn.masked_bias", {1});
  return m;
}

void check_read(const model_folder& m, const std::filesystem::path& folder) {
  Be be;
  const auto w = huggingface::read_decoder<Be>(be, folder);
  nn::require_valid(be, w);
  const bool transposed = w.config.names == nn::decoder_names::gpt2;
  const auto stored = [&](const std::string& name) {
    return m.tensors.at(name.starts_with(m.prefix) ? name.substr(m.prefix.size()) : name).values;
  };
  CHECK(be.download(w.frozen.words) ==
        m.tensors.at(transposed ? "wte.weight" : "embed_tokens.weight").values);
  for (const auto& l : w.layers) {
    CAPTURE(l.name);
    const auto W = transposed ? clone<Be>(be, l.W) : linalg::transposed<Be>(be, l.W);
    CHECK(be.download(W) == stored(l.name + ".weight"));
    if (l.b.rows() > 0) {
      CHECK(be.download(l.b) == stored(l.name + ".bias"));
    }
  }
  CHECK(be.download(w.frozen.norm.gamma) ==
        m.tensors.at(transposed ? "ln_f.weight" : "norm.weight").values);
  CHECK(be.download(w.frozen.blocks.back().mlp.gamma) ==
        m.tensors.at(transposed ? "h.0.ln_2.weight" : "layers.1.post_attention_layernorm.weight")
            .values);
}

std::string refusal(const model_folder& m) {
  return conformance::refusal_of_model(m, [](const std::filesystem::path& folder) {
    Be be;
    huggingface::read_decoder<Be>(be, folder);
  });
}
// Writes what `change` has made of a good checkpoint; reading it must fail with these words.
template <class Change>
void check_refused(model_folder m, Change change, const std::string& words) {
  change(m);
  conformance::check_words(refusal(m), words);
}
// The config with other fields.
nn::decoder_config config_with(json config, const json& changes = json::object()) {
  config.update(changes);
  const scratch::temporary_directory folder;
  scratch::write_file(folder / "config.json", config.dump());
  return huggingface::read_decoder_config(folder.path());
}

}  // namespace

TEST_CASE("decoder files: read back with and without the prefix, in every dtype") {
  for (const model_folder& m : {llama(), gpt2()}) {
    for (const bool prefixed : {true, false}) {
      for (const dtype type : {dtype::F32, dtype::F16, dtype::BF16, dtype::F64}) {
        const scratch::temporary_directory folder;
        m.write(folder.path(), prefixed, type);
        check_read(m, folder.path());
      }
    }
  }
}

TEST_CASE("decoder files: the config of every kind, with Hugging Face's defaults") {
  const nn::decoder_config c = config_with(llama().config);
  CHECK(c.head_size == 2);
  CHECK(c.qkv_bias);
  CHECK(c.output_bias);
  CHECK_FALSE(c.mlp_bias);
  CHECK_FALSE(c.tied_head);
  CHECK(c.window == 0);
  CHECK(c.rotary == nn::rotary_config{.theta = 100});
  CHECK(config_with(llama().config, {{"num_key_value_heads", nullptr}}).key_value_heads == 2);
  CHECK(config_with(llama().config, {{"head_dim", 6}}).head_size == 6);
  CHECK(config_with(llama().config, {{"mlp_bias", true}, {"tie_word_embeddings", true}}).mlp_bias);

  json mistral = llama().config;
  mistral.erase("attention_bias");
  mistral["model_type"] = "mistral";
  CHECK_FALSE(config_with(mistral).qkv_bias);
  CHECK(config_with(mistral, {{"sliding_window", 4}}).window == 4);
  CHECK(config_with(mistral, {{"sliding_window", nullptr}}).window == 0);

  json qwen = mistral;
  qwen["model_type"] = "qwen2";
  CHECK(config_with(qwen).qkv_bias);
  CHECK_FALSE(config_with(qwen).output_bias);
  CHECK(config_with(qwen, {{"sliding_window", 4}}).window == 0);
  CHECK(config_with(qwen, {{"sliding_window", 4}, {"use_sliding_window", true}}).window == 0);
  CHECK(config_with(qwen,
                    {{"sliding_window", 4}, {"use_sliding_window", true}, {"max_window_layers", 0}})
            .window == 4);
  CHECK(config_with(qwen, {{"sliding_window", 4},
                           {"layer_types", {"sliding_attention", "sliding_attention"}}})
            .window == 4);
  const auto window_of = [&](const json& fields, index_t block) {
    return config_with(qwen, fields).window_of(block);
  };
  const json by_type = {{"sliding_window", 4},
                        {"layer_types", {"sliding_attention", "full_attention"}}};
  CHECK(window_of(by_type, 0) == 4);
  CHECK(window_of(by_type, 1) == 0);
  const json by_number = {
      {"sliding_window", 4}, {"use_sliding_window", true}, {"max_window_layers", 1}};
  CHECK(window_of(by_number, 0) == 0);
  CHECK(window_of(by_number, 1) == 4);
  qwen["model_type"] = "qwen3";
  CHECK(config_with(qwen).qk_norm);
  CHECK_FALSE(config_with(qwen).qkv_bias);

  const nn::decoder_config g = config_with(gpt2().config);
  CHECK(g.intermediate_size == 16);
  CHECK(g.tied_head);
  CHECK(g.norm_epsilon == 1e-5);
  CHECK(g.activation == nn::activation_kind::gelu_tanh);
  CHECK(config_with(gpt2().config, {{"n_inner", 7}}).intermediate_size == 7);
}

TEST_CASE("decoder files: rotary scaling in the words of transformers 4 and 5") {
  const json llama3 = {{"rope_type", "llama3"},
                       {"factor", 8.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 200}};
  const nn::rotary_config expected{100, nn::rotary_scaling::llama3, 8, 1, 4, 200};
  CHECK(config_with(llama().config, {{"rope_scaling", llama3}}).rotary == expected);
  json with_theta = llama3;
  with_theta["rope_theta"] = 100.0;
  CHECK(config_with(llama().config, {{"rope_theta", nullptr}, {"rope_parameters", with_theta}})
            .rotary == expected);
  const nn::rotary_config linear{100, nn::rotary_scaling::linear, 2.5};
  for (const char* word : {"type", "rope_type"}) {
    CHECK(config_with(llama().config, {{"rope_scaling", {{word, "linear"}, {"factor", 2.5}}}})
              .rotary == linear);
  }
  const auto refused = [](const json& scaling, const std::string& words) {
    check_refused(
        llama(), [&](model_folder& m) { m.config["rope_scaling"] = scaling; }, words);
  };
  refused(
      {{"rope_type", "yarn"}, {"factor", 2.0}},
      R"(config.json: rope_scaling: field "rope_type": default, linear and llama3 are understood)");
  refused({{"type", "linear"}}, R"(rope_scaling: field "factor": this field is missing)");
  refused({{"type", "linear"}, {"rope_type", "llama3"}}, "it differs from rope_type");
  refused({{"type", "linear"}, {"factor", 2.0}, {"beta_fast", 32}},
          R"(rope_scaling: field "beta_fast": it is not understood; its value is)");
  refused({{"type", "linear"}, {"factor", 0.0}}, "rotary factor > 0 (0, 0)");
  refused("linear", R"(field "rope_scaling": an object is needed)");
  check_refused(
      llama(),
      [&](model_folder& m) { m.config["rope_scaling"] = m.config["rope_parameters"] = llama3; },
      R"(field "rope_scaling": the file has rope_parameters too)");
}

TEST_CASE("decoder files: every config that is not understood is refused with the field") {
  const auto refused = [](const model_folder& m, const json& changes, const std::string& words) {
    check_refused(
        m, [&](model_folder& x) { x.config.update(changes); }, words);
  };
  refused(llama(), {{"model_type", "bert"}},
          R"(field "model_type": llama, mistral, qwen2, qwen3 and gpt2 are understood)");
  refused(llama(), {{"model_type", nullptr}}, R"(field "model_type": this field is missing)");
  refused(llama(), {{"hidden_act", "relu"}},
          R"(field "hidden_act": silu, gelu, gelu_new and gelu_pytorch_tanh are understood)");
  refused(llama(), {{"hidden_size", nullptr}}, R"(field "hidden_size": this field is missing)");
  refused(llama(), {{"hidden_size", 4.5}}, R"(field "hidden_size": a whole number is needed)");
  refused(llama(), {{"hidden_size", 18446744073709551615U}}, "a whole number is needed");
  refused(llama(), {{"hidden_size", 5}},
          "without head_dim it is a multiple of num_attention_heads");
  refused(llama(), {{"vocab_size", -3}}, "vocab_size >= 1 (-3, 1)");
  refused(llama(), {{"num_attention_heads", 0}}, "heads >= 1 (0, 1)");
  refused(llama(), {{"num_key_value_heads", 3}}, "heads is a multiple of key_value_heads (2, 3)");
  refused(llama(), {{"intermediate_size", 5000000000}}, "intermediate_size <= 2^30");
  refused(llama(), {{"rms_norm_eps", nullptr}}, R"(field "rms_norm_eps": this field is missing)");
  refused(llama(), {{"quantization_config", {{"bits", 4}}}},
          R"(field "quantization_config": it is not understood)");
  refused(llama(), {{"sliding_window", 4}}, R"(field "sliding_window": it is not understood)");
  refused(llama(), {{"pretraining_tp", 2}}, R"(field "pretraining_tp": 1 is understood)");
  refused(llama(), {{"tie_word_embeddings", "yes"}}, "true or false is needed");
  refused(gpt2(), {{"scale_attn_by_inverse_layer_idx", true}},
          R"(field "scale_attn_by_inverse_layer_idx": false is understood)");
  refused(gpt2(), {{"n_head", 3}}, R"(field "n_embd": it is a multiple of n_head)");
  model_folder qwen = llama();
  qwen.config["model_type"] = "qwen3";
  refused(qwen, {{"layer_types", {"full_attention", "sliding_attention"}}},
          "layer_types needs a number >= 1");
  refused(qwen, {{"layer_types", {"full_attention"}}}, "a list of one text per block is needed");
  refused(qwen, {{"layer_types", {"full_attention", "linear_attention"}}},
          "full_attention and sliding_attention are understood");
}

TEST_CASE("decoder files: every broken checkpoint is refused with the tensor and the shapes") {
  using m = model_folder;
  check_refused(
      llama(), [](m& x) { x.tensors.erase("layers.1.mlp.up_proj.weight"); },
      R"(tensor "layers.1.mlp.up_proj.weight": it is missing (with and without the prefix "model."))");
  check_refused(
      llama(), [](m& x) { x.tensors.erase("layers.0.self_attn.o_proj.bias"); },
      "o_proj.bias\": it is missing");
  check_refused(
      llama(), [](m& x) { x.tensors.erase("lm_head.weight"); },
      R"("lm_head.weight": it is missing)");
  check_refused(
      llama(),
      [](m& x) {
        x.add("layers.2.mlp.up_proj.weight", {6, 4});
      },
      R"("model.layers.2.mlp.up_proj.weight": a decoder of this config has no such tensor)");
  check_refused(
      llama(), [](m& x) { x.add("layers.0.mlp.up_proj.bias", {6}); },
      "a decoder of this config has no such tensor");
  check_refused(
      llama(),
      [](m& x) {
        x.add("layers.0.self_attn.k_proj.weight", {4, 2});
      },
      "k_proj.weight\": its shape is [4, 2], the config requires [2, 4]");
  check_refused(
      llama(), [](m& x) { x.config["vocab_size"] = 1000000; },
      "its shape is [5, 4], the config requires [1000000, 4]");
  check_refused(
      llama(), [](m& x) { x.config["num_hidden_layers"] = 1000000000; },
      R"("layers.2.self_attn.q_proj.weight": it is missing)");
  check_refused(
      llama(),
      [](m& x) { x.tensors.at("norm.weight").values[1] = std::numeric_limits<float>::infinity(); },
      R"("model.norm.weight": it has a NaN or infinite entry)");
  check_refused(
      llama(), [](m& x) { x.config["tie_word_embeddings"] = true; },
      R"("lm_head.weight": it is not the embedding)");
  check_refused(
      gpt2(),
      [](m& x) {
        x.add("h.0.attn.c_attn.weight", {12, 4});
      },
      "c_attn.weight\": its shape is [12, 4], the config requires [4, 12]");
}

TEST_CASE("decoder files: a tied head may be in the file, if it is the embedding") {
  model_folder m = llama();
  m.config["tie_word_embeddings"] = true;
  m.tensors["lm_head.weight"] = m.tensors.at("embed_tokens.weight");
  m.add("layers.0.self_attn.rotary_emb.inv_freq", {1});  // in old files
  const scratch::temporary_directory folder;
  m.write(folder.path());
  Be be;
  const auto w = huggingface::read_decoder<Be>(be, folder.path());
  CHECK(w.config.tied_head);
  CHECK(w.layers.size() == 14);
}

TEST_CASE("decoder files: kept as stored, bf16 or NF4, made dense, they are the dense ones") {
  Be be;
  for (const dtype type : {dtype::F32, dtype::F16, dtype::BF16}) {
    const scratch::temporary_directory folder;
    llama().write(folder.path(), true, type);
    const auto dense = huggingface::read_decoder<Be>(be, folder.path());
    for (const weight_storage keep :
         {weight_storage::as_stored, weight_storage::bf16, weight_storage::nf4}) {
      auto kept = huggingface::read_decoder<Be>(be, folder.path(), keep);
      nn::require_valid(be, kept);
      CHECK(kept.frozen.words.cols() == 0);
      CHECK(kept.layers.size() == dense.layers.size());
      for (std::size_t l = 0; l < kept.layers.size(); ++l) {
        auto& W = kept.layers[l].W;
        REQUIRE(W.is_stored());
        if (keep == weight_storage::nf4) {
          CHECK(W.stored().type_name() == "NF4");
          continue;  // other numbers (tests/storage)
        }
        CHECK(W.stored().type_name() ==
              (keep == weight_storage::bf16 ? "BF16" : safetensors::name_of(type)));
        W.make_dense(be);
        CHECK(be.download(W) == be.download(dense.layers[l].W));
        CHECK(be.download(kept.layers[l].b) == be.download(dense.layers[l].b));
      }
      if (keep == weight_storage::as_stored) {
        auto words = be.zeros(4, 5);
        be.unpack_rows(kept.frozen.word_rows, 0, words);
        CHECK(be.download(words) == be.download(dense.frozen.words));
      }
    }
  }
}

TEST_CASE("decoder files: what cannot be kept as stored is refused by name") {
  Be be;
  const auto text = [&](const model_folder& m, dtype type) -> std::string {
    const scratch::temporary_directory folder;
    m.write(folder.path(), true, type);
    try {
      huggingface::read_decoder<Be>(be, folder.path(), weight_storage::as_stored);
    } catch (const std::exception& error) {
      return error.what();
    }
    return "nothing was thrown";
  };
  CHECK(text(llama(), dtype::F32) == "nothing was thrown");
  CHECK(text(llama(), dtype::F64).find("F64 is read with weight_storage::dense only") !=
        std::string::npos);
  CHECK(text(gpt2(), dtype::F32).find("a folder of GPT-2 has its matrices transposed") !=
        std::string::npos);
  model_folder broken = llama();
  broken.tensors.at("layers.1.mlp.up_proj.weight").values[5] =
      std::numeric_limits<float>::quiet_NaN();
  CHECK(text(broken, dtype::F32).find("up_proj.weight\": it has a NaN or infinite entry") !=
        std::string::npos);
  model_folder missing = llama();
  missing.tensors.erase("layers.1.mlp.up_proj.weight");
  CHECK(text(missing, dtype::F32).find("up_proj.weight\": it is missing") != std::string::npos);
  model_folder tied = llama();
  tied.config["tie_word_embeddings"] = true;
  CHECK(text(tied, dtype::F32).find("it is not the embedding") != std::string::npos);
  tied.tensors["lm_head.weight"] = tied.tensors.at("embed_tokens.weight");
  CHECK(text(tied, dtype::F32) == "nothing was thrown");
}
