// Opens GGUF files in place: the file is mapped, what stands before the data is checked, and each
// tensor's bytes stay where they are until they are unpacked.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "../core/error.hpp"
#include "../files/mapped_file.hpp"
#include "../files/strict_json.hpp"
#include "../safetensors/reader.hpp"
#include "header.hpp"
#include "metadata_reader.hpp"
#include "tensor_info.hpp"
#include "tensor_values.hpp"

namespace preheat::gguf {

// An open file of version 2 or 3. The constructor finds every fault of the file; the members then
// find only mistakes of their caller. Move-only; spans and references stay valid when the object is
// moved and end with it. Const members may be called from several threads at once.
//
// Errors: the constructor throws io_error (the file, the key or tensor, the rule and its values); the
// members throw invalid_argument (unknown name, another shape, a type that is not unpacked).
//
// Cost: opening is O(metadata and list of tensors), whatever the size of the data. See
// files::mapped_file for what happens to a file that changes while it is open.
//
//   const preheat::gguf::reader file("model.gguf");
//   for (const auto& [name, tensor] : file.tensors()) {
//     std::cout << name << ' ' << preheat::gguf::name_of(tensor.type) << '\n';
//   }
//   const std::vector<float> w = file.values<float>("blk.0.attn_q.weight");
class reader {
 public:
  explicit reader(const std::filesystem::path& path)
      : source_(path.string()), file_(path), header_(parse_header(file_.bytes(), source_)) {}

  // The file's name, as errors show it.
  const std::string& source() const { return source_; }
  // 2 or 3.
  std::uint32_t version() const { return header_.version; }
  // Of the tensors' data, in bytes.
  std::size_t alignment() const { return header_.alignment; }

  // All that stands before the data.
  const file_header& header() const { return header_; }

  const metadata_map& metadata() const { return header_.metadata; }
  // The same with types; it remembers what was read.
  metadata_reader read_metadata() const { return {header_.metadata, source_}; }

  // All tensors by name.
  const tensor_map& tensors() const { return header_.tensors; }

  bool contains(std::string_view name) const {
    return header_.tensors.find(name) != header_.tensors.end();
  }

  // The type, shape and bytes of a tensor. Errors: invalid_argument, with the most similar names, if
  // there is none of that name.
  const tensor_info& info(std::string_view name) const {
    return safetensors::detail::find_tensor(header_.tensors, source_, name);
  }

  // Gives the memory of a tensor's pages back to the system until they are touched again; see
  // mapped_file::release.
  void release(const tensor_info& tensor) const { file_.release(tensor.bytes); }

  // The entries in row-major order. Cost: O(entries).
  template <std::floating_point T>
  std::vector<T> values(std::string_view name) const {
    const tensor_info& tensor = info(name);
    detail::require_unpacked(name, tensor);
    std::vector<T> result(std::size_t(tensor.count()));
    read_rows<T>(name, tensor, 0, view<T>(result.data(), tensor.cols(), tensor.rows()));
    return result;
  }

 private:
  std::string source_;
  files::mapped_file file_;
  file_header header_;
};

}  // namespace preheat::gguf
