// LoRA adapters in GGUF files: the rule alpha/r, the order of the rows of B, and what is refused.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <preheat/cpu/backend.hpp>
#include <preheat/gguf/gguf.hpp>
#include <preheat/gguf/load_adapter.hpp>
#include <preheat/gguf/save_adapter.hpp>
#include <preheat/linalg/random_matrix.hpp>
#include <preheat/nn/mlp.hpp>
#include <string>
#include <vector>

#include "support/refusal.hpp"
#include "support/scratch.hpp"

namespace {

using namespace preheat;
using conformance::refusal;
using Be = cpu<double>;
using report_type = fit_report<Be, adapter::lora>;

// Two layers, 8×8 and 6×8, with the names of a decoder whose heads have 4 entries.
struct small_net : nn::mlp<Be> {
  explicit small_net(Be& be) : nn::mlp<Be>(be, {8, 8, 6}, 1) {
    layers()[0].name = "model.layers.0.self_attn.q_proj";
    layers()[1].name = "model.layers.0.mlp.up_proj";
    shape.head_size = 4;
  }
  const nn::decoder_config& config() const { return shape; }
  nn::decoder_config shape;
};

// Ranks 2 and 3, scalings 0.5 and 2.
report_type adapters_of(Be& be, small_net& net) {
  report_type report;
  for (const index_t l : {0, 1}) {
    const base_layer<Be>& layer = net.layers()[std::size_t(l)];
    const index_t rank = 2 + l;
    adapter::lora::params<Be> p;
    p.A = linalg::normal(be, rank, layer.W.cols(), 1, generator(std::uint64_t(2 * l)));
    p.B = linalg::normal(be, layer.W.rows(), rank, 1, generator(std::uint64_t(2 * l + 1)));
    report.layers.push_back({.index = l,
                             .name = layer.name,
                             .rank = rank,
                             .scaling = l == 0 ? 0.5 : 2.0,
                             .attached = true,
                             .parameters = std::move(p)});
  }
  return report;
}

double at(const mat<Be>& M, index_t i, index_t j) {
  const view<const double> v = M;
  return v.data()[i + j * v.ld()];
}

// A file of an adapter that a test then breaks.
struct adapter_file {
  gguf::metadata_writer metadata;
  std::map<std::string, std::vector<index_t>> tensors = {{"blk.0.attn_q.weight.lora_a", {2, 8}},
                                                         {"blk.0.attn_q.weight.lora_b", {8, 2}}};
  std::vector<float> values = std::vector<float>(1000, 0.5F);

  adapter_file() {
    metadata.set("general.type", "adapter");
    metadata.set("general.architecture", "llama");
    metadata.set("adapter.type", "lora");
    metadata.set("adapter.lora.alpha", 4.0F);
  }
  // What the reader says against it, behind the file's name.
  std::string fault() const {
    const scratch::temporary_directory directory;
    gguf::writer writer;
    writer.metadata() = metadata;
    for (const auto& [name, shape] : tensors) {
      const std::size_t count = std::size_t(shape[0] * (shape.size() > 1 ? shape[1] : 1));
      writer.add<float>(name, shape, std::span(values).first(count));
    }
    writer.write(directory / "a.gguf");
    Be be;
    small_net net(be);
    try {
      gguf::load_adapter(directory / "a.gguf", net);
    } catch (const io_error& error) {
      const std::string what = error.what();
      return what.substr(what.find("a.gguf: ") + 8);
    }
    return "(no error)";
  }
};

}  // namespace

TEST_CASE("GGUF adapter: one alpha, and what differs goes into B") {
  Be be;
  small_net net(be);
  const report_type report = adapters_of(be, net);
  const scratch::temporary_directory directory;
  gguf::save_adapter(report, net, directory / "a.gguf",
                     {.architecture = "llama", .name = "two layers"});

  const gguf::reader file(directory / "a.gguf");
  gguf::metadata_reader metadata = file.read_metadata();
  CHECK(metadata.get<std::string>("general.name") == "two layers");
  CHECK(metadata.get<float>("adapter.lora.alpha") == 1.0F);  // 0.5·2
  const auto A = file.values<double>("blk.0.attn_q.weight.lora_a");
  const auto B = file.values<double>("blk.0.attn_q.weight.lora_b");
  const auto up = file.values<double>("blk.0.ffn_up.weight.lora_b");
  CHECK(A.size() == 16);
  const gguf::rows_in_pairs order(4);
  for (index_t i = 0; i < 8; ++i) {
    for (index_t r = 0; r < 2; ++r) {
      CHECK(A[std::size_t(r * 8 + i)] == double(float(at(report.layers[0].parameters.A, r, i))));
      CHECK(B[std::size_t(order(i) * 2 + r)] ==
            double(float(at(report.layers[0].parameters.B, i, r))));
    }
  }
  for (index_t i = 0; i < 6; ++i) {
    for (index_t r = 0; r < 3; ++r) {
      CHECK(up[std::size_t(i * 3 + r)] ==
            double(float(6 * at(report.layers[1].parameters.B, i, r))));  // 2·3 = 6·1
    }
  }

  const report_type loaded = gguf::load_adapter(directory / "a.gguf", net);
  REQUIRE(loaded.layers.size() == 2);
  CHECK(loaded.trainable_parameters == 2 * 16 + 3 * 14);
  for (std::size_t l = 0; l < 2; ++l) {
    CHECK(loaded.layers[l].index == index_t(l));
    CHECK(loaded.layers[l].rank == report.layers[l].rank);
    const auto delta = [&](const auto& one) {
      mat<Be> D =
          linalg::product(be, transpose::no, one.parameters.B, transpose::no, one.parameters.A);
      be.apply(linalg::scale<double>{one.scaling}, D);
      return D;
    };
    mat<Be> difference = delta(loaded.layers[l]);
    be.apply(linalg::axpby<double>{-1, 1}, difference, delta(report.layers[l]));
    CHECK(be.max_abs(difference) < 1e-5);
  }
}

TEST_CASE("GGUF adapter: what cannot be saved is refused before anything is written") {
  Be be;
  small_net net(be);
  const scratch::temporary_directory directory;
  const auto fault = [&](const std::function<void(report_type&)>& breaks,
                         const gguf::adapter_options& options = {.architecture = "llama"}) {
    report_type report = adapters_of(be, net);
    breaks(report);
    return refusal([&] { gguf::save_adapter(report, net, directory / "a.gguf", options); });
  };
  CHECK(fault([](report_type&) {}) == "(not refused)");
  CHECK(directory.file_names().size() == 1);
  CHECK(fault([](report_type&) {}, {}) ==
        "preheat: the architecture \"\" is not known; llama, qwen2, qwen3 and gpt2 are");
  CHECK(fault([](report_type&) {}, {.architecture = "gpt2"})
            .find("the layer 'model.layers.0.self_attn.q_proj' has no name in GGUF files of the "
                  "architecture \"gpt2\"") != std::string::npos);
  CHECK(fault([](report_type& r) {
          r.base_changed = true;
        }).find("the run changed the base weights") != std::string::npos);
  CHECK(fault([](report_type& r) { r.layers.clear(); }) ==
        "preheat: gguf::save_adapter: no layer has an adapter");
  CHECK(fault([](report_type& r) {
          r.layers[1].scaling = 0;
        }).find("a scaling that is finite and not 0 (0, 0)") != std::string::npos);
  CHECK(fault([&](report_type& r) {
          const double nan = std::numeric_limits<double>::quiet_NaN();
          be.upload(std::vector<double>(16, nan), r.layers[0].parameters.A);
        }).find("layer 'model.layers.0.self_attn.q_proj': A") != std::string::npos);
  CHECK(fault([](report_type&) {}, {.architecture = "llama", .stored = gguf::tensor_type::Q4_K})
            .find("F32, F16, BF16 and Q8_0 are written, not Q4_K") != std::string::npos);
}

TEST_CASE("GGUF adapter: files that are something else are refused by name") {
  const auto fault_with = [](const std::function<void(adapter_file&)>& breaks) {
    adapter_file file;
    breaks(file);
    return file.fault();
  };
  CHECK(adapter_file().fault() == "(no error)");
  CHECK(fault_with([](adapter_file& f) { f.metadata.set("general.type", "model"); }) ==
        "metadata \"general.type\": \"adapter\" is needed, it is \"model\"");
  CHECK(fault_with([](adapter_file& f) { f.metadata.set("adapter.type", "control_vector"); }) ==
        "metadata \"adapter.type\": \"lora\" is needed, it is \"control_vector\"");
  CHECK(fault_with([](adapter_file& f) {
          f.metadata.set("adapter.alora.invocation_tokens",
                         std::span<const std::uint32_t>(std::vector<std::uint32_t>{1, 2}));
        }) ==
        "metadata that is not understood: \"adapter.alora.invocation_tokens\" = an array of 2 "
        "UINT32");
  CHECK(fault_with([](adapter_file& f) {
          f.metadata.set("adapter.lora.alpha", std::numeric_limits<float>::quiet_NaN());
        }) == "metadata \"adapter.lora.alpha\": it is not finite");
  CHECK(fault_with([](adapter_file& f) { f.tensors.clear(); }) == "the adapter has no tensors");
  CHECK(fault_with([](adapter_file& f) { f.tensors.erase("blk.0.attn_q.weight.lora_b"); }) ==
        "tensor \"blk.0.attn_q.weight.lora_a\": there is no \"blk.0.attn_q.weight.lora_b\"");
  CHECK(fault_with([](adapter_file& f) { f.tensors.erase("blk.0.attn_q.weight.lora_a"); }) ==
        "tensor \"blk.0.attn_q.weight.lora_b\": there is no \"blk.0.attn_q.weight.lora_a\"");
  CHECK(
      fault_with([](adapter_file& f) {
        f.tensors["blk.0.attn_q.weight"] = {8, 8};
      }) ==
      "tensor \"blk.0.attn_q.weight\": an adapter has tensors \"….lora_a\" and \"….lora_b\" only");
  const auto other_weight = [](const std::string& weight) {
    adapter_file f;
    f.tensors = {{weight + ".lora_a", {2, 8}}, {weight + ".lora_b", {8, 2}}};
    return f.fault();
  };
  CHECK(other_weight("token_embd.weight") ==
        "tensor \"token_embd.weight.lora_a\": an embedding; only linear layers can have an adapter "
        "here");
  CHECK(other_weight("blk.0.ssm_in.weight") ==
        "tensor \"blk.0.ssm_in.weight.lora_a\": the architecture \"llama\" has no such weight");
  CHECK(other_weight("blk.1.attn_q.weight") ==
        "tensors of \"blk.1.attn_q.weight\": the network has no layer "
        "\"model.layers.1.self_attn.q_proj\"");
  CHECK(other_weight("blk.0.ffn_up.weight") ==
        "tensors of \"blk.0.ffn_up.weight\": they are for a layer 8×8, the network's is 6×8");
  CHECK(
      fault_with([](adapter_file& f) {
        f.tensors["blk.0.attn_q.weight.lora_b"] = {8, 3};
      }) ==
      "tensor \"blk.0.attn_q.weight.lora_a\": [2, 8] and [8, 3] are no [rank, in] and [out, rank]");
  CHECK(fault_with([](adapter_file& f) { f.values[7] = std::numeric_limits<float>::infinity(); }) ==
        "tensor \"blk.0.attn_q.weight.lora_a\": it has a NaN or infinite entry");
}
