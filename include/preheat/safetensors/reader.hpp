// Reads .safetensors files in place: the file is mapped, its header checked, and each tensor's
// bytes stay where they are until its values are asked for.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
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
#include "../files/mapped_file.hpp"
#include "../files/strict_json.hpp"
#include "dtype.hpp"
#include "header.hpp"
#include "tensor_info.hpp"
#include "tiles.hpp"

namespace preheat::safetensors {

namespace detail {

// Characters that two names have in common at their beginning and, apart from those, their end.
inline std::size_t shared_length(std::string_view left, std::string_view right) {
  const std::size_t shorter = std::min(left.size(), right.size());
  std::size_t beginning = 0;
  while (beginning < shorter && left[beginning] == right[beginning]) {
    ++beginning;
  }
  std::size_t end = 0;
  while (beginning + end < shorter &&
         left[left.size() - 1 - end] == right[right.size() - 1 - end]) {
    ++end;
  }
  return beginning + end;
}

// The end of an error message on an unknown name: the names that share the longest beginning and
// end with it. Cost: O(total length of the names).
template <class Map>
std::string similar_names(const Map& tensors, std::string_view wanted,
                          const char* what = "tensors") {
  constexpr std::size_t most = 3;
  struct candidate {
    std::size_t shared;
    const std::string* name;
  };
  std::vector<candidate> candidates;
  candidates.reserve(tensors.size());
  for (const auto& entry : tensors) {
    candidates.push_back({shared_length(wanted, entry.first), &entry.first});
  }
  const auto more_similar = [](const candidate& left, const candidate& right) {
    return left.shared > right.shared;
  };
  std::stable_sort(candidates.begin(), candidates.end(), more_similar);
  std::string text = "; it has " + std::to_string(candidates.size()) + " " + what;
  const std::size_t shown = std::min(most, candidates.size());
  for (std::size_t i = 0; i < shown; ++i) {
    text += (i == 0 ? ", the closest are " : ", ") + files::in_quotes(*candidates[i].name);
  }
  return text;
}

// The entry of that name. Errors: invalid_argument, naming the source and the most similar names.
template <class Map>
const typename Map::mapped_type& find_tensor(const Map& tensors, const std::string& source,
                                             std::string_view name) {
  const auto found = tensors.find(name);
  if (found == tensors.end()) {
    throw invalid_argument(source + ": no tensor " + files::in_quotes(name) +
                           similar_names(tensors, name));
  }
  return found->second;
}

}  // namespace detail

// An open file. The constructor finds every fault of the file; the members then find only mistakes
// of their caller. Move-only; spans and references stay valid when the object is moved and end with
// it. Const members may be called from several threads at once.
//
// Errors: the constructor throws io_error (the file, the tensor, the rule and its values); the
// members throw invalid_argument (unknown name, another dtype, a value that T cannot hold).
//
// Cost: opening is O(header), whatever the size of the data. See files::mapped_file for what happens to a
// file that changes while it is open.
//
//   const preheat::safetensors::reader file("model.safetensors");
//   for (const std::string& name : file.names()) {
//     std::cout << name << ' ' << preheat::safetensors::name_of(file.info(name).type) << '\n';
//   }
//   const std::vector<float> w = file.column_major<float>("encoder.weight");
class reader {
 public:
  explicit reader(const std::filesystem::path& path)
      : source_(path.string()), file_(path), header_(parse_header(file_.bytes(), source_)) {}

  // The strings kept under "__metadata__"; empty if there are none.
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }

  // The names of the tensors, sorted.
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    all.reserve(header_.tensors.size());
    for (const auto& entry : header_.tensors) {
      all.push_back(entry.first);
    }
    return all;
  }

  // All tensors by name.
  const tensor_map& tensors() const { return header_.tensors; }

  bool contains(std::string_view name) const {
    return header_.tensors.find(name) != header_.tensors.end();
  }

  // The dtype, shape and bytes of a tensor. Errors: invalid_argument, with the most similar names,
  // if there is none of that name.
  const tensor_info& info(std::string_view name) const {
    return detail::find_tensor(header_.tensors, source_, name);
  }

  // Gives the memory of a tensor's pages back to the system until they are touched again; see
  // mapped_file::release.
  void release(const tensor_info& tensor) const { file_.release(tensor.bytes); }

  // The entries in the file's row-major order, each converted to T. Every dtype but the F8 types
  // and C64 can be read. A floating-point T takes every value, rounded to nearest; an integer T
  // takes only what it holds exactly. Cost: O(entries).
  template <number T>
  std::vector<T> values(std::string_view name) const {
    const tensor_info& tensor = info(name);
    std::vector<T> result(static_cast<std::size_t>(tensor.count()));
    const bool known = visit_dtype(tensor.type, [&]<class Stored>(std::type_identity<Stored>) {
      for (std::size_t i = 0; i < result.size(); ++i) {
        Stored stored;
        const std::byte* const from = tensor.bytes.data() + i * sizeof(Stored);
        std::memcpy(&stored, from, sizeof(Stored));  // at an address of any alignment
        if (!representable<T>(stored)) {
          fail(name, "entry " + std::to_string(i) +
                         " cannot be held exactly by the integer type asked for");
        }
        result[i] = convert<T>(stored);
      }
    });
    if (!known) {
      fail(name, "its dtype " + std::string(name_of(tensor.type)) +
                     " is not converted; info() gives its bytes");
    }
    return result;
  }

  // The entries of a matrix [rows, cols] in column-major order: entry (i, j) at i + j * rows. A
  // tensor of one dimension [n] is a column n×1. Errors: as values(), and invalid_argument for any
  // other number of dimensions. Cost: O(entries), and the row-major values held for a moment.
  template <number T>
  std::vector<T> column_major(std::string_view name) const {
    const tensor_info& tensor = info(name);
    const std::size_t dimensions = tensor.shape.size();
    if (dimensions != 1 && dimensions != 2) {
      fail(name, "one or two dimensions are needed, its shape is " + shape_text(tensor.shape));
    }
    const index_t rows = tensor.shape[0];
    const index_t cols = dimensions == 2 ? tensor.shape[1] : 1;
    const std::vector<T> row_major = values<T>(name);
    std::vector<T> result(row_major.size());
    detail::for_each_in_tiles(rows, cols, [&](index_t i, index_t j) {
      const std::size_t to = static_cast<std::size_t>(i + j * rows);
      const std::size_t from = static_cast<std::size_t>(i * cols + j);
      result[to] = row_major[from];
    });
    return result;
  }

  // The one entry of a tensor with one entry, whatever its number of dimensions.
  double scalar(std::string_view name) const {
    const tensor_info& tensor = info(name);
    if (tensor.count() != 1) {
      fail(name, "one entry is needed, its shape is " + shape_text(tensor.shape));
    }
    return values<double>(name).front();
  }

  // The entries where they lie, row-major, without a copy. T is the type that stores the dtype
  // unchanged (float for F32, float16 for F16, std::int64_t for I64; BOOL has none). Errors:
  // invalid_argument if T is another type, or if the file places the entries at an address that is
  // not a multiple of alignof(T), which older writers did; values() reads those too. Cost: O(1).
  template <element T>
  std::span<const T> view(std::string_view name) const {
    const tensor_info& tensor = info(name);
    if (tensor.type != dtype_of<T>()) {
      fail(name, "its dtype is " + std::string(name_of(tensor.type)) + ", the view asks for " +
                     std::string(name_of(dtype_of<T>())));
    }
    const std::uintptr_t address = reinterpret_cast<std::uintptr_t>(tensor.bytes.data());
    if (address % alignof(T) != 0) {
      fail(name, "its bytes are not aligned to the " + std::to_string(alignof(T)) +
                     " bytes that a view needs; read values() instead");
    }
    const T* const entries = reinterpret_cast<const T*>(tensor.bytes.data());
    return std::span<const T>(entries, static_cast<std::size_t>(tensor.count()));
  }

 private:
  [[noreturn]] void fail(const std::string& problem) const {
    throw invalid_argument(source_ + ": " + problem);
  }
  [[noreturn]] void fail(std::string_view tensor, const std::string& problem) const {
    fail("tensor " + files::in_quotes(tensor) + ": " + problem);
  }

  std::string source_;
  files::mapped_file file_;
  file_header header_;
};

}  // namespace preheat::safetensors
