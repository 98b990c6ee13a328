// Writes .safetensors files, whole or not at all, laid out as the format's reference implementation
// lays them out: tensors by decreasing alignment, then by name; the header filled up with spaces so
// that the data begin at a multiple of 8 bytes. Every tensor is therefore aligned for its dtype.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "../core/error.hpp"
#include "../core/types.hpp"
#include "atomic_file.hpp"
#include "dtype.hpp"
#include "strict_json.hpp"
#include "tensor_info.hpp"
#include "tiles.hpp"

namespace preheat::io {

// A tensor that a file will have: what its header says of it, but for the place.
struct planned_tensor {
  std::string name;
  dtype type = dtype::F32;
  std::vector<index_t> shape;
};

// A tensor to write: its name, and the dtype, shape and row-major bytes, which the caller keeps
// alive until the file is written.
struct named_tensor {
  std::string name;
  tensor_info tensor;
};

namespace detail {

[[noreturn]] inline void fail_tensor(std::string_view name, const std::string& problem) {
  throw invalid_argument("tensor " + in_quotes(name) + ": " + problem);
}

// The number of entries of a shape that a caller gave.
inline std::size_t checked_entry_count(std::string_view name, const std::vector<index_t>& shape) {
  for (const index_t extent : shape) {
    if (extent < 0) {
      fail_tensor(name, "every extent >= 0, its shape is " + shape_text(shape));
    }
  }
  const std::optional<index_t> entries = entry_count(shape);
  if (!entries) {
    fail_tensor(name, "the number of entries of " + shape_text(shape) + " overflows");
  }
  return static_cast<std::size_t>(*entries);
}

// The bytes of a tensor that a caller described. Errors: an extent < 0, an overflow.
inline std::size_t checked_byte_count(std::string_view name, dtype type,
                                      const std::vector<index_t>& shape) {
  const std::size_t entries = checked_entry_count(name, shape);
  const std::size_t size = static_cast<std::size_t>(size_of(type));
  if (entries > std::numeric_limits<std::size_t>::max() / size) {
    fail_tensor(name, "the number of bytes of " + shape_text(shape) + " overflows");
  }
  return entries * size;
}

// What can be said against one tensor by itself.
inline void check_tensor(std::string_view name, const tensor_info& tensor) {
  if (name == metadata_key) {
    fail_tensor(name, "the format keeps this name for its metadata");
  }
  const std::size_t entries = checked_entry_count(name, tensor.shape);
  const std::size_t size = static_cast<std::size_t>(size_of(tensor.type));
  const std::size_t bytes = tensor.bytes.size();
  if (bytes % size != 0 || bytes / size != entries) {  // entries * size could overflow
    fail_tensor(name, std::to_string(bytes) + " bytes for " + std::to_string(entries) +
                          " entries of " + std::to_string(size) + " bytes");
  }
}

// The reference implementation's order: dtypes from the last to the first, then names.
inline bool lies_before(const planned_tensor& left, const planned_tensor& right) {
  if (left.type != right.type) {
    return left.type > right.type;
  }
  return left.name < right.name;
}

// A string as JSON. Errors: invalid_argument if it is not UTF-8.
inline std::string json_text(const std::string& text) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    throw invalid_argument("names and metadata are UTF-8 text, unlike " + in_quotes(text));
  }
}

// The header of a file that holds the tensors in the given order, with the spaces after it.
inline std::string header_text(const std::vector<planned_tensor>& tensors,
                               const std::map<std::string, std::string>& metadata) {
  constexpr std::size_t alignment = 8;
  std::string text = "{";
  if (!metadata.empty()) {
    text += json_text(std::string(metadata_key)) + ":{";
    for (const auto& [key, value] : metadata) {
      text += json_text(key) + ":" + json_text(value) + ",";
    }
    text.back() = '}';
    text += ",";
  }
  std::size_t begin = 0;
  for (const planned_tensor& tensor : tensors) {
    const std::size_t end = begin + checked_byte_count(tensor.name, tensor.type, tensor.shape);
    text += json_text(tensor.name) + ":{\"dtype\":\"" + std::string(name_of(tensor.type)) + "\"";
    text += ",\"shape\":" + nlohmann::json(tensor.shape).dump();
    text += ",\"data_offsets\":[" + std::to_string(begin) + "," + std::to_string(end) + "]},";
    begin = end;
  }
  if (text.back() == ',') {
    text.pop_back();
  }
  text += "}";
  const std::size_t spaces = (alignment - text.size() % alignment) % alignment;
  text.append(spaces, ' ');
  require(text.size() <= longest_header, "header length <= longest header of the format",
          text.size(), longest_header);
  return text;
}

}  // namespace detail

// A file that is written piece by piece: the header from the tensors' shapes, then their bytes in
// any order, by any thread. The file appears when it is committed, or not at all.
//
// Errors: invalid_argument if a name is used twice, is "__metadata__" or is not UTF-8, if bytes go
// beyond their tensor, if commit() finds a tensor that is not whole; io_error as atomic_file.
// Cost: the bytes are neither kept nor copied in this program.
//
//   preheat::io::safetensors_stream stream("a.safetensors", {{"w", preheat::io::dtype::F32, {2, 3}}});
//   stream.write("w", std::as_bytes(std::span(values)));
//   stream.commit();
class safetensors_stream {
 public:
  safetensors_stream(const std::filesystem::path& path, std::vector<planned_tensor> tensors,
                     const std::map<std::string, std::string>& metadata = {})
      : file_(path) {
    std::sort(tensors.begin(), tensors.end(), detail::lies_before);
    const std::string header = detail::header_text(tensors, metadata);
    const std::uint64_t length = header.size();
    std::size_t place = sizeof length + header.size();
    for (const planned_tensor& tensor : tensors) {
      const std::size_t bytes = detail::checked_byte_count(tensor.name, tensor.type, tensor.shape);
      if (tensor.name == detail::metadata_key) {
        detail::fail_tensor(tensor.name, "the format keeps this name for its metadata");
      }
      const bool is_new = parts_.try_emplace(tensor.name, part{place, bytes, 0}).second;
      if (!is_new) {
        detail::fail_tensor(tensor.name, "the name is used twice");
      }
      place += bytes;
    }
    file_.write(std::as_bytes(std::span(&length, 1)));
    file_.write(std::as_bytes(std::span(header)));
  }

  // The tensor's bytes from `offset` on. Each byte is to be written once.
  void write(std::string_view name, std::span<const std::byte> bytes, std::size_t offset = 0) {
    const auto found = parts_.find(name);
    if (found == parts_.end()) {
      detail::fail_tensor(name, "it is not in this file's header");
    }
    part& to = found->second;
    if (offset > to.size || bytes.size() > to.size - offset) {
      detail::fail_tensor(name, std::to_string(bytes.size()) + " bytes from " +
                                    std::to_string(offset) + " on go beyond its " +
                                    std::to_string(to.size));
    }
    file_.write_at(to.place + offset, bytes);
    const std::lock_guard lock(mutex_);
    to.written += bytes.size();
  }

  void commit() {
    for (const auto& [name, one] : parts_) {
      if (one.written != one.size) {
        detail::fail_tensor(name, std::to_string(one.written) + " of its " +
                                      std::to_string(one.size) + " bytes were written");
      }
    }
    file_.commit();
  }

 private:
  struct part {
    std::size_t place;  // in the file
    std::size_t size;
    std::size_t written;
  };

  atomic_file file_;
  std::map<std::string, part, std::less<>> parts_;
  std::mutex mutex_;
};

// Writes the tensors, in whatever order they are given, and the metadata to a new file that
// replaces `path`. NaN and infinity are written like any number.
//
// Errors: invalid_argument, before anything is written, if a name is used twice, is "__metadata__"
// or is not UTF-8, or if the bytes of a tensor are not as many as its shape and dtype ask for;
// io_error if the file cannot be written, in which case `path` is as it was (see atomic_file).
//
// Cost: one pass over the bytes, which are not copied in this program.
//
//   const preheat::io::safetensors_file file("model.safetensors");
//   std::vector<preheat::io::named_tensor> kept;
//   kept.push_back({"weight", file.info("encoder.weight")});
//   preheat::io::write_safetensors("part.safetensors", kept);
inline void write_safetensors(const std::filesystem::path& path,
                              const std::vector<named_tensor>& tensors,
                              const std::map<std::string, std::string>& metadata = {}) {
  std::vector<planned_tensor> planned;
  planned.reserve(tensors.size());
  for (const named_tensor& named : tensors) {
    detail::check_tensor(named.name, named.tensor);
    planned.push_back({named.name, named.tensor.type, named.tensor.shape});
  }
  safetensors_stream stream(path, std::move(planned), metadata);
  for (const named_tensor& named : tensors) {
    stream.write(named.name, named.tensor.bytes);
  }
  stream.commit();
}

// Gathers tensors, converted as they are added, and writes them to a file. It owns its copy of the
// bytes, so what was added may change or go; write() may be called more than once.
//
// Errors: invalid_argument as write_safetensors, but at the call that adds the tensor.
//
//   preheat::io::safetensors_writer writer;
//   writer.metadata("format", "pt");
//   writer.add<float>("weight", {rows, cols}, row_major_values);
//   writer.add<float>("half", {rows, cols}, row_major_values, preheat::io::dtype::BF16);
//   writer.write("model.safetensors");
class safetensors_writer {
 public:
  // Sets one entry of the metadata; a second call with the same key replaces the value.
  void metadata(const std::string& key, std::string value) {
    metadata_.insert_or_assign(key, std::move(value));
  }

  // Adds row-major values, stored as `stored`, by default T's own dtype. Floating-point values can
  // be stored as F64, F32, F16 and BF16, rounded to nearest, ties to even; integers as any integer
  // dtype that holds them exactly, and as BOOL if they are 0 or 1. Errors: invalid_argument if the
  // number of values is not that of the shape, or if a value cannot be stored. Cost: O(values).
  template <element T>
  void add(std::string name, std::vector<index_t> shape, std::span<const T> values,
           dtype stored = dtype_of<T>()) {
    check_count(name, shape, values.size());
    std::vector<std::byte> bytes = converted(name, values, stored);
    add_bytes(std::move(name), std::move(shape), stored, std::move(bytes));
  }

  // Adds a rows×cols matrix held column-major without gaps, as the row-major tensor [rows, cols].
  template <element T>
  void add_column_major(std::string name, index_t rows, index_t cols, std::span<const T> values,
                        dtype stored = dtype_of<T>()) {
    check_count(name, {rows, cols}, values.size());
    std::vector<T> row_major(values.size());
    detail::for_each_in_tiles(rows, cols, [&](index_t i, index_t j) {
      const std::size_t to = static_cast<std::size_t>(i * cols + j);
      const std::size_t from = static_cast<std::size_t>(i + j * rows);
      row_major[to] = values[from];
    });
    add<T>(std::move(name), {rows, cols}, row_major, stored);
  }

  // Adds one value as a tensor without dimensions.
  template <element T>
  void add_scalar(std::string name, T value, dtype stored = dtype_of<T>()) {
    add<T>(std::move(name), {}, std::span<const T>(&value, 1), stored);
  }

  // Adds row-major bytes of any dtype as they are.
  void add_bytes(std::string name, std::vector<index_t> shape, dtype type,
                 std::vector<std::byte> bytes) {
    owned_tensor tensor = {type, std::move(shape), std::move(bytes)};
    detail::check_tensor(name, tensor.info());
    detail::json_text(name);  // refuses a name that is not UTF-8 here rather than in write()
    const auto [place, is_new] = tensors_.try_emplace(std::move(name), std::move(tensor));
    if (!is_new) {
      detail::fail_tensor(place->first, "the name is used twice");
    }
  }

  // Writes everything that was added. Errors: io_error; `path` is then as it was.
  void write(const std::filesystem::path& path) const {
    std::vector<named_tensor> tensors;
    tensors.reserve(tensors_.size());
    for (const auto& [name, tensor] : tensors_) {
      tensors.push_back({name, tensor.info()});
    }
    write_safetensors(path, tensors, metadata_);
  }

 private:
  struct owned_tensor {
    dtype type;
    std::vector<index_t> shape;
    std::vector<std::byte> bytes;

    tensor_info info() const { return {type, shape, bytes}; }
  };

  static void check_count(std::string_view name, const std::vector<index_t>& shape,
                          std::size_t given) {
    const std::size_t entries = detail::checked_entry_count(name, shape);
    if (given != entries) {
      detail::fail_tensor(name, std::to_string(given) + " values for the " +
                                    std::to_string(entries) + " entries of " +
                                    detail::shape_text(shape));
    }
  }

  // The bytes of the values as `stored`.
  template <class T>
  static std::vector<std::byte> converted(std::string_view name, std::span<const T> values,
                                          dtype stored) {
    if (floating_element<T> != is_floating(stored)) {
      detail::fail_tensor(name, std::string(floating_element<T> ? "floating-point" : "integer") +
                                    " values are not stored as " + std::string(name_of(stored)));
    }
    std::vector<std::byte> bytes(values.size() * static_cast<std::size_t>(size_of(stored)));
    visit_dtype(stored, [&]<class Stored>(std::type_identity<Stored>) {
      if constexpr (floating_element<T> == floating_element<Stored>) {  // as was checked above
        for (std::size_t i = 0; i < values.size(); ++i) {
          if (!representable<Stored>(values[i])) {
            detail::fail_tensor(name, "value " + std::to_string(i) + " cannot be stored as " +
                                          std::string(name_of(stored)));
          }
          const Stored entry = convert<Stored>(values[i]);
          std::memcpy(bytes.data() + i * sizeof(Stored), &entry, sizeof(Stored));
        }
      }
    });
    return bytes;
  }

  std::map<std::string, owned_tensor> tensors_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace preheat::io
