// Adapters of runs as PEFT folders and back: the same output, bitwise where the folder holds the same
// parameters, to rounding where it holds their product or a lower precision.
#include <preheat/adapter/asymmetric.hpp>
#include <preheat/adapter/gated.hpp>
#include <preheat/adapter/prolora.hpp>
#include <preheat/adapter/xs.hpp>
#include <preheat/init/xs.hpp>
#include <preheat/methods.hpp>

#include "save_support.hpp"

using namespace conformance;
using namespace preheat;
using safetensors::dtype;

namespace {

// The adapter comes back as it was.
template <class Be, class Method>
void check_bitwise(const Method& m, const fit_options& options = {.rank = 2, .steps = 6}) {
  const temporary_directory directory;
  trained_task<Method, Be> run(m, options);
  const peft::saved_adapter saved = peft::save(run.report, run.task.net, directory / "a");
  CHECK(saved.layers == index_t(run.report.layers.size()));
  CHECK_FALSE(saved.converted);
  CHECK(
      same(run.template loaded_output<typename Method::adapter_type>(directory / "a"), run.output));
  CHECK(directory.file_names() == std::vector<std::string>{"a"});
}

// The adapter comes back as plain LoRA of the same product.
template <class Be, class Method>
void check_converted(const Method& m) {
  const temporary_directory directory;
  trained_task<Method, Be> run(m);
  CHECK(peft::save(run.report, run.task.net, directory / "a").converted);
  const table output = run.template loaded_output<adapter::lora>(directory / "a");
  CHECK(gap(output, run.output) < tolerance<Be>(15) * largest(run.output));
}

}  // namespace

TEST_CASE_TEMPLATE("peft::save: LoRA comes back bitwise, on some layers and at ranks that differ",
                   Be, PREHEAT_BACKENDS) {
  check_bitwise<Be>(method<>{});
  check_bitwise<Be>(method<>{}, {.rank = 4, .steps = 6, .targets = {"layers.0", "layers.2"}});
  check_bitwise<Be>(method<>{}, {.rank = 12, .steps = 6, .clamp_rank = true});
}

TEST_CASE_TEMPLATE("peft::save: asymmetric LoRA, DoRA and LoRA with a bias come back bitwise", Be,
                   cpu_float, archetype_double) {
  check_bitwise<Be>(method<adapter::asymmetric<parameter_role::B>>{});
  check_bitwise<Be>(method<adapter::dora>{});
  check_bitwise<Be>(method<adapter::lora_bias>{});
}

TEST_CASE_TEMPLATE("peft::save: VeRA comes back bitwise, its pair cut to what the layers use", Be,
                   cpu_float, archetype_double) {
  const fit_options options{.rank = 20, .steps = 20};
  check_bitwise<Be>(vera{}, options);
  check_bitwise<Be>(vera{}, {.rank = 3, .steps = 20, .targets = {"layers.0", "layers.2"}});

  const temporary_directory directory;
  trained_task<vera, Be> run(vera{.adapter = {.d_initial = 0.2}}, options);
  run.report.layers[0].attached = false;  // of 15 outputs; 12×15 and 5×12 are left
  run.report.layers.erase(run.report.layers.begin());
  const table output = run.task.adapted_output(run.report);
  CHECK(
      peft::save(run.report, run.task.net, directory / "a", peft::causal_lm("some/model")).layers ==
      2);
  CHECK(same(run.template loaded_output<adapter::vera>(directory / "a"), output));

  const nlohmann::json config = config_of(directory / "a");
  CHECK(config["peft_type"] == "VERA");
  CHECK(config["base_model_name_or_path"] == "some/model");
  CHECK(config["task_type"] == "CAUSAL_LM");
  CHECK(config["r"] == 20);
  CHECK(config["d_initial"] == 0.2);
  CHECK(config["save_projection"] == true);
  CHECK(config["target_modules"] == nlohmann::json{"layers.1", "layers.2"});
  const safetensors::reader file(directory / "a" / "adapter_model.safetensors");
  CHECK(file.tensors().size() == 6);
  CHECK(file.info("base_model.vera_A").shape == std::vector<index_t>{20, 15});
  CHECK(file.info("base_model.vera_B").shape == std::vector<index_t>{12, 20});
  CHECK(file.info("base_model.model.layers.2.vera_lambda_b").shape == std::vector<index_t>{5});
  CHECK(file.info("base_model.model.layers.2.vera_lambda_d").shape == std::vector<index_t>{20});
  const auto loaded = peft::load<adapter::vera>(directory / "a", run.original.net);
  CHECK(loaded.adapter.d_initial == 0.2);
  CHECK(loaded.layers[0].parameters.shared == loaded.layers[1].parameters.shared);
  CHECK(loaded.trainable_parameters == 2 * 20 + 12 + 5);
}

TEST_CASE(
    "peft::save: adapters that PEFT lacks become plain LoRA of the same product, and it says so") {
  check_converted<cpu_double>(method<adapter::gated<>>{});
  check_converted<cpu_double>(method<adapter::prolora>{});
  check_converted<cpu_double>(method<adapter::xs, init::xs>{});
}

TEST_CASE("peft::save: the config says what PEFT needs to know") {
  const temporary_directory directory;
  trained_task<method<>, cpu_float> plain(method<>{}, {.rank = 12, .steps = 6, .clamp_rank = true});
  peft::save(plain.report, plain.task.net, directory / "plain",
             {.base_model = "some/model", .task_type = "SEQ_CLS", .module_prefix = "model."});
  const nlohmann::json config = config_of(directory / "plain");
  CHECK(config["peft_type"] == "LORA");
  CHECK(config["base_model_name_or_path"] == "some/model");
  CHECK(config["task_type"] == "SEQ_CLS");
  CHECK(config["init_lora_weights"] == true);
  CHECK(config["use_rslora"] == false);
  CHECK(config["use_dora"] == false);
  CHECK(config["modules_to_save"] == nullptr);
  CHECK(config["target_modules"] ==
        nlohmann::json{"model.layers.0", "model.layers.1", "model.layers.2"});
  const peft::reader adapter(directory / "plain");
  const std::vector<index_t> ranks = {10, 12, 5};
  for (std::size_t l = 0; l < ranks.size(); ++l) {
    const peft::adapter_layer* const layer = adapter.find("model.layers." + std::to_string(l));
    REQUIRE(layer != nullptr);
    CHECK(layer->rank == ranks[l]);
    CHECK(adapter.config().alpha(layer->module) == doctest::Approx(24).epsilon(1e-6));
  }

  trained_task<method<adapter::dora>, cpu_float> dora(
      method<adapter::dora>{}, {.rank = 4, .steps = 6, .scaling = scaling::over_sqrt_rank(3)});
  peft::save(dora.report, dora.task.net, directory / "dora", {.rslora = true});
  const nlohmann::json other = config_of(directory / "dora");
  CHECK(other["base_model_name_or_path"] == nullptr);
  CHECK(other["task_type"] == nullptr);
  CHECK(other["use_rslora"] == true);
  CHECK(other["use_dora"] == true);
  CHECK(other["lora_alpha"] == 3);
  CHECK(other["rank_pattern"].empty());
  CHECK(same(dora.loaded_output<adapter::dora>(directory / "dora"), dora.output));
}

TEST_CASE("peft::save: a lower precision is the adapter rounded") {
  const temporary_directory directory;
  trained_task<method<>, cpu_double> run(method<>{});
  const auto error = [&](const char* name, dtype stored) {
    peft::save(run.report, run.task.net, directory / name, {.stored = stored});
    const peft::reader adapter(directory / name);
    CHECK(adapter.files().info(adapter.layers()[0].A).type == stored);
    return gap(run.loaded_output<adapter::lora>(directory / name), run.output) /
           largest(run.output);
  };
  CHECK(error("F64", dtype::F64) == 0);
  const double single = error("F32", dtype::F32);
  CHECK(single > 0);
  CHECK(single < 1e-6);
  CHECK(error("BF16", dtype::BF16) < 0.02);
}

TEST_CASE("peft::save: a double adapter of F32 numbers is the float one, bitwise") {
  const temporary_directory directory;
  trained_task<method<>, cpu_float> run(method<>{});
  peft::save(run.report, run.task.net, directory / "float");
  toy_task<cpu_double> twice;
  const auto loaded = peft::load(directory / "float", twice.net);
  peft::save(loaded, twice.net, directory / "double", {.stored = dtype::F32});
  const peft::reader a(directory / "float");
  const peft::reader b(directory / "double");
  for (const auto& entry : a.files().tensors()) {
    const std::string& name = entry.first;  // no structured binding: clang 14 captures none
    CAPTURE(name);
    CHECK(std::ranges::equal(entry.second.bytes, b.files().info(name).bytes));
  }
  CHECK(config_of(directory / "float") == config_of(directory / "double"));
}
