// What peft::save and peft::load refuse, in words, and that nothing is left behind; and a BERT with its
// trained head.
#include <sys/resource.h>

#include <csignal>
#include <map>
#include <memory>
#include <preheat/methods.hpp>
#include <preheat/safetensors/writer.hpp>

#include "save_support.hpp"
#include "support/small_encoder.hpp"

using namespace conformance;
using namespace preheat;

namespace {

using Be = cpu_double;
using encoder = nn::bert<Be, nn::cls_head>;

// LoRA at twice its s: its output is not that of its factors.
struct twice_lora : adapter::lora {
  template <backend B>
  void forward(B& be, const params<B>& p, frozen_linear<B> base, const layer_input<B>& x,
               view_of<B> Y, saved_activations<B>& t) const {
    base.scaling *= 2;
    adapter::lora::forward(be, p, base, x, Y, t);
  }
};

// No file may become larger than this, as on a full disk, while it lives.
class small_disk {
 public:
  explicit small_disk(rlim_t bytes) {
    handler_ = std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~small_disk() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int);
};

}  // namespace

TEST_CASE("peft::save: a folder appears whole or not at all, and none is overwritten") {
  const temporary_directory directory;
  trained_task<method<>, Be> run(method<>{});
  auto& net = run.task.net;
  peft::save(run.report, net, directory / "a");
  const std::string before = scratch::read_file(directory / "a" / "adapter_model.safetensors");
  CHECK(says(refusal([&] { peft::save(run.report, net, directory / "a", {.rslora = true}); }),
             "exists already"));
  CHECK(scratch::read_file(directory / "a" / "adapter_model.safetensors") == before);
  CHECK(config_of(directory / "a")["use_rslora"] == false);
  CHECK(says(refusal([&] { peft::save(run.report, net, directory / "none" / "a"); }), "none/a"));
  {
    const small_disk full(200);  // the config alone is longer
    CHECK_THROWS_AS(peft::save(run.report, net, directory / "b"), io_error);
  }
  {
    const small_disk full(1500);  // the tensors are longer
    CHECK(says(refusal([&] { peft::save(run.report, net, directory / "b"); }), "cannot write"));
    CHECK_THROWS_AS(
        peft::save(run.report, net, directory / "b", {.base = directory / "base.safetensors"}),
        io_error);
  }
  CHECK(directory.file_names() == std::vector<std::string>{"a"});
}

TEST_CASE("peft::save: refusals") {
  const temporary_directory directory;
  trained_task<method<>, Be> run(method<>{});
  auto& net = run.task.net;
  const auto refused = [&](const peft::save_options& options) {
    return refusal([&] { peft::save(run.report, net, directory / "a", options); });
  };
  CHECK(says(refused({.head_module = "classifier"}), "no trained head to be saved as classifier"));
  run.report.layers[1].parameters.A.data()[3] = std::numeric_limits<double>::quiet_NaN();
  CHECK(says(refused({}), "layer 'layers.1': A has a NaN or infinite entry"));
  run.report.layers[1].parameters.A.data()[3] = 1e300;
  CHECK(says(refused({.stored = safetensors::dtype::F32}), "too large for F32"));
  for (auto& l : run.report.layers) {
    l.attached = false;
  }
  CHECK(says(refused({}), "no layer has an adapter"));
  run.report.base_changed = true;
  CHECK(says(refused({}), "to_plain_lora(be, report, start)"));

  trained_task<method<twice_lora>, Be> other(method<twice_lora>{});
  CHECK(says(refusal([&] { peft::save(other.report, other.task.net, directory / "a"); }),
             "layer 'layers.0': this adapter computes more than"));

  std::vector<plain_lora<Be>> nameless(1);
  CHECK(says(refusal([&] { peft::save(nameless, net, directory / "a"); }), "has its layer's name"));
  CHECK(says(refusal([&] { peft::save(nameless, net, directory / "a", {.base = "b"}); }),
             "belongs to the original base"));
  CHECK(directory.file_names().empty());
}

TEST_CASE("peft::load: refusals") {
  const temporary_directory directory;
  trained_task<method<>, Be> run(method<>{});
  trained_task<method<adapter::dora>, Be> dora(method<adapter::dora>{});
  trained_task<method<adapter::lora_bias>, Be> bias(method<adapter::lora_bias>{});
  peft::save(run.report, run.task.net, directory / "lora");
  peft::save(dora.report, dora.task.net, directory / "dora");
  peft::save(bias.report, bias.task.net, directory / "bias");
  auto& net = run.original.net;
  const auto refused = [&]<class Adapter>(const std::string& name, auto& network, Adapter) {
    return refusal([&] { peft::load<Adapter>(directory / name, network); });
  };
  CHECK(says(refused("none", net, adapter::lora{}), "no such file or folder"));
  CHECK(says(refused("dora", net, adapter::lora{}), "read it as adapter::dora"));
  CHECK(says(refused("lora", net, adapter::dora{}), "it is not DoRA"));
  CHECK(says(refused("bias", net, adapter::lora{}), "read it as adapter::lora_bias"));
  CHECK(says(refused("lora", net, adapter::lora_bias{}), "it is not lora_bias"));
  Be be;
  nn::mlp<Be> other(be, {10, 15, 13, 5}, 1);
  CHECK(says(refused("lora", other, adapter::lora{}), "it is for a layer 12×15"));
  nn::mlp<Be> shallow(be, {10, 15, 12}, 1);
  CHECK(says(refused("lora", shallow, adapter::lora{}), "the network has no such layer"));

  // An adapter for which PEFT would take a product out of the base.
  peft::config config = peft::reader(directory / "lora").config();
  config.set("init_lora_weights", "pissa");
  std::filesystem::copy(directory / "lora", directory / "pissa");
  config.write(directory / "pissa" / "adapter_config.json");
  CHECK(says(refused("pissa", net, adapter::lora{}), "base_weights::residual"));
  CHECK(peft::load(directory / "pissa", net, peft::base_weights::residual).layers.size() == 3);
}

TEST_CASE("peft::save: refusals of VeRA") {
  const temporary_directory directory;
  trained_task<vera, Be> run(vera{}, {.rank = 20, .steps = 20});
  auto& net = run.task.net;
  auto& layers = run.report.layers;
  const auto refused = [&](const peft::save_options& options = {}) {
    return refusal([&] { peft::save(run.report, net, directory / "a", options); });
  };
  CHECK(says(refused({.rslora = true}), "VeRA has no α"));
  CHECK(says(refused({.head_module = "score"}), "no trained head to be saved as score"));
  layers[2].scaling = 2;
  CHECK(says(refused(), "layer 'layers.2': VeRA has no α in PEFT, so its s is 1"));
  layers[2].scaling = 1;
  const auto pair = layers[1].parameters.shared;
  layers[1].parameters.shared = std::make_shared<const adapter::vera::shared<Be>>();
  CHECK(says(refused(), "layer 'layers.1': all layers of a VeRA folder share one pair"));
  layers[1].parameters.shared = pair;
  layers[1].parameters.d.data()[0] = std::numeric_limits<double>::infinity();
  CHECK(says(refused(), "layers.1.vera_lambda_d has a NaN or infinite entry"));
  run.report.base_changed = true;
  CHECK(says(refused(), "the run changed the base weights"));
  for (auto& l : layers) {
    l.attached = false;
  }
  run.report.base_changed = false;
  CHECK(says(refused(), "no layer has an adapter"));
  CHECK(directory.file_names().empty());
}

TEST_CASE("peft::load: refusals of VeRA") {
  Be be;
  nn::mlp<Be> net(be, {4, 3, 2}, 1);
  // A folder for "layers.0" (3×4) of rank 2, with these changes of its config and its tensors.
  using shapes = std::map<std::string, std::vector<index_t>>;
  const std::string module = "base_model.model.layers.0";
  const auto refused = [&](nlohmann::json config, const shapes& changes, double value = 0.5) {
    const temporary_directory directory;
    nlohmann::json fields = {{"peft_type", "VERA"}, {"r", 2}};
    fields.merge_patch(config);
    shapes tensors = {{"base_model.vera_A", {2, 4}},
                      {"base_model.vera_B", {3, 2}},
                      {module + ".vera_lambda_d", {2}},
                      {module + ".vera_lambda_b", {3}}};
    for (const auto& [name, shape] : changes) {
      tensors[name] = shape;
    }
    safetensors::writer writer;
    for (const auto& [name, shape] : tensors) {
      if (!shape.empty()) {
        const index_t size = shape[0] * (shape.size() > 1 ? shape[1] : 1);
        writer.add<double>(name, shape, std::vector<double>(std::size_t(size), value));
      }
    }
    writer.write(directory / "adapter_model.safetensors");
    scratch::write_file(directory / "adapter_config.json", fields.dump());
    return refusal([&] { peft::load<adapter::vera>(directory.path(), net); });
  };
  const nlohmann::json whole = nlohmann::json::object();
  CHECK(refused(whole, {}) == "nothing");
  CHECK(says(refused({{"peft_type", "LORA"}}, {}), "VERA is expected"));
  CHECK(says(refused({{"r", 0}}, {}), "r is an integer from 1"));
  CHECK(says(refused({{"r", 3}}, {}), "with r = 3 it is [r, in] and [out, r]"));
  CHECK(says(refused({{"d_initial", "small"}}, {}), "d_initial is a number"));
  CHECK(says(refused({{"save_projection", false}}, {{"base_model.vera_A", {}}}),
             "save_projection=True"));
  CHECK(says(refused(whole, {{module + ".vera_lambda_b", {}}}), "come together"));
  CHECK(says(refused(whole, {{module + ".vera_lambda_b", {}}, {module + ".vera_lambda_d", {}}}),
             "so it is not VeRA"));
  CHECK(says(refused(whole, {{module + ".vera_lambda_b", {4}}}), "vera_lambda_b has 3 entries"));
  CHECK(says(refused(whole, {{module + ".vera_lambda_d", {1}}}), "vera_lambda_d has 2 entries"));
  CHECK(says(refused(whole, {{"base_model.vera_A", {2, 3}}}), "larger than the pair's 3×3"));
  CHECK(says(refused(whole, {{"base_model.model.x.vera_lambda_b", {3}},
                             {"base_model.model.x.vera_lambda_d", {2}}}),
             "module \"x\": the network has no such layer"));
  CHECK(says(refused(whole, {{"base_model.model.y.layers.0.vera_lambda_b", {3}},
                             {"base_model.model.y.layers.0.vera_lambda_d", {2}}}),
             "another module is the same layer"));
  CHECK(says(refused(whole, {{"base_model.model.score.weight", {3, 2}}}),
             "has no place in the network"));
  CHECK(says(refused(whole, {}, std::numeric_limits<double>::quiet_NaN()), "NaN or infinite"));
}

TEST_CASE("peft::save: a BERT's trained head is the classifier of modules_to_save") {
  const temporary_directory directory;
  Be be;
  encoder net = small_encoder<encoder>(be);
  encoder original = small_encoder<encoder>(be);
  nn::token_batch<Be> batch = small_batch<Be>(be);
  repeated_batch<Be> data{&batch};
  const auto report = fit(method<>{.optim = {.lr = 0.05}}, net, data,
                          {.rank = 2, .steps = 5, .targets = {"query", "pooler.dense"}});
  CHECK(says(refusal([&] { peft::save(report, net, directory / "a"); }), ".head_module"));
  peft::save(report, net, directory / "a", peft::bert_classifier("some/bert"));
  const nlohmann::json config = config_of(directory / "a");
  CHECK(config["modules_to_save"] == nlohmann::json{"classifier"});
  CHECK(config["task_type"] == "SEQ_CLS");
  const peft::reader adapter(directory / "a");
  CHECK(adapter.find("bert.encoder.layer.1.attention.self.query") != nullptr);
  CHECK(adapter.find("bert.pooler.dense") != nullptr);
  CHECK(adapter.files().info("base_model.model.classifier.weight").shape ==
        std::vector<index_t>{small_outputs, small_config().hidden_size});

  auto linear = preheat::attach(net, report);
  const table logits = read<Be>(be, net.forward(batch, linear));
  const auto loaded = peft::load(directory / "a", original);
  CHECK(loaded.head_parameters == small_outputs * (small_config().hidden_size + 1));
  auto loaded_linear = preheat::attach(original, loaded);
  CHECK(same(read<Be>(be, original.forward(batch, loaded_linear)), logits));

  // A head of other shapes, a network without one, and a folder without one.
  nn::bert<Be, nn::cls_head> two(be, small_weights<Be>(be),
                                 nn::random_head(be, 2, 8, generator(1)));
  CHECK(says(refusal([&] { peft::load(directory / "a", two); }), "the trained head has a weight"));
  trained_task<method<>, Be> mlp(method<>{});
  peft::config with_head = peft::reader(directory / "a").config();
  peft::save(report, net, directory / "b", {.module_prefix = "bert.", .without_head = true});
  CHECK(config_of(directory / "b")["modules_to_save"] == nullptr);
  encoder other = small_encoder<encoder>(be);
  const table head = read<Be>(be, other.head().parameters.W);
  peft::load(directory / "b", other);
  CHECK(same(read<Be>(be, other.head().parameters.W), head));
}
