// BERT checkpoints: what is written is read back in every dtype, with and without the prefix, and
// every broken folder is refused with one error that names the fault.
#include <doctest/doctest.h>

#include <filesystem>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <preheat/adapter/dora.hpp>
#include <preheat/cpu/backend.hpp>
#include <preheat/huggingface/bert.hpp>
#include <preheat/nn/bert.hpp>
#include <preheat/peft/attach.hpp>
#include <preheat/safetensors/safetensors.hpp>

#include "support/scratch.hpp"
#include "support/stored_model.hpp"

namespace {

using namespace preheat;
using safetensors::dtype;
using Be = cpu<float>;

// A checkpoint of two layers, that a test then breaks.
struct checkpoint : conformance::stored_model {
  checkpoint() {
    config = {
        {"model_type", "bert"},   {"hidden_act", "gelu"},         {"vocab_size", 5},
        {"hidden_size", 4},       {"num_hidden_layers", 2},       {"num_attention_heads", 2},
        {"intermediate_size", 6}, {"max_position_embeddings", 3}, {"hidden_dropout_prob", 0.2}};
    add("embeddings.word_embeddings.weight", {5, 4});
    add("embeddings.position_embeddings.weight", {3, 4});
    add("embeddings.token_type_embeddings.weight", {2, 4});
    add_norm("embeddings.LayerNorm");
    for (const char* number : {"0", "1"}) {
      const std::string block = std::string("encoder.layer.") + number + ".";
      for (const char* part : {"query", "key", "value"}) {
        add_linear(block + "attention.self." + part, 4, 4);
      }
      add_linear(block + "attention.output.dense", 4, 4);
      add_norm(block + "attention.output.LayerNorm");
      add_linear(block + "intermediate.dense", 6, 4);
      add_linear(block + "output.dense", 4, 6);
      add_norm(block + "output.LayerNorm");
    }
    add_linear("pooler.dense", 4, 4);
    add_linear("classifier", 3, 4);
  }
  void add_norm(const std::string& name) {
    add(name + ".weight", {4});
    add(name + ".bias", {4});
  }
  void add_linear(const std::string& name, index_t rows, index_t cols) {
    add(name + ".weight", {rows, cols});
    add(name + ".bias", {rows});
  }
  void rename(const std::string& from, const std::string& to) {
    tensors[to] = tensors.at(from);
    tensors.erase(from);
  }

  void write(const std::filesystem::path& folder, const std::string& prefix = "",
             dtype type = dtype::F32) const {
    const auto prefix_of = [&](const std::string& name) {
      return name.starts_with("classifier") || name.starts_with("cls.") ? "" : prefix;
    };
    write_with(folder, prefix_of, type);
  }
};

std::vector<float> row_major(const cpu_matrix<float>& M) {
  const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> rows = M.eigen();
  return {rows.data(), rows.data() + rows.size()};
}

void check_read(const checkpoint& written, const std::filesystem::path& folder) {
  Be be;
  const auto w = huggingface::read_bert<Be>(be, folder);
  const auto expect = [&](const cpu_matrix<float>& M, const std::string& name) {
    CAPTURE(name);
    CHECK(row_major(M) == written.tensors.at(name).values);
  };
  // A table has one column per entry: column-major, it is the file's row-major.
  CHECK(w.frozen.embeddings.words.rows() == 4);
  CHECK(w.frozen.embeddings.words.cols() == 5);
  CHECK(be.download(w.frozen.embeddings.words) ==
        written.tensors.at("embeddings.word_embeddings.weight").values);
  CHECK(be.download(w.frozen.embeddings.types) ==
        written.tensors.at("embeddings.token_type_embeddings.weight").values);
  expect(w.frozen.norm.gamma, "embeddings.LayerNorm.weight");
  REQUIRE(w.layers.size() == 12);
  for (const auto& l : w.layers) {
    expect(l.W, l.name + ".weight");
    expect(l.b, l.name + ".bias");
  }
  expect(w.frozen.blocks[1].attention.beta, "encoder.layer.1.attention.output.LayerNorm.bias");
  expect(w.frozen.blocks[1].output.gamma, "encoder.layer.1.output.LayerNorm.weight");
  expect(w.pooler.value().W, "pooler.dense.weight");
  expect(w.classifier.value().W, "classifier.weight");
  expect(w.classifier.value().b, "classifier.bias");
}

// Writes what `change` has made of a good checkpoint; reading it must fail with these words.
template <class Change>
void check_refused(Change change, const std::string& words) {
  checkpoint c;
  change(c);
  conformance::check_words(conformance::refusal_of_model(c,
                                                         [](const std::filesystem::path& folder) {
                                                           Be be;
                                                           huggingface::read_bert<Be>(be, folder);
                                                         }),
                           words);
}

}  // namespace

TEST_CASE("bert files: read back with and without the prefix, in every dtype") {
  const checkpoint c;
  for (const char* prefix : {"", "bert."}) {
    for (const dtype type : {dtype::F32, dtype::F16, dtype::BF16, dtype::F64}) {
      const scratch::temporary_directory folder;
      c.write(folder.path(), prefix, type);
      check_read(c, folder.path());
    }
  }
}

TEST_CASE("bert files: the config, with Hugging Face's defaults") {
  const scratch::temporary_directory folder;
  checkpoint().write(folder.path());
  const nn::bert_config c = huggingface::read_bert_config(folder.path());
  CHECK(c.vocab_size == 5);
  CHECK(c.intermediate_size == 6);
  CHECK(c.head_size() == 2);
  CHECK(c.type_vocab_size == 2);
  CHECK(c.layer_norm_eps == 1e-12);
  CHECK(c.hidden_dropout == 0.2);
  CHECK(c.attention_dropout == 0.1);
}

TEST_CASE("bert files: what is passed over, what may be missing, and old names") {
  checkpoint c;
  c.add("embeddings.position_ids", {1, 3});
  c.add("cls.predictions.bias", {5});
  for (const char* name :
       {"classifier.weight", "classifier.bias", "pooler.dense.weight", "pooler.dense.bias"}) {
    c.tensors.erase(name);
  }
  c.rename("encoder.layer.0.output.LayerNorm.weight", "encoder.layer.0.output.LayerNorm.gamma");
  c.rename("encoder.layer.0.output.LayerNorm.bias", "encoder.layer.0.output.LayerNorm.beta");
  const scratch::temporary_directory folder;
  c.write(folder.path());
  Be be;
  const auto w = huggingface::read_bert<Be>(be, folder.path());
  CHECK_FALSE(w.pooler.has_value());
  CHECK_FALSE(w.classifier.has_value());
  CHECK(row_major(w.frozen.blocks[0].output.gamma) ==
        c.tensors.at("encoder.layer.0.output.LayerNorm.gamma").values);
}

TEST_CASE("bert files: every broken checkpoint is refused with the tensor and the shapes") {
  using c = checkpoint;
  check_refused([](c& x) { x.tensors.erase("encoder.layer.1.output.dense.weight"); },
                R"(tensor "encoder.layer.1.output.dense.weight": it is missing)");
  check_refused([](c& x) { x.tensors.erase("pooler.dense.bias"); },
                R"(tensor "pooler.dense.bias": it is missing)");
  check_refused([](c& x) { x.tensors.erase("embeddings.LayerNorm.bias"); },
                R"(tensor "embeddings.LayerNorm.bias": it is missing)");
  check_refused(
      [](c& x) {
        x.add("encoder.layer.2.output.dense.weight", {4, 6});
      },
      R"("encoder.layer.2.output.dense.weight": a BERT encoder of this config has no such)");
  check_refused(
      [](c& x) {
        x.add("encoder.layer.0.intermediate.dense.weight", {4, 6});
      },
      R"(dense.weight": its shape is [4, 6], the config requires [6, 4])");
  check_refused(
      [](c& x) {
        x.add("embeddings.LayerNorm.weight", {4, 1});
      },
      R"(its shape is [4, 1], the config requires [4])");
  check_refused([](c& x) { x.add("bert.pooler.dense.bias", {4}); },
                R"(tensor "pooler.dense.bias": it means the same as "bert.pooler.dense.bias")");
  check_refused(
      [](c& x) {
        x.tensors.at("pooler.dense.bias").values[1] = std::numeric_limits<float>::infinity();
      },
      R"("pooler.dense.bias": it has a NaN or infinite entry)");
  check_refused([](c& x) { x.add("classifier.weight", {3, 5}); }, "the config requires [3, 4]");
}

TEST_CASE("bert files: every config of another model is refused with the field") {
  using c = checkpoint;
  check_refused([](c& x) { x.config["model_type"] = "roberta"; },
                R"(field "model_type": "bert" is understood)");
  check_refused([](c& x) { x.config.erase("model_type"); },
                R"(field "model_type": this field is missing)");
  check_refused([](c& x) { x.config["hidden_act"] = "relu"; }, R"(field "hidden_act": "gelu")");
  check_refused([](c& x) { x.config["position_embedding_type"] = "relative_key"; },
                R"(field "position_embedding_type": "absolute")");
  check_refused([](c& x) { x.config["is_decoder"] = true; }, R"(field "is_decoder": false)");
  check_refused([](c& x) { x.config.erase("hidden_size"); },
                R"(field "hidden_size": this field is missing)");
  check_refused([](c& x) { x.config["hidden_size"] = "4"; },
                R"(field "hidden_size": a whole number is needed)");
  check_refused([](c& x) { x.config["layer_norm_eps"] = "tiny"; },
                R"(field "layer_norm_eps": a number is needed)");
  check_refused([](c& x) { x.config["num_attention_heads"] = 3; },
                "hidden_size is a multiple of num_attention_heads (4, 3)");
  check_refused([](c& x) { x.config = nlohmann::json::array(); }, "an object is needed");
}

TEST_CASE("attach_peft: what does not fit the network is refused with the module") {
  const scratch::temporary_directory folder;
  checkpoint().write(folder / "base");
  Be be;
  auto weights = huggingface::read_bert<Be>(be, folder / "base");
  auto head = std::move(*weights.classifier);
  nn::bert<Be> net(be, std::move(weights), std::move(head));
  int number = 0;
  const auto adapter_of = [&](const std::string& module, index_t out, index_t in, bool dora) {
    const auto path = folder / std::to_string(number++);
    std::filesystem::create_directories(path);
    const nlohmann::json config = {
        {"peft_type", "LORA"}, {"r", 2}, {"lora_alpha", 4}, {"use_dora", dora}};
    scratch::write_file(path / "adapter_config.json", config.dump());
    safetensors::writer writer;
    const std::string name = "base_model.model." + module;
    writer.add<float>(name + ".lora_A.weight", {2, in}, std::vector<float>(std::size_t(2 * in), 1));
    writer.add<float>(name + ".lora_B.weight", {out, 2},
                      std::vector<float>(std::size_t(2 * out), 2));
    if (dora) {
      writer.add<float>(name + ".lora_magnitude_vector", {out},
                        std::vector<float>(std::size_t(out), 3));
    }
    writer.write(path / "adapter_model.safetensors");
    return peft::reader(path);
  };
  const std::string dense = "encoder.layer.0.intermediate.dense";
  adapted<Be, adapter::lora> linear(net);
  peft::attach(net, linear, adapter_of("bert." + dense, 6, 4, false));
  const auto& adapted_layer = linear.layers()[4];
  CHECK(adapted_layer.attached);
  CHECK(adapted_layer.scaling == 2);
  CHECK(adapted_layer.parameters.B.rows() == 6);
  const auto refused = [&](const peft::reader& adapter, const std::string& words) {
    std::string text = "nothing was thrown";
    try {
      peft::attach(net, linear, adapter);
    } catch (const io_error& error) {
      text = error.what();
    }
    CAPTURE(text);
    CHECK(text.find(words) != std::string::npos);
  };
  refused(adapter_of("encoder.layer.7.output.dense", 4, 6, false),
          R"(module "encoder.layer.7.output.dense": the network has no such layer)");
  refused(adapter_of(dense, 4, 6, false), "it is for a layer 4×6, the network's is 6×4");
  refused(adapter_of(dense, 6, 4, true), "read it as adapter::dora");
  adapted<Be, adapter::dora> magnitudes(net);
  const auto plain = adapter_of(dense, 6, 4, false);
  CHECK_THROWS_AS(peft::attach(net, magnitudes, plain), io_error);
  peft::attach(net, magnitudes, adapter_of(dense, 6, 4, true));
  CHECK(be.download(magnitudes.layers()[4].parameters.magnitude) == std::vector<float>(6, 3));
}
