// What stands in a GGUF file before the tensors' data, checked against every rule of the format. Works
// on bytes in memory; reader.hpp brings them from a file.
//
//   "GGUF"; the version (4 bytes: 2 or 3); the number of tensors, of metadata (8 bytes each)
//   for each value: key, type (4 bytes), value (metadata_value.hpp)
//   for each tensor: name, number of extents (4 bytes), extents (8 bytes each, the fastest first),
//     type (4 bytes), offset (8 bytes)
//   zeros up to a multiple of general.alignment (32 if that key is missing)
//   the data; offsets count from here and are multiples of the alignment
//
// All numbers are little-endian; a key, a name or a string is its length (8 bytes) and its bytes.
// Source: docs/gguf.md of the ggml project. Big-endian files, which version 3 allows, are refused.
#pragma once
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../core/error.hpp"
#include "../files/strict_json.hpp"
#include "metadata_parser.hpp"
#include "metadata_value.hpp"
#include "tensor_info.hpp"

namespace preheat::gguf {

struct file_header {
  std::uint32_t version = 3;
  std::size_t alignment = 32;
  metadata_map metadata;
  tensor_map tensors;
};

namespace detail {

// Reads one header. `source` names the file in errors.
class header_parser {
 public:
  header_parser(std::span<const std::byte> file, std::string source)
      : file_(file), source_(std::move(source)), cursor_(file, source_) {}

  file_header parse() {
    file_header header;
    header.version = read_version();
    cursor_.now_reading("the header");
    const std::uint64_t tensors = cursor_.read<std::uint64_t>();
    const std::uint64_t values = cursor_.read<std::uint64_t>();
    require_count(values, 8 + 4 + 1, "metadata values");
    require_count(tensors, 8 + 4 + 4 + 8, "tensors");
    header.metadata = parse_metadata(cursor_, values);
    header.alignment = alignment_in(header.metadata);
    std::vector<place> places = read_tensors(header, tensors);
    if (!places.empty()) {
      attach_data(header, places);
    }
    return header;
  }

 private:
  // Where a tensor's data begin, counted from the start of the data, and how long they are.
  struct place {
    std::uint64_t offset;
    std::uint64_t bytes;
    tensor_map::iterator tensor;
  };

  [[noreturn]] void fail(const std::string& problem) const { cursor_.fail(problem); }
  [[noreturn]] void fail(std::string_view tensor, const std::string& problem) const {
    fail("tensor " + files::in_quotes(tensor) + ": " + problem);
  }

  std::uint32_t read_version() {
    constexpr std::string_view magic = "GGUF";
    if (file_.size() < magic.size() || std::memcmp(file_.data(), magic.data(), magic.size()) != 0) {
      fail("not a GGUF file: its first bytes are not \"GGUF\"");
    }
    cursor_.read_bytes(magic.size());
    cursor_.now_reading("the header");
    const std::uint32_t version = cursor_.read<std::uint32_t>();
    if (version == 2 || version == 3) {
      return version;
    }
    const std::uint32_t swapped =
        version << 24 | (version & 0xFF00) << 8 | (version >> 8 & 0xFF00) | version >> 24;
    if (swapped >= 1 && swapped <= 3) {
      fail("a big-endian file, which is not read");
    }
    fail("version " + std::to_string(version) + " of the format; 2 and 3 are read");
  }

  // Before anything is reserved: so many entries need so many bytes.
  void require_count(std::uint64_t count, std::uint64_t least_bytes, const char* what) const {
    if (count > cursor_.left() / least_bytes) {
      fail(std::to_string(count) + " " + what + " do not fit into the " +
           std::to_string(cursor_.left()) + " bytes that follow");
    }
  }

  std::size_t alignment_in(const metadata_map& metadata) const {
    const auto found = metadata.find(alignment_key);
    if (found == metadata.end()) {
      return default_alignment;
    }
    const std::optional<std::uint32_t> value = value_as<std::uint32_t>(found->second);
    if (found->second.type != value_type::UINT32 || !value) {
      fail("general.alignment is a UINT32, not " + type_text(found->second));
    }
    if (!std::has_single_bit(*value)) {
      fail("general.alignment is a power of two, not " + std::to_string(*value));
    }
    return *value;
  }

  std::vector<place> read_tensors(file_header& header, std::uint64_t count) {
    cursor_.now_reading("the list of tensors");
    std::vector<place> places;
    places.reserve(std::size_t(count));
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::string name(cursor_.read_string());
      if (name.empty() || name.size() > longest_tensor_name) {
        fail(name, "a name has 1 to " + std::to_string(longest_tensor_name) + " bytes, not " +
                       std::to_string(name.size()));
      }
      tensor_info tensor;
      tensor.shape = read_shape(name);
      tensor.type = read_type(name);
      const std::uint64_t offset = cursor_.read<std::uint64_t>();
      if (offset % header.alignment != 0) {
        fail(name, "its offset " + std::to_string(offset) + " is not a multiple of the alignment " +
                       std::to_string(header.alignment));
      }
      const std::uint64_t bytes = bytes_of(name, tensor);
      const auto [entry, is_new] = header.tensors.emplace(name, std::move(tensor));
      if (!is_new) {
        fail(name, "the name occurs twice");
      }
      places.push_back({offset, bytes, entry});
    }
    return places;
  }

  // Row-major.
  std::vector<index_t> read_shape(const std::string& name) {
    const std::uint32_t dimensions = cursor_.read<std::uint32_t>();
    if (dimensions > most_dimensions) {
      fail(name, "it has " + std::to_string(dimensions) + " dimensions; at most " +
                     std::to_string(most_dimensions) + " are read");
    }
    std::vector<index_t> shape(dimensions);
    for (std::size_t k = dimensions; k-- > 0;) {
      const std::uint64_t extent = cursor_.read<std::uint64_t>();
      if (!std::in_range<index_t>(extent)) {
        fail(name, "its extent " + std::to_string(extent) + " is impossible");
      }
      shape[k] = index_t(extent);
    }
    return shape;
  }

  tensor_type read_type(const std::string& name) {
    const std::uint32_t number = cursor_.read<std::uint32_t>();
    const std::optional<tensor_type> type = tensor_type_numbered(number);
    if (!type) {
      fail(name, "its type " + std::to_string(number) + " is unknown or was removed");
    }
    return *type;
  }

  std::uint64_t bytes_of(const std::string& name, const tensor_info& tensor) const {
    const std::string what = std::string(name_of(tensor.type)) + " " + shape_text(tensor.shape);
    if (tensor.cols() % block_entries(tensor.type) != 0) {
      fail(name, what + ": " + std::to_string(tensor.cols()) + " columns are not a multiple of " +
                     std::to_string(block_entries(tensor.type)));
    }
    const std::optional<index_t> bytes = byte_count(tensor.type, tensor.shape);
    if (!bytes) {
      fail(name, "the size of " + what + " overflows");
    }
    return std::uint64_t(*bytes);
  }

  // Gives every tensor its bytes, which no other has. Bytes of no tensor, between two or after the
  // last one, are allowed. Cost: O(n log n) for n tensors.
  void attach_data(file_header& header, std::vector<place>& places) const {
    const std::size_t behind = cursor_.place() % header.alignment;
    const std::size_t padding = behind == 0 ? 0 : header.alignment - behind;
    if (padding > cursor_.left()) {
      fail("the file ends before the data of its tensors, which begin at the next multiple of " +
           std::to_string(header.alignment) + " after byte " + std::to_string(cursor_.place()));
    }
    const std::span<const std::byte> data = file_.subspan(cursor_.place() + padding);
    for (const place& one : places) {
      if (one.offset > data.size() || one.bytes > data.size() - one.offset) {
        fail(one.tensor->first, "its " + std::to_string(one.bytes) + " bytes from offset " +
                                    std::to_string(one.offset) + " on go beyond the " +
                                    std::to_string(data.size()) + " bytes of data");
      }
      one.tensor->second.bytes = data.subspan(std::size_t(one.offset), std::size_t(one.bytes));
    }
    std::sort(places.begin(), places.end(), [](const place& left, const place& right) {
      return std::pair(left.offset, left.bytes) < std::pair(right.offset, right.bytes);
    });
    const place* last = nullptr;  // that has bytes
    for (const place& one : places) {
      if (last != nullptr && one.bytes > 0 && one.offset < last->offset + last->bytes) {
        fail(one.tensor->first, "its bytes begin at " + std::to_string(one.offset) +
                                    ", inside those of " + files::in_quotes(last->tensor->first) +
                                    ", which end at " + std::to_string(last->offset + last->bytes));
      }
      last = one.bytes > 0 ? &one : last;
    }
  }

  std::span<const std::byte> file_;
  std::string source_;
  byte_cursor cursor_;
};

}  // namespace detail

// Reads and checks the header of a whole file held in memory; the spans in the result point into
// `file`. Errors: io_error, naming `source`, the key or tensor, and the rule that is broken with its
// values. Cost: O(length of the header · log); the data are not touched. What is allocated is in
// proportion to the bytes that are there, not to the counts that they claim.
inline file_header parse_header(std::span<const std::byte> file, const std::string& source) {
  return detail::header_parser(file, source).parse();
}

}  // namespace preheat::gguf
