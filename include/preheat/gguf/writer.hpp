// Writes GGUF files of version 3, whole or not at all.
#pragma once
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../core/error.hpp"
#include "../core/types.hpp"
#include "../files/atomic_file.hpp"
#include "../files/strict_json.hpp"
#include "metadata_writer.hpp"
#include "pack.hpp"
#include "tensor_info.hpp"
#include "value_bytes.hpp"

namespace preheat::gguf {

// A tensor to write: its name, and type, row-major shape and bytes, which the caller keeps alive until
// the file is written.
struct named_tensor {
  std::string name;
  tensor_info tensor;
};

namespace detail {

// llama.cpp's limits count, which are narrower than the format's.
inline void check_shape(std::string_view name, const std::vector<index_t>& shape) {
  const std::string who = "tensor " + files::in_quotes(name);
  require(!name.empty() && name.size() < longest_tensor_name,
          who + ": bytes of a name >= 1 and <= 63", name.size(), longest_tensor_name - 1);
  require(!shape.empty() && shape.size() <= most_dimensions, who + ": dimensions >= 1 and <= 4",
          shape.size(), most_dimensions);
  for (const index_t extent : shape) {
    require(extent > 0, who + ": every extent >= 1", extent, 1);
  }
}

// What can be said against one tensor by itself.
inline void check_tensor(std::string_view name, const tensor_info& tensor) {
  const std::string who = "tensor " + files::in_quotes(name);
  check_shape(name, tensor.shape);
  require(tensor.cols() % block_entries(tensor.type) == 0,
          who + ": columns are a multiple of a block's entries", tensor.cols(),
          block_entries(tensor.type));
  const auto needed = byte_count(tensor.type, tensor.shape);
  require(needed.has_value(), who + ": the size of " + shape_text(tensor.shape) + " overflows");
  require(std::cmp_equal(*needed, tensor.bytes.size()), who + ": bytes given = bytes of its shape",
          tensor.bytes.size(), *needed);
}

inline std::size_t padding_to(std::size_t alignment, std::size_t place) {
  return (alignment - place % alignment) % alignment;
}

// All that stands before the tensors' data, padding included.
inline byte_string header_bytes(const std::vector<named_tensor>& tensors,
                                const metadata_writer& metadata) {
  byte_string header;
  append(header, std::as_bytes(std::span(std::string_view("GGUF"))));
  append_number(header, std::uint32_t{3});
  append_number(header, std::uint64_t(tensors.size()));
  append_number(header, std::uint64_t(metadata.size()));
  append(header, metadata.bytes());
  std::uint64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    append_string(header, name);
    append_number(header, std::uint32_t(tensor.shape.size()));
    for (std::size_t k = tensor.shape.size(); k-- > 0;) {
      append_number(header, std::uint64_t(tensor.shape[k]));
    }
    append_number(header, static_cast<std::uint32_t>(tensor.type));
    append_number(header, offset);
    offset += tensor.bytes.size() + padding_to(metadata.alignment(), tensor.bytes.size());
  }
  header.resize(header.size() + padding_to(metadata.alignment(), header.size()));
  return header;
}

}  // namespace detail

// Writes the metadata and the tensors, both in the order given and the data without gaps, to a new
// file that replaces `path`. Types may be any that the format knows.
//
// Errors: invalid_argument, before anything is written, if a name is used twice, is empty or longer
// than 63 bytes, if there are more than four extents or one is not positive, or if the bytes are not
// as many as shape and type ask for; io_error if the file cannot be written, in which case `path` is
// as it was (see atomic_file).
//
// Cost: one pass over the bytes, which are not copied in this program.
inline void write(const std::filesystem::path& path, const std::vector<named_tensor>& tensors,
                  const metadata_writer& metadata) {
  std::set<std::string_view> names;
  for (const auto& [name, tensor] : tensors) {
    detail::check_tensor(name, tensor);
    require(names.insert(name).second,
            "tensor " + files::in_quotes(name) + ": the name is used twice");
  }
  files::atomic_file file(path);
  file.write(detail::header_bytes(tensors, metadata));
  const std::vector<std::byte> zeros(metadata.alignment());
  for (const auto& [name, tensor] : tensors) {
    file.write(tensor.bytes);
    const std::size_t padding = detail::padding_to(zeros.size(), tensor.bytes.size());
    file.write(std::span(zeros).first(padding));
  }
  file.commit();
}

// Gathers tensors, converted as they are added, and writes them to a file. It owns its copy of the
// bytes, so what was added may change or go; write() may be called more than once.
//
// Errors: invalid_argument as write and packed, but at the call that adds the tensor.
//
//   preheat::gguf::writer writer;
//   writer.metadata().set("general.architecture", "llama");
//   writer.add<float>("token_embd.weight", {vocabulary, size}, row_major_values,
//                     preheat::gguf::tensor_type::Q8_0);
//   writer.write("model.gguf");
class writer {
 public:
  metadata_writer& metadata() { return metadata_; }

  // Adds row-major values as F32, F16, BF16 or Q8_0.
  template <std::floating_point T>
  void add(std::string name, std::vector<index_t> shape, std::span<const T> values,
           tensor_type type = tensor_type::F32) {
    detail::check_shape(name, shape);
    const auto entries = safetensors::detail::entry_count(shape);
    require(entries.has_value() && std::cmp_equal(*entries, values.size()),
            "tensor " + files::in_quotes(name) + ": values given = entries of " + shape_text(shape),
            values.size(), entries.value_or(-1));
    std::vector<std::byte> bytes = packed(name, type, values, shape.back());
    add_bytes(std::move(name), std::move(shape), type, std::move(bytes));
  }

  // Adds row-major bytes of any type as they are.
  void add_bytes(std::string name, std::vector<index_t> shape, tensor_type type,
                 std::vector<std::byte> bytes) {
    detail::check_tensor(name, {type, shape, bytes});
    require(names_.insert(name).second,
            "tensor " + files::in_quotes(name) + ": the name is used twice");
    tensors_.push_back({std::move(name), type, std::move(shape), std::move(bytes)});
  }

  // Writes everything that was added. Errors: io_error; `path` is then as it was.
  void write(const std::filesystem::path& path) const {
    std::vector<named_tensor> tensors;
    tensors.reserve(tensors_.size());
    for (const owned_tensor& one : tensors_) {
      tensors.push_back({one.name, {one.type, one.shape, one.bytes}});
    }
    gguf::write(path, tensors, metadata_);
  }

 private:
  struct owned_tensor {
    std::string name;
    tensor_type type;
    std::vector<index_t> shape;
    std::vector<std::byte> bytes;
  };

  metadata_writer metadata_;
  std::vector<owned_tensor> tensors_;
  std::set<std::string> names_;
};

}  // namespace preheat::gguf
