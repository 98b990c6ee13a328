// Trains adapters on the tiny BERT of the fixtures with fit, saves them with peft::save, and writes the
// logits: interop.py loads the folders in the real PEFT and compares.
//
//   fit_and_save BASE IO OUT    OUT/<case>/adapter, OUT/<case>/logits.safetensors,
//                               OUT/<case>/base/model.safetensors where the run changed the base
//   fit_and_save decoders MODELS OUT    the same for tiny language models (decoders.hpp)
//   fit_and_save vera BASE IO CASE    CASE/logits.safetensors of the folder CASE/theirs that PEFT wrote
//   fit_and_save parity CASES    layers of PEFT computed by preheat (parity.hpp)
#include <cstdio>
#include <exception>
#include <filesystem>
#include <preheat/huggingface/bert.hpp>
#include <preheat/nn/minibatches.hpp>
#include <preheat/peft/load.hpp>
#include <preheat/peft/save.hpp>
#include <preheat/preheat.hpp>
#include <preheat/safetensors/safetensors.hpp>
#include <string>

#include "decoders.hpp"
#include "parity.hpp"

using namespace preheat;
namespace fs = std::filesystem;

namespace {

using Be = cpu<float>;
using classifier = nn::bert<Be, nn::cls_head>;
using batch_type = nn::token_batch<Be>;

struct files_of_test {
  fs::path base;
  fs::path io;
  fs::path out;
};

// The ids of the fixture with labels of our own, as one batch.
batch_type batch_of(Be& be, const fs::path& io) {
  const safetensors::reader file(io);
  const auto whole = [&](const char* name) {
    const std::vector<double> values = file.values<double>(name);
    return std::vector<index_t>(values.begin(), values.end());
  };
  batch_type batch;
  nn::pack<Be>(whole("input_ids"), whole("token_type_ids"), whole("attention_mask"),
               file.info("input_ids").shape[0], batch);
  batch.target = be.zeros(1, batch.sequences());
  std::vector<float> labels;
  for (index_t s = 0; s < batch.sequences(); ++s) {
    labels.push_back(float(s % 3));
  }
  be.upload(labels, batch.target);
  return batch;
}

// The same batch in every step.
struct one_batch {
  const batch_type* batch;
  void load(const generator&, index_t, batch_type& to) const {
    Be be;
    to.ids = batch->ids;
    to.types = batch->types;
    to.lengths = batch->lengths;
    be.resize(to.target, batch->target.rows(), batch->target.cols());
    be.copy(transpose::no, batch->target, to.target);
  }
};

classifier read_classifier(Be& be, const fs::path& folder) {
  auto weights = huggingface::read_bert<Be>(be, folder);
  auto head = std::move(*weights.classifier);
  return {be, std::move(weights), std::move(head)};
}

// One case: its folder, its network and its batch.
struct job {
  fs::path out;
  Be be;
  classifier net;
  batch_type batch;
  peft::save_options options = peft::bert_classifier();

  job(const files_of_test& files, const std::string& name)
      : out(files.out / name), net(read_classifier(be, files.base)), batch(batch_of(be, files.io)) {
    fs::create_directories(out);
  }
  template <class Report>
  void write_logits(const Report& report) {
    auto linear = attach(net, report);
    const const_view_of<Be> Z = net.forward(batch, linear);  // outputs × sequences
    safetensors::writer writer;
    writer.add<float>("logits", {Z.cols(), Z.rows()}, be.download(Z));
    writer.write(out / "logits.safetensors");
  }
};

template <class Method>
void train_and_save(const files_of_test& files, const std::string& name, Method m,
                    const fit_options& settings, bool residual_base = false) {
  job j(files, name);
  learning_rate(m.optim) = 5e-3;
  one_batch data{&j.batch};
  const auto report = fit(m, j.net, data, settings);
  if (residual_base) {
    fs::create_directories(j.out / "base");
    j.options.base = j.out / "base" / "model.safetensors";
    j.options.original_base = files.base;
  }
  const peft::saved_adapter saved = peft::save(report, j.net, j.out / "adapter", j.options);
  j.write_logits(report);
  std::printf("%s: %d layers%s, loss %.4f to %.4f\n", name.c_str(), int(saved.layers),
              saved.converted ? " as plain LoRA" : "", report.losses.front(), report.losses.back());
}

// PiSSA as plain LoRA of twice the rank on the original base.
void convert_and_save(const files_of_test& files, const std::string& name,
                      const fit_options& settings) {
  job j(files, name);
  one_batch data{&j.batch};
  auto run = start_run(pissa{.optim = {.lr = 5e-3}}, j.net, data, settings);
  const auto start = factors_of(run);
  const auto report = run.run_to_end();
  peft::save(to_plain_lora(j.be, report, start), j.net, j.out / "adapter", j.options);
  j.write_logits(report);
}

// A VeRA folder that PEFT wrote, read here.
void read_vera(const fs::path& base, const fs::path& io, const fs::path& out) {
  job j({base, io, out.parent_path()}, out.filename());
  j.write_logits(peft::load<adapter::vera>(out / "theirs", j.net));
}

void run_all(const files_of_test& files) {
  const fit_options plain = {.rank = 4, .steps = 8, .targets = {"query", "value"}};
  train_and_save(files, "lora", method<>{}, plain);
  train_and_save(files, "hrp", hrp<>{}, plain);
  train_and_save(files, "ranks", method<rank::linear>{}, {.rank = 6, .steps = 8});
  train_and_save(files, "clamped", method<>{}, {.rank = 40, .steps = 8, .clamp_rank = true});
  train_and_save(files, "asymmetric", lora_train_b{}, plain);
  train_and_save(files, "dora", dora{}, {.rank = 3, .steps = 8, .targets = {"query", "dense"}});
  train_and_save(files, "lora_bias", lora_with_bias{}, plain);
  train_and_save(files, "sora", sora{}, plain);
  train_and_save(files, "prolora", prolora{}, plain);
  train_and_save(files, "vera", vera{}, {.rank = 24, .steps = 8, .targets = {"query", "dense"}});
  train_and_save(files, "pissa_base", pissa{}, plain, true);
  convert_and_save(files, "pissa_converted", plain);
}

}  // namespace

int main(int argc, char** argv) {
  const bool parity = argc == 3 && argv[1] == std::string("parity");
  const bool vera_of_peft = argc == 5 && argv[1] == std::string("vera");
  if (argc != 4 && !parity && !vera_of_peft) {
    std::fprintf(
        stderr,
        "fit_and_save BASE IO OUT | decoders MODELS OUT | vera BASE IO CASE | parity CASES\n");
    return 2;
  }
  try {
    if (parity) {
      std::printf("%d cases\n", check_parity(argv[2]));
      return 0;
    }
    if (vera_of_peft) {
      read_vera(argv[2], argv[3], argv[4]);
    } else if (argv[1] == std::string("decoders")) {
      train_decoders(argv[2], argv[3]);
    } else {
      run_all({argv[1], argv[2], argv[3]});
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fit_and_save: %s\n", error.what());
    return 1;
  }
  return 0;
}
