#include "save.hpp"

#include <string_view>
#include <system_error>

#include <fmt/format.h>

#include <preheat/files/atomic_folder.hpp>
#include <preheat/files/text_file.hpp>
#include <preheat/gguf/save_adapter.hpp>
#include <preheat/huggingface/model_files.hpp>
#include <preheat/peft/save.hpp>

#include "curves.hpp"

namespace apps::finetune {
namespace {

namespace fs = std::filesystem;
using preheat::io_error;

preheat::peft::save_options options_of(const base_model& model) {
  return preheat::peft::causal_lm(model.path.string(), model.architecture == "gpt2");
}

}  // namespace

void save_adapter(const any_adapter& adapter, base_model& model, const adapter_files& files,
                  const fs::path& staging, const fs::path& out) {
  const fs::path folder = staging / "adapter";
  fs::remove_all(folder);  // of a process that was killed here
  preheat::peft::save_options o = options_of(model);
  o.rslora = files.rslora;
  std::visit([&](const auto& report) { preheat::peft::save(report, model.net, folder, o); },
             adapter);
  preheat::files::write_text_file(folder / "README.md", files.card);
  preheat::files::write_text_file(folder / "log.jsonl", files.log);
  if (files.curves) {
    const std::string drawn = draw_curves(folder / "curves", files.log);
    fmt::print("{}\n", fs::exists(folder / "curves" / "loss.svg")
                           ? "pictures: " + (out / "curves").string() + "/loss.{svg,png}"
                           : drawn);
  }
  move_adapter(folder, out);
}

void move_adapter(const fs::path& folder, const fs::path& out) {
  preheat::files::require_absent(out);
  std::error_code problem;
  fs::rename(folder, out, problem);
  if (problem) {
    throw io_error(out.string() + ": cannot move the adapter there: " + problem.message());
  }
}

void save_gguf(const any_adapter& adapter, base_model& model, const fs::path& path) {
  using lora = adapter_report<preheat::adapter::lora>;
  const lora* const plain = std::get_if<lora>(&adapter);
  preheat::require(plain != nullptr,
                   "--gguf: a GGUF adapter is plain LoRA, and has no magnitudes and no biases");
  preheat::gguf::save_adapter(*plain, model.net, path, {.architecture = model.architecture});
}

void save_model(network& net, const base_model& model, const fs::path& out) {
  preheat::files::atomic_folder folder(out);
  for (const fs::directory_entry& file : fs::directory_iterator(model.path)) {
    if (file.is_regular_file() && preheat::huggingface::goes_with_weights(file.path())) {
      fs::copy_file(file.path(), folder.path() / file.path().filename());
    }
  }
  adapter_report<preheat::adapter::lora> all;  // names the layers
  for (std::size_t l = 0; l < net.layers().size(); ++l) {
    all.layers.push_back({.index = index_t(l), .name = net.layers()[l].name, .parameters = {}});
  }
  preheat::peft::save_options o = options_of(model);
  o.original_base = model.path;
  preheat::peft::save_base(all, net, folder.path() / "model.safetensors", o);
  folder.commit();
}

void require_can_save(const base_model& model, const fs::path& gguf, const fs::path& merge) {
  if (!gguf.empty()) {
    preheat::gguf::tensor_names(model.architecture);
  }
  if (!merge.empty() && model.gguf) {
    throw io_error(model.path.string() +
                   ": --merge writes a folder of Hugging Face and needs one as the model; with a "
                   "GGUF file use --gguf, whose adapter llama.cpp takes beside the model");
  }
}

}  // namespace apps::finetune
