// The decoders of fit_and_save.
#include "decoders.hpp"

#include <cstdio>
#include <numeric>
#include <preheat/huggingface/decoder.hpp>
#include <preheat/peft/save.hpp>
#include <preheat/preheat.hpp>
#include <preheat/safetensors/safetensors.hpp>

using namespace preheat;
namespace fs = std::filesystem;

namespace {

using Be = cpu<float>;
using batch_type = nn::causal_batch<Be>;

// One text of 12 tokens, the same in every step.
struct one_text {
  void load(const generator&, index_t, batch_type& batch) const {
    batch.ids.resize(12);
    std::iota(batch.ids.begin(), batch.ids.end(), index_t(3));
    batch.labels = batch.ids;
    batch.lengths = {12};
  }
};

template <class Method>
void train(const fs::path& base, const fs::path& out, Method m) {
  Be be;
  nn::decoder<Be> net(be, huggingface::read_decoder(be, base));
  learning_rate(m.optim) = 1e-2;
  one_text data;
  const auto report = fit(m, net, data, {.rank = 3, .steps = 8});
  const bool gpt2 = net.config().names == nn::decoder_names::gpt2;
  fs::create_directories(out);
  peft::save(report, net, out / "adapter", peft::causal_lm("", gpt2));
  auto linear = attach(net, report);
  batch_type batch;
  data.load(generator(), 0, batch);
  const const_view_of<Be> Z = net.forward(batch, linear);
  safetensors::writer writer;
  writer.add<float>("logits", {Z.cols(), Z.rows()}, be.download(Z));
  const std::span<const index_t> prompt = std::span(batch.ids).first(4);
  const auto greedy = nn::generate(net, linear, prompt, {.max_tokens = 25, .stop = {2}});
  writer.add<float>("greedy", {index_t(greedy.size())},
                    std::vector<float>(greedy.begin(), greedy.end()));
  writer.write(out / "logits.safetensors");
  std::printf("%s: %d layers, loss %.4f to %.4f\n", out.filename().c_str(),
              int(report.layers.size()), report.losses.front(), report.losses.back());
}

}  // namespace

void train_decoders(const fs::path& models, const fs::path& out) {
  for (const fs::directory_entry& model : fs::directory_iterator(models)) {
    const std::string name = model.path().filename();
    train(model.path() / "base", out / name, method<>{});
    if (name == "gpt2" || name == "qwen3") {
      train(model.path() / "base", out / (name + "_dora"), dora{});
    }
  }
}
