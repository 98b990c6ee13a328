// Writes .safetensors files, whole or not at all; layout.hpp says how they are laid out.
#pragma once
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "../core/error.hpp"
#include "../core/types.hpp"
#include "dtype.hpp"
#include "layout.hpp"
#include "stream.hpp"
#include "tensor_info.hpp"
#include "tiles.hpp"

namespace preheat::safetensors {

// Writes the tensors, in whatever order they are given, and the metadata to a new file that
// replaces `path`. NaN and infinity are written like any number.
//
// Errors: invalid_argument, before anything is written, if a name is used twice, is "__metadata__"
// or is not UTF-8, or if the bytes of a tensor are not as many as its shape and dtype ask for;
// io_error if the file cannot be written, in which case `path` is as it was (see atomic_file).
//
// Cost: one pass over the bytes, which are not copied in this program.
//
//   const preheat::safetensors::reader file("model.safetensors");
//   std::vector<preheat::safetensors::named_tensor> kept;
//   kept.push_back({"weight", file.info("encoder.weight")});
//   preheat::safetensors::write("part.safetensors", kept);
inline void write(const std::filesystem::path& path, const std::vector<named_tensor>& tensors,
                  const std::map<std::string, std::string>& metadata = {}) {
  std::vector<planned_tensor> planned;
  planned.reserve(tensors.size());
  for (const named_tensor& named : tensors) {
    detail::check_tensor(named.name, named.tensor);
    planned.push_back({named.name, named.tensor.type, named.tensor.shape});
  }
  stream stream(path, std::move(planned), metadata);
  for (const named_tensor& named : tensors) {
    stream.write(named.name, named.tensor.bytes);
  }
  stream.commit();
}

// Gathers tensors, converted as they are added, and writes them to a file. It owns its copy of the
// bytes, so what was added may change or go; write() may be called more than once.
//
// Errors: invalid_argument as write, but at the call that adds the tensor.
//
//   preheat::safetensors::writer writer;
//   writer.metadata("format", "pt");
//   writer.add<float>("weight", {rows, cols}, row_major_values);
//   writer.add<float>("half", {rows, cols}, row_major_values, preheat::safetensors::dtype::BF16);
//   writer.write("model.safetensors");
class writer {
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
    safetensors::write(path, tensors, metadata_);
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
                                    std::to_string(entries) + " entries of " + shape_text(shape));
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

}  // namespace preheat::safetensors
