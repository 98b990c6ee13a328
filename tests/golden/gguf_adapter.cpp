// LoRA adapters in GGUF files: the factors are, to the bit, those of the PEFT folder that the file was
// made from, the logits those of PEFT, and what is saved is loaded again.
#include <algorithm>
#include <filesystem>
#include <preheat/gguf/decoder.hpp>
#include <preheat/gguf/load_adapter.hpp>
#include <preheat/gguf/save_adapter.hpp>
#include <preheat/nn/decoder.hpp>
#include <preheat/peft/load.hpp>

#include "encoder_fixture.hpp"
#include "support/scratch.hpp"

namespace {

namespace fs = std::filesystem;
using namespace golden;
using namespace preheat;

template <class Be>
using report_type = fit_report<Be, adapter::lora>;

template <class Be>
void check_same(Be& be, const report_type<Be>& found, const report_type<Be>& expected) {
  REQUIRE(found.layers.size() == expected.layers.size());
  CHECK(found.trainable_parameters == expected.trainable_parameters);
  for (std::size_t i = 0; i < found.layers.size(); ++i) {
    const auto& one = found.layers[i];
    const auto& other = expected.layers[i];
    CAPTURE(one.name);
    CHECK(one.name == other.name);
    CHECK(one.index == other.index);
    CHECK(one.rank == other.rank);
    CHECK(one.scaling == other.scaling);
    CHECK(one.attached);
    CHECK(compare(host(be, one.parameters.A), host(be, other.parameters.A), 0).good);
    CHECK(compare(host(be, one.parameters.B), host(be, other.parameters.B), 0).good);
  }
}

// The adapter of the file is that of the folder, and is saved and loaded as it is.
template <class Net>
report_type<typename Net::backend_type> checked_adapter(Net& net, const std::string& file,
                                                        const std::string& folder) {
  auto report = gguf::load_adapter(path_of(file), net);
  check_same(net.backend(), report, peft::load(path_of(folder), net));
  const scratch::temporary_directory directory;
  const gguf::reader original(path_of(file));
  gguf::save_adapter(report, net, directory / "a.gguf",
                     {.architecture = gguf::architecture_of(original)});
  check_same(net.backend(), gguf::load_adapter(directory / "a.gguf", net), report);
  const gguf::reader saved(directory / "a.gguf");
  CHECK(saved.tensors().size() == original.tensors().size());
  for (const auto& [name, tensor] : original.tensors()) {
    const gguf::tensor_info& own = saved.info(name);
    CHECK(own.shape == tensor.shape);
    CHECK(std::equal(own.bytes.begin(), own.bytes.end(), tensor.bytes.begin(), tensor.bytes.end()));
  }
  return report;
}

}  // namespace

TEST_CASE_TEMPLATE("gguf adapter: PEFT's factors and logits", T, double, float) {
  using Be = cpu<T>;
  int checked = 0;
  for (const auto& entry : fs::directory_iterator(path_of("gguf/twins"))) {
    const std::string stem = entry.path().stem().string();
    if (!stem.ends_with("_lora")) {
      continue;
    }
    const std::string name = stem.substr(0, stem.size() - 5);
    CAPTURE(name);
    const std::string file = "gguf/twins/" + stem + ".gguf";
    const std::string folder = "llama/" + name + "/adapter";
    Be be;
    nn::decoder<Be> net(be, gguf::read_decoder(be, path_of("gguf/twins/" + name + ".gguf")));
    const peft::reader adapter(path_of(folder));
    if (std::any_of(adapter.layers().begin(), adapter.layers().end(),
                    [](const peft::adapter_layer& l) { return l.embedding; })) {
      CHECK_THROWS_WITH_AS(gguf::load_adapter(path_of(file), net),
                           doctest::Contains("an embedding; only linear layers"), io_error);
      continue;
    }
    const auto report = checked_adapter(net, file, folder);
    const fixture io_file("llama/" + name + "/io");
    nn::causal_batch<Be> batch;
    nn::pack<Be>(whole_numbers(io_file, "input_ids"), whole_numbers(io_file, "labels"),
                 whole_numbers(io_file, "attention_mask"), io_file.count("input_ids"), batch);
    auto linear = attach(net, report);
    check_close(io_file, "logits", host(be, net.forward(batch, linear)),
                tokens_of(io_file, "logits", batch), output_rtol<T>);
    ++checked;
  }
  CHECK(checked >= 1);
}

TEST_CASE_TEMPLATE("gguf adapter: on weights of every type", T, double, float) {
  using Be = cpu<T>;
  const fixture io_file("gguf/model/io");
  const std::vector<index_t> ids = whole_numbers(io_file, "ids.values");
  const std::vector<index_t> offsets = whole_numbers(io_file, "ids.offsets");
  for (const std::string kind : {"f32", "mixed"}) {
    CAPTURE(kind);
    Be be;
    nn::decoder<Be> net(be, gguf::read_decoder(be, path_of("gguf/model/model-" + kind + ".gguf")));
    const auto report = checked_adapter(net, "gguf/model/lora.gguf", "gguf/model/adapter");
    auto linear = attach(net, report);
    for (std::size_t row = 0; row + 1 < offsets.size(); ++row) {
      nn::causal_batch<Be> batch;
      batch.ids.assign(ids.begin() + offsets[row], ids.begin() + offsets[row + 1]);
      batch.labels = batch.ids;
      batch.lengths = {index_t(batch.ids.size())};
      const std::string tensor = kind + ".logits_lora." + std::to_string(row);
      check_close(io_file, tensor, host(be, net.forward(batch, linear)), io_file.tokens(tensor),
                  output_rtol<T>);
    }
  }
}
