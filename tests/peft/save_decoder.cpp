// A decoder under fit, and its adapters as PEFT folders: names, settings, the base of GPT-2 transposed.
#include <preheat/init/pissa.hpp>
#include <preheat/method.hpp>
#include <preheat/safetensors/safetensors.hpp>

#include "save_support.hpp"
#include "support/small_decoder.hpp"

using namespace conformance;
using namespace preheat;

namespace {

using Be = cpu_double;
using batch_type = nn::causal_batch<Be>;

// The same batch in every step.
struct one_text {
  void load(const generator&, index_t, batch_type& to) const { to = small_text<Be>(); }
};

template <class Report>
table adapted_logits(nn::decoder<Be>& net, const Report& report) {
  auto linear = attach(net, report);
  return read<Be>(net.backend(), net.forward(small_text<Be>(), linear));
}

}  // namespace

TEST_CASE("decoder: fit lowers the loss, on chosen layers, with any recompute") {
  Be be;
  std::vector<double> last;
  for (const auto what :
       {nn::recompute::nothing, nn::recompute::norms_and_gates, nn::recompute::blocks}) {
    auto net = small_decoder(be, small_llama());
    net.set_recompute(what);
    one_text data;
    const auto report = fit(method<>{.optim = {.lr = 0.02}}, net, data,
                            {.rank = 3,
                             .steps = 40,
                             .targets = {"q_proj", "v_proj", "down_proj", "lm_head"},
                             .dropout = 0.1});
    CHECK(report.layers.size() == 7);
    CHECK(report.losses.back() < 0.7 * report.losses.front());
    last.push_back(report.losses.back());
  }
  CHECK(last[1] == last[0]);
  CHECK(last[2] == last[0]);
}

TEST_CASE("decoder: an adapter comes back from a PEFT folder with its names and settings") {
  Be be;
  for (const bool gpt2 : {false, true}) {
    const temporary_directory directory;
    const nn::decoder_config config = gpt2 ? small_gpt2() : small_llama();
    auto net = small_decoder(be, config);
    one_text data;
    const auto report = fit(method<>{.optim = {.lr = 0.02}}, net, data, {.rank = 2, .steps = 5});
    peft::save(report, net, directory / "a", peft::causal_lm("some/base", gpt2));
    const nlohmann::json settings = config_of(directory / "a");
    CHECK(settings["task_type"] == "CAUSAL_LM");
    CHECK(settings["fan_in_fan_out"] == gpt2);
    CHECK(settings["base_model_name_or_path"] == "some/base");
    const peft::reader folder(directory / "a");
    CHECK(folder.layers().size() == net.layers().size());
    const std::string name =
        gpt2 ? "transformer.h.1.attn.c_attn" : "model.layers.1.self_attn.q_proj";
    CHECK(folder.files().contains("base_model.model." + name + ".lora_A.weight"));

    auto original = small_decoder(be, config);
    const auto loaded = peft::load(directory / "a", original);
    CHECK(same(adapted_logits(original, loaded), adapted_logits(net, report)));
  }
}

TEST_CASE("decoder: the changed base of a GPT-2 is stored transposed, but for its head") {
  Be be;
  const temporary_directory directory;
  auto weights = small_decoder_weights(be, small_gpt2());
  nn::untie_head(be, weights);
  nn::decoder<Be> net(be, std::move(weights));
  one_text data;
  const auto report = fit(method<init::pissa>{}, net, data, {.rank = 2, .steps = 3});
  auto options = peft::causal_lm("", true);
  options.base = directory / "base.safetensors";
  peft::save(report, net, directory / "a", options);
  const safetensors::reader base(directory / "base.safetensors");
  for (const auto& layer : net.layers()) {
    CAPTURE(layer.name);
    const bool head = layer.name == "lm_head";
    const auto shape = base.info(layer.name + ".weight").shape;
    const std::vector<double> expected =
        head ? be.download(linalg::transposed<Be>(be, layer.W)) : be.download(layer.W);
    CHECK(shape[0] == (head ? layer.W.rows() : layer.W.cols()));
    CHECK(base.values<double>(layer.name + ".weight") == expected);
  }
}

TEST_CASE("peft::load: a copy of the base's matrix in the folder must be the network's") {
  Be be;
  const temporary_directory directory;
  auto net = small_decoder(be, small_llama());
  const auto write = [&](const std::string& name, const table& copy) {
    std::filesystem::remove_all(directory / name);
    std::filesystem::create_directories(directory / name);
    scratch::write_file(directory / name / "adapter_config.json",
                        R"({"peft_type": "LORA", "r": 2, "lora_alpha": 6})");
    safetensors::writer writer;
    const auto add = [&](const std::string& tensor, const table& t) {
      writer.add<double>("base_model.model.lm_head." + tensor, {t.rows, t.cols},
                         transposed(t).values);
    };
    add("lora_A.weight", random_table(2, 6, 1));
    add("lora_B.weight", random_table(11, 2, 2));
    add("base_layer.weight", copy);
    writer.write(directory / name / "adapter_model.safetensors");
    return directory / name;
  };
  const table W = read<Be>(be, net.layers().back().W);
  CHECK(peft::load(write("same", W), net).layers.size() == 1);
  table other = W;
  other(3, 1) += 1e-9;
  for (const table& wrong : {other, transposed(W)}) {
    CHECK(says(refusal([&] { peft::load(write("other", wrong), net); }),
               "lm_head.base_layer.weight\" is not the matrix of the network's layer \"lm_head\""));
  }
}

TEST_CASE("peft: an adapter of an embedding is refused, or merged into its table first") {
  Be be;
  const temporary_directory directory;
  auto weights = small_decoder_weights(be, small_llama());
  const table A = random_table(2, 11, 5);
  const table B = random_table(6, 2, 6);
  const table W_A = random_table(2, 6, 7);
  const table W_B = random_table(16, 2, 8);
  std::filesystem::create_directories(directory / "a");
  scratch::write_file(directory / "a" / "adapter_config.json",
                      R"({"peft_type": "LORA", "r": 2, "lora_alpha": 6})");
  const std::string prefix = "base_model.model.model.";
  safetensors::writer writer;
  const auto add = [&](const std::string& name, const table& t) {
    writer.add<double>(prefix + name, {t.rows, t.cols}, transposed(t).values);
  };
  add("embed_tokens.lora_embedding_A", A);
  add("embed_tokens.lora_embedding_B", B);
  add("layers.0.self_attn.q_proj.lora_A.weight", W_A);
  add("layers.0.self_attn.q_proj.lora_B.weight", W_B);
  writer.write(directory / "a" / "adapter_model.safetensors");
  const peft::reader adapter(directory / "a");

  const table before = read<Be>(be, weights.frozen.words);
  peft::merge_embedding(be, adapter, "embed_tokens", weights.frozen.words);
  CHECK(gap(read<Be>(be, weights.frozen.words), before + 3.0 * (B * A)) < 1e-14);
  const auto refused = [&](const std::string& module, mat<Be>& words, const char* text) {
    CHECK(says(refusal([&] { peft::merge_embedding(be, adapter, module, words); }), text));
  };
  mat<Be> other = be.zeros(6, 10);
  refused("embed_tokens", other,
          "is an embedding of 11 entries of 6 numbers; the table has 10 of 6");
  refused("q_proj", other, "is a linear layer with 6 entries of 16 numbers");
  refused("wte", other, "no module \"wte\"");

  nn::decoder<Be> net(be, std::move(weights));
  adapted<Be, adapter::lora> linear(net);
  CHECK(says(refusal([&] { peft::attach(net, linear, adapter); }),
             "module \"model.embed_tokens\": it adapts an embedding, and only linear layers"));
  peft::attach(net, linear, adapter, peft::base_weights::original,
               peft::embedding_adapters::merged);
  CHECK(linear.layers()[0].attached);
  CHECK(same(read<Be>(be, linear.layers()[0].parameters.B), W_B));
  CHECK(peft::load(directory / "a", net, peft::base_weights::original,
                   peft::embedding_adapters::merged)
            .layers.size() == 1);
}
