// Where a changed base goes: one .safetensors file, or a model's folder with the same shards, an index of
// them and the other files of the base's folder (config.json, the tokenizer's).
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <preheat/files/atomic_folder.hpp>
#include <preheat/huggingface/model_files.hpp>
#include <preheat/safetensors/stream.hpp>

#include "base_model.hpp"

namespace apps::adapter {

// A tensor to be written, and the base's tensor beside which it lies.
struct output_tensor {
  safetensors::planned_tensor tensor;
  std::string beside;
};

// Changes of config.json.
struct config_changes {
  bool untied = false;
  std::optional<safetensors::dtype> stored;
};

class model_output {
 public:
  // Errors: io_error if `out` exists or cannot be written.
  model_output(const std::filesystem::path& out, const base_model& base,
               const std::vector<output_tensor>& tensors, const config_changes& changes) {
    std::map<std::string, std::string> metadata = base.tensors().metadata();
    metadata.try_emplace("format", "pt");
    if (is_file(out)) {
      std::vector<safetensors::planned_tensor> all;
      for (const output_tensor& t : tensors) {
        all.push_back(t.tensor);
        shard_of_[t.tensor.name] = 0;
      }
      shards_.push_back(std::make_unique<safetensors::stream>(out, all, metadata));
      return;
    }
    folder_.emplace(out);
    std::vector<std::vector<safetensors::planned_tensor>> planned(base.tensors().file_count());
    for (const output_tensor& t : tensors) {
      const std::size_t shard = base.tensors().file_of(t.beside);
      planned[shard].push_back(t.tensor);
      shard_of_[t.tensor.name] = shard;
    }
    const bool sharded = base.tensors().source().extension() == ".json";
    std::uint64_t bytes = 0;
    nlohmann::ordered_json places = nlohmann::ordered_json::object();
    for (std::size_t i = 0; i < planned.size(); ++i) {
      const std::string file = sharded || base.is_of_folder()
                                   ? base.tensors().paths()[i].filename().string()
                                   : "model.safetensors";
      shards_.push_back(
          std::make_unique<safetensors::stream>(folder_->path() / file, planned[i], metadata));
      for (const safetensors::planned_tensor& t : planned[i]) {
        bytes += safetensors::detail::checked_byte_count(t.name, t.type, t.shape);
        index_.emplace(t.name, file);
      }
    }
    if (sharded) {
      for (const auto& [name, file] : index_) {
        places.push_back({name, file});
      }
      write_json(base.tensors().source().filename(),
                 {{"metadata", {{"total_size", bytes}}}, {"weight_map", std::move(places)}});
    }
    copy_other_files(base, changes);
  }

  // Whether this output is a file rather than a folder.
  static bool is_file(const std::filesystem::path& out) {
    return out.extension() == ".safetensors";
  }

  safetensors::stream& stream_of(const std::string& tensor) {
    return *shards_[shard_of_.at(tensor)];
  }
  std::size_t copied_files() const { return copied_; }

  void commit() {
    for (const auto& shard : shards_) {
      shard->commit();
    }
    if (folder_) {
      folder_->commit();
    }
  }

 private:
  void write_json(const std::filesystem::path& name, const nlohmann::ordered_json& value) {
    std::ofstream file(folder_->path() / name);
    file << value.dump(2) << '\n';
    file.close();
    if (!file) {
      throw preheat::io_error((folder_->path() / name).string() + ": cannot write");
    }
  }

  // All files of a model's folder that are no weights. Those beside a file of another name are not its.
  void copy_other_files(const base_model& base, const config_changes& changes) {
    namespace fs = std::filesystem;
    if (!base.is_of_folder()) {
      return;
    }
    for (const auto& entry : fs::directory_iterator(base.folder())) {
      const std::string name = entry.path().filename().string();
      if (!preheat::huggingface::goes_with_weights(name) || !fs::is_regular_file(entry.path())) {
        continue;
      }
      if (name == "config.json" && base.config().is_object()) {
        write_json(name, changed(base.config(), changes));
      } else {
        std::error_code failed;
        fs::copy_file(entry.path(), folder_->path() / name, failed);
        if (failed) {
          throw preheat::io_error(entry.path().string() + ": cannot copy: " + failed.message());
        }
        fs::permissions(folder_->path() / name, fs::perms::owner_write, fs::perm_options::add,
                        failed);
      }
      ++copied_;
    }
  }

  static nlohmann::ordered_json changed(nlohmann::ordered_json config,
                                        const config_changes& changes) {
    const auto change = [&](nlohmann::ordered_json& c) {
      if (changes.untied && c.contains("tie_word_embeddings")) {
        c["tie_word_embeddings"] = false;
      }
      for (const char* const key : {"torch_dtype", "dtype"}) {
        if (changes.stored && c.contains(key)) {
          c[key] = *changes.stored == safetensors::dtype::BF16  ? "bfloat16"
                   : *changes.stored == safetensors::dtype::F16 ? "float16"
                   : *changes.stored == safetensors::dtype::F32 ? "float32"
                                                                : "float64";
        }
      }
    };
    change(config);
    if (config.contains("text_config") && config["text_config"].is_object()) {
      change(config["text_config"]);
    }
    if (changes.untied) {
      config["tie_word_embeddings"] = false;
    }
    return config;
  }

  std::optional<files::atomic_folder> folder_;
  std::vector<std::unique_ptr<safetensors::stream>> shards_;
  std::map<std::string, std::size_t> shard_of_;
  std::map<std::string, std::string> index_;
  std::size_t copied_ = 0;
};

}  // namespace apps::adapter
