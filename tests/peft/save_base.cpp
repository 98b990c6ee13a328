// Runs that change the base: their adapter as plain LoRA on the original base, or on the changed base
// that is saved beside it.
#include <preheat/chain/merge_every.hpp>
#include <preheat/convert/weighted_sum.hpp>
#include <preheat/init/loftq.hpp>
#include <preheat/init/pissa.hpp>
#include <preheat/method.hpp>
#include <preheat/nn/mlp.hpp>
#include <preheat/safetensors/writer.hpp>

#include "save_support.hpp"

using namespace conformance;
using namespace preheat;

namespace {

// The network of a saved base.
template <class Be>
nn::mlp<Be> network_of(Be& be, const std::filesystem::path& file, const std::string& prefix) {
  const safetensors::tensor_files tensors(file);
  std::vector<base_layer<Be>> layers;
  for (int l = 0; l < 3; ++l) {
    const std::string name = "layers." + std::to_string(l);
    const auto matrix_of = [&](const std::string& tensor, bool vector) {
      const safetensors::tensor_info& info = tensors.info(tensor);
      const index_t rows = info.shape[0];
      const index_t cols = vector ? 1 : info.shape[1];
      std::vector<scalar_of<Be>> host(std::size_t(rows * cols));
      safetensors::read_rows<scalar_of<Be>>(tensor, info, 0,
                                            view<scalar_of<Be>>(host.data(), cols, rows));
      mat<Be> stored = be.zeros(cols, rows);
      be.upload(host, stored);
      return linalg::transposed<Be>(be, stored);
    };
    layers.push_back({name, matrix_of(prefix + name + ".weight", false),
                      matrix_of(prefix + name + ".bias", true)});
  }
  return {be, std::move(layers)};
}

// A run whose base moved, saved with it: the saved base and the saved adapter give the output.
template <class Method>
void check_saved_base(const Method& m) {
  using Be = cpu_double;
  const temporary_directory directory;
  trained_task<Method, Be> run(m);
  REQUIRE(run.report.base_changed);
  CHECK(says(refusal([&] { peft::save(run.report, run.task.net, directory / "a"); }),
             "the run changed the base weights"));
  peft::save(run.report, run.task.net, directory / "a",
             {.module_prefix = "m.", .base = directory / "base.safetensors"});
  Be be;
  auto net = network_of(be, directory / "base.safetensors", "m.");
  const auto loaded = peft::load(directory / "a", net);
  auto linear = preheat::attach(net, loaded);
  CHECK(same(read<Be>(be, net.forward(run.task.all.X, linear)), run.output));
  CHECK(directory.file_names() == std::vector<std::string>{"a", "base.safetensors"});
}

}  // namespace

TEST_CASE_TEMPLATE("peft::save: PiSSA is plain LoRA of twice the rank on the original base", Be,
                   PREHEAT_BACKENDS) {
  const temporary_directory directory;
  toy_task<Be> task;
  toy_task<Be> original;
  auto run = start_run(method<init::pissa>{.optim = {.lr = 0.02}}, task.net, task.data,
                       {.rank = 2, .steps = 6});
  const auto start = factors_of(run);
  const auto report = run.run_to_end();
  const table output = task.adapted_output(report);
  const auto plain = to_plain_lora(task.be, report, start);
  CHECK(peft::save(plain, task.net, directory / "a").layers == 3);
  CHECK(config_of(directory / "a")["r"] == 4);
  CHECK(config_of(directory / "a")["lora_alpha"] == 8);

  const auto loaded = peft::load(directory / "a", original.net);
  const double bound = 8 * tolerance<Be>(15) * largest(output);
  CHECK(gap(original.adapted_output(loaded), output) < bound);

  // Recompressed to its rank, by the energy: ranks of their own, and the layers' names stay.
  std::vector<plain_lora<Be>> small;
  for (const plain_lora<Be>& one : plain) {
    small.push_back(recompress(task.be, one, linalg::rank_choice{.energy = 0.5}));
    CHECK(small.back().layer == one.layer);
    CHECK(small.back().rank < 4);
  }
  peft::save(small, task.net, directory / "small");
  const auto reduced = peft::load(directory / "small", original.net);
  for (std::size_t l = 0; l < small.size(); ++l) {
    CHECK(reduced.layers[l].rank == small[l].rank);
  }
}

TEST_CASE("peft::save: the changed base beside the adapter, after PiSSA and LoftQ") {
  check_saved_base(method<init::pissa>{});
  check_saved_base(method<init::loftq>{});
}

TEST_CASE("peft::save_base: what a chain leaves is the base alone") {
  using Be = cpu_double;
  const temporary_directory directory;
  using chain_method = method<chain::merge_every>;
  trained_task<chain_method, Be> run(chain_method{.chain = {.period = 4}});
  const std::filesystem::path file = directory / "base.safetensors";
  CHECK(
      says(refusal([&] { peft::save(run.report, run.task.net, directory / "a", {.base = file}); }),
           "peft::save_base"));
  CHECK(directory.file_names().empty());
  peft::save_base(run.report, run.task.net, file);
  Be be;
  auto net = network_of(be, file, "");
  base_operator<Be> linear(net);
  CHECK(same(read<Be>(be, net.forward(run.task.all.X, linear)), run.output));
  CHECK(says(refusal([&] { peft::save_base(run.report, run.task.net, file); }), "exists already"));
}

TEST_CASE("peft::save: the changed base takes the rest of the original model along") {
  using Be = cpu_float;
  const temporary_directory directory;
  trained_task<method<init::pissa>, Be> run(method<init::pissa>{},
                                            {.rank = 2, .steps = 6, .targets = {"layers.1"}});
  // The original model: the weights of the network that never moved, and a tensor besides.
  safetensors::writer model;
  model.metadata("title", "kept");
  for (const auto& l : run.original.net.layers()) {
    const auto W = run.original.be.download(l.W);
    const auto b = run.original.be.download(l.b);
    model.add_column_major<float>(l.name + ".weight", l.W.rows(), l.W.cols(), W);
    model.add<float>(l.name + ".bias", {l.b.rows()}, b);
  }
  const std::vector<float> numbers = {1, 2, 3};
  model.add<float>("embeddings", {3}, numbers);
  model.write(directory / "model.safetensors");

  peft::save(run.report, run.task.net, directory / "a",
             {.base = directory / "changed.safetensors",
              .original_base = directory / "model.safetensors"});
  const safetensors::tensor_files before(directory / "model.safetensors");
  const safetensors::tensor_files after(directory / "changed.safetensors");
  CHECK(after.metadata().at("title") == "kept");
  CHECK(after.tensors().size() == before.tensors().size());
  for (const auto& entry : before.tensors()) {
    const std::string& name = entry.first;  // no structured binding: clang 14 captures none
    CAPTURE(name);
    CHECK(std::ranges::equal(entry.second.bytes, after.info(name).bytes) ==
          (name != "layers.1.weight"));
  }
  Be be;
  auto net = network_of(be, directory / "changed.safetensors", "");
  auto linear = preheat::attach(net, peft::load(directory / "a", net));
  CHECK(same(read<Be>(be, net.forward(run.task.all.X, linear)), run.output));

  CHECK(says(refusal([&] {
               peft::save(run.report, run.task.net, directory / "b",
                          {.module_prefix = "bert.",
                           .base = directory / "other.safetensors",
                           .original_base = directory / "model.safetensors"});
             }),
             "bert.layers.1.weight"));
  CHECK(directory.file_names() ==
        std::vector<std::string>{"a", "changed.safetensors", "model.safetensors"});
}
