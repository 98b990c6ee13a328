#include "save.hpp"

#include <map>
#include <string_view>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include <preheat/files/atomic_folder.hpp>
#include <preheat/files/text_file.hpp>
#include <preheat/gguf/save_adapter.hpp>
#include <preheat/huggingface/model_files.hpp>
#include <preheat/peft/save.hpp>
#include <preheat/safetensors/copy.hpp>

#include "curves.hpp"

namespace apps::finetune {
namespace {

namespace fs = std::filesystem;
using preheat::io_error;

preheat::peft::save_options options_of(const base_model& model) {
  if (model.net.classifies()) {
    return preheat::peft::bert_classifier(model.path.string());
  }
  auto o = preheat::peft::causal_lm(model.path.string(), model.architecture == "gpt2");
  o.without_head = true;
  return o;
}

// A tensor's name in BertForSequenceClassification: files of the encoder alone lack the prefix.
std::string in_classifier(const std::string& name) {
  return name.starts_with("bert.") || name.starts_with("classifier.") ? name : "bert." + name;
}

// The encoder with its layer for classes, in the dtypes of its files. The heads of its pretraining are left out.
void save_encoder(network& net, const fs::path& from, const fs::path& to) {
  namespace st = preheat::safetensors;
  using rows = preheat::peft::detail::rows_on_host<Be>;
  const st::tensor_files original(from);
  std::map<std::string, rows> ours;
  std::map<std::string, st::planned_tensor> planned;
  std::map<std::string, std::string> copied;  // the name there -> in the original
  for (const auto& [name, tensor] : original.tensors()) {
    if (!name.starts_with("cls.")) {
      planned[in_classifier(name)] = {in_classifier(name), tensor.type, tensor.shape};
      copied[in_classifier(name)] = name;
    }
  }
  const auto add = [&](const std::string& name, const preheat::mat<Be>& M) {
    ours.emplace(name, rows(net.backend(), M, name));
  };
  for (const auto& l : net.layers()) {
    add("bert." + l.name + ".weight", l.W);
    add("bert." + l.name + ".bias", l.b);
  }
  const auto& head = net.head().parameters;
  const st::dtype type = planned.at("bert.pooler.dense.weight").type;
  planned["classifier.weight"] = {"classifier.weight", type, {head.W.rows(), head.W.cols()}};
  planned["classifier.bias"] = {"classifier.bias", type, {head.b.rows()}};
  add("classifier.weight", head.W);
  add("classifier.bias", head.b);
  std::vector<st::planned_tensor> tensors;
  for (const auto& one : planned) {
    tensors.push_back(one.second);
  }
  st::stream file(to, tensors, {{"format", "pt"}});
  for (const auto& [name, tensor] : planned) {
    if (const auto found = ours.find(name); found != ours.end()) {
      file.write(name, st::rows_as_bytes<float>(name, found->second.values(), tensor.type));
    } else {
      st::copy_tensor(original, copied.at(name), file, name);
    }
  }
  file.commit();
}

// The config of such a model.
void write_classifier_config(const base_model& model, const fs::path& to) {
  nlohmann::json config = read_model_json(model.path / "config.json");
  config["architectures"] = {"BertForSequenceClassification"};
  config["id2label"] = nlohmann::json::object();
  config["label2id"] = nlohmann::json::object();
  const auto& names = model.classes.names;
  for (std::size_t i = 0; i < names.size(); ++i) {
    config["id2label"][std::to_string(i)] = names[i];
    config["label2id"][names[i]] = i;
  }
  fs::remove(to);
  preheat::files::write_text_file(to, config.dump(2) + "\n");
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
  if (net.classifies()) {
    save_encoder(net, model.path, folder.path() / "model.safetensors");
    write_classifier_config(model, folder.path() / "config.json");
    folder.commit();
    return;
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
