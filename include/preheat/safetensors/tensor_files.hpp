// The tensors of a model as it is distributed: one safetensors file, or several (shards) with an
// index that says which tensor lies where.
#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../core/error.hpp"
#include "../files/strict_json.hpp"
#include "../files/text_file.hpp"
#include "reader.hpp"

namespace preheat::safetensors {

namespace detail {

inline constexpr std::string_view gguf_format = "a GGUF file";

// The format of a file that begins as another than safetensors does; else empty.
inline std::string_view format_of_other(const std::filesystem::path& path) {
  std::array<char, 6> begin{};
  std::ifstream(path, std::ios::binary).read(begin.data(), begin.size());
  const std::string_view text(begin.data(), begin.size());
  if (text.starts_with("PK\x03\x04") ||
      (text[0] == '\x80' && text[1] > 0 && text[1] <= 5 && (text[4] != 0 || text[5] != 0))) {
    return "a pickle of PyTorch (.bin, .ckpt, .pt); save it as safetensors first";
  }
  return text.starts_with("GGUF")        ? gguf_format
         : text.starts_with("\x93NUMPY") ? std::string_view("an array of NumPy")
                                         : std::string_view();
}

// Errors: io_error, naming the format.
inline void refuse_other_formats(const std::filesystem::path& path) {
  const std::string_view format = format_of_other(path);
  if (!format.empty()) {
    throw io_error(path.string() + ": not safetensors but " + std::string(format));
  }
}

}  // namespace detail

// Opens
//   a file   x.safetensors,
//   an index x.safetensors.index.json, {"weight_map": {"tensor": "x-00001-of-00002.safetensors", …}},
//            its shards beside it,
//   a folder with <stem>.safetensors or <stem>.safetensors.index.json in it.
//
// Errors: io_error, naming the file, for whatever is missing or breaks a format: a shard that the
// index places outside the folder, a tensor that is not in the shard the index names, a folder with
// neither file.
//
// Cost: opening is O(headers). Const members may be called from several threads.
//
//   const preheat::safetensors::tensor_files base("llama-7b");
//   const preheat::safetensors::tensor_info& w = base.info("model.layers.0.self_attn.q_proj.weight");
class tensor_files {
 public:
  explicit tensor_files(const std::filesystem::path& path, const std::string& stem = "model")
      : source_(found(path, stem)) {
    if (source_.extension() == ".json") {
      open_shards();
    } else {
      files_.emplace_back(source_);
      paths_.push_back(source_);
      for (const auto& entry : files_.front().tensors()) {
        tensors_.insert(entry);
        place_.emplace(entry.first, 0);
      }
    }
  }

  // The file that was opened: the safetensors file itself, or the index.
  const std::filesystem::path& source() const { return source_; }
  std::size_t file_count() const { return files_.size(); }

  const tensor_map& tensors() const { return tensors_; }
  bool contains(std::string_view name) const { return tensors_.find(name) != tensors_.end(); }

  // Errors: invalid_argument, with the most similar names, if there is no such tensor.
  const tensor_info& info(std::string_view name) const {
    return detail::find_tensor(tensors_, source_.string(), name);
  }

  // The files with tensors, and which of them a tensor lies in.
  const std::vector<std::filesystem::path>& paths() const { return paths_; }
  std::size_t file_of(std::string_view name) const {
    info(name);
    return place_.find(name)->second;
  }

  // Gives the memory of a tensor's pages back to the system; see mapped_file::release.
  void release(std::string_view name) const {
    const auto entry = place_.find(name);
    if (entry != place_.end()) {
      files_[entry->second].release(tensors_.find(name)->second);
    }
  }

  // The strings of the only file, or of the first shard.
  const std::map<std::string, std::string>& metadata() const { return files_.front().metadata(); }

 private:
  static std::filesystem::path found(const std::filesystem::path& path, const std::string& stem) {
    if (!std::filesystem::is_directory(path)) {
      detail::refuse_other_formats(path);
      return path;
    }
    const std::filesystem::path one = path / (stem + ".safetensors");
    const std::filesystem::path index = path / (stem + ".safetensors.index.json");
    if (std::filesystem::exists(one)) {
      return one;
    }
    if (std::filesystem::exists(index)) {
      return index;
    }
    const bool pickled = std::filesystem::exists(path / (stem + ".bin")) ||
                         std::filesystem::exists(path / ("pytorch_" + stem + ".bin"));
    throw io_error(path.string() + ": it has neither " + one.filename().string() + " nor " +
                   index.filename().string() +
                   (pickled ? ", only a pickled .bin file; save it as safetensors first" : ""));
  }

  void open_shards() {
    constexpr std::size_t longest = 100'000'000;
    constexpr std::size_t deepest = 8;
    const std::string name = source_.string();
    const nlohmann::json index =
        files::parse_strict_json(files::read_text_file(source_, longest), name, deepest);
    const auto map = index.find("weight_map");
    if (!index.is_object() || map == index.end() || !map->is_object() || map->empty()) {
      throw io_error(name + ": an index has an object \"weight_map\" that is not empty");
    }
    std::map<std::string, std::size_t> numbers;  // of the shards
    for (const auto& [tensor, shard] : map->items()) {
      const std::string file = shard.is_string() ? shard.get<std::string>() : std::string();
      if (file.empty() || file == ".." || file.find('/') != std::string::npos) {
        throw io_error(name + ": tensor " + files::in_quotes(tensor) +
                       " lies in a file beside the index, not in " +
                       files::in_quotes(shard.dump()));
      }
      const auto [known, is_new] = numbers.try_emplace(file, files_.size());
      if (is_new) {
        files_.emplace_back(source_.parent_path() / file);
        paths_.push_back(source_.parent_path() / file);
      }
      const tensor_map& there = files_[known->second].tensors();
      const auto entry = there.find(tensor);
      if (entry == there.end()) {
        throw io_error(name + ": tensor " + files::in_quotes(tensor) + " is not in " +
                       files::in_quotes(file));
      }
      tensors_.insert(*entry);
      place_.emplace(tensor, known->second);
    }
  }

  std::filesystem::path source_;
  std::vector<reader> files_;
  std::vector<std::filesystem::path> paths_;  // of them
  tensor_map tensors_;
  std::map<std::string, std::size_t, std::less<>> place_;  // which file a tensor lies in
};

}  // namespace preheat::safetensors
