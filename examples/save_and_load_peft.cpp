// A trained adapter to a folder that Hugging Face's PEFT opens, and back: train, save, load, compare.
// Exit code 0 if the loaded adapter gives the output of the trained one, bitwise.
#include <cstdio>
#include <filesystem>
#include <preheat/peft/load.hpp>
#include <preheat/peft/save.hpp>
#include <preheat/preheat.hpp>

using namespace preheat;

int main() {
  cpu<float> be;
  const nn::mlp<cpu<float>> base(be, {16, 32, 32, 4}, 1);  // layers.0, layers.1, layers.2
  auto net = base.copy();
  const auto X = linalg::normal(be, 16, 64, 1, generator(2));
  auto classes = be.zeros(1, 64);  // four classes, by the signs of the first two features
  const auto x = be.download(X);
  std::vector<float> labels;
  for (int j = 0; j < 64; ++j) {
    labels.push_back(float(2 * (x[16 * j] > 0) + (x[16 * j + 1] > 0)));
  }
  be.upload(labels, classes);
  nn::minibatches<cpu<float>> batches(be, clone<cpu<float>>(be, X), std::move(classes), 16);

  // The two lines.
  const auto report = fit(hrp<>{.optim = {.lr = 1e-2}}, net, batches, {.rank = 4, .steps = 100});
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / "preheat-adapter-example";
  std::filesystem::remove_all(folder);
  const peft::saved_adapter saved = peft::save(report, net, folder);

  auto other = base.copy();  // the base, as another program would have it
  const auto loaded = peft::load(folder, other);
  auto trained_linear = attach(net, report);
  auto loaded_linear = attach(other, loaded);
  const auto trained_output = be.download(net.forward(X, trained_linear));
  const auto loaded_output = be.download(other.forward(X, loaded_linear));

  std::printf("loss %.3f -> %.3f\n%s: %d layers\n", report.losses.front(), report.losses.back(),
              folder.string().c_str(), int(saved.layers));
  for (const auto& l : loaded.layers) {
    std::printf("  %s: rank %d, s = %g\n", l.name.c_str(), int(l.rank), l.scaling);
  }
  std::filesystem::remove_all(folder);
  return loaded_output == trained_output ? 0 : 1;
}
