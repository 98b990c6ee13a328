// The header of a safetensors file: what its JSON says, checked against every rule of the format.
// Works on bytes in memory; reader.hpp brings them from a file.
//
//   [0, 8)      N, the length of the header, unsigned, little-endian
//   [8, 8 + N)  the header: a JSON object, spaces allowed after it
//   [8 + N, …)  the data: the tensors' entries, row-major, little-endian
//
// The header maps each tensor's name to {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
// the offsets counted from the start of the data, and "__metadata__" to an object of strings. The
// tensors cover the data exactly: no overlap, no hole.
// The format is described in the README of the safetensors project, section "Format".
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../core/error.hpp"
#include "../core/types.hpp"
#include "../files/strict_json.hpp"
#include "dtype.hpp"
#include "tensor_info.hpp"

namespace preheat::safetensors {

// What a header says.
struct file_header {
  std::map<std::string, std::string> metadata;
  tensor_map tensors;
};

namespace detail {

// Reads one header. `source` names the file in errors.
class header_parser {
 public:
  header_parser(std::span<const std::byte> file, std::string source)
      : file_(file), source_(std::move(source)) {}

  file_header parse() const {
    const std::string_view text = header_text();
    const nlohmann::json root = files::parse_strict_json(text, source_ + ": header", deepest);
    const std::span<const std::byte> data = file_.subspan(length_bytes + text.size());
    file_header header;
    for (const auto& [name, entry] : root.items()) {
      if (name == metadata_key) {
        header.metadata = parse_metadata(entry);
      } else {
        header.tensors.emplace(name, parse_tensor(name, entry, data));
      }
    }
    check_coverage(header, data);
    return header;
  }

 private:
  static constexpr std::size_t length_bytes = 8;
  static constexpr std::size_t deepest = 3;  // the shape, in a tensor, in the header

  [[noreturn]] void fail(const std::string& problem) const {
    throw io_error(source_ + ": " + problem);
  }
  [[noreturn]] void fail(const std::string& tensor, const std::string& problem) const {
    fail("tensor " + files::in_quotes(tensor) + ": " + problem);
  }

  // The header's text, without the length before it.
  std::string_view header_text() const {
    if (file_.size() < length_bytes) {
      fail("the file has " + std::to_string(file_.size()) +
           " bytes, less than the 8 of the header's length");
    }
    std::uint64_t length = 0;
    std::memcpy(&length, file_.data(), length_bytes);
    if (length > longest_header) {
      fail("header length <= " + std::to_string(longest_header) + " (" + std::to_string(length) +
           ")");
    }
    const std::size_t available = file_.size() - length_bytes;
    if (length > available) {
      fail("header length <= bytes after it (" + std::to_string(length) + ", " +
           std::to_string(available) + ")");
    }
    const char* const begin = reinterpret_cast<const char*>(file_.data()) + length_bytes;
    const std::string_view text(begin, static_cast<std::size_t>(length));
    if (!text.starts_with('{')) {
      fail("the header starts with " + files::in_quotes(text.substr(0, 1)) + ", not with \"{\"");
    }
    return text;
  }

  std::map<std::string, std::string> parse_metadata(const nlohmann::json& entry) const {
    if (!entry.is_object()) {
      fail("__metadata__ is not an object but " + files::in_quotes(entry.dump()));
    }
    std::map<std::string, std::string> metadata;
    for (const auto& [key, value] : entry.items()) {
      if (!value.is_string()) {
        fail("__metadata__: the value of " + files::in_quotes(key) + " is not a string but " +
             files::in_quotes(value.dump()));
      }
      metadata.emplace(key, value.get<std::string>());
    }
    return metadata;
  }

  // What the header says of one tensor. Keys that the format does not know are passed over, as its
  // reference implementation does.
  tensor_info parse_tensor(const std::string& name, const nlohmann::json& entry,
                           std::span<const std::byte> data) const {
    if (!entry.is_object()) {
      fail(name, "its entry is not an object but " + files::in_quotes(entry.dump()));
    }
    tensor_info tensor;
    tensor.type = parse_dtype(name, member(name, entry, "dtype"));
    tensor.shape = parse_naturals(name, entry, "shape");
    const std::vector<index_t> offsets = parse_naturals(name, entry, "data_offsets");
    if (offsets.size() != 2) {
      fail(name, "data_offsets has 2 entries (" + std::to_string(offsets.size()) + ")");
    }
    const std::string where =
        "data_offsets [" + std::to_string(offsets[0]) + ", " + std::to_string(offsets[1]) + ")";
    if (offsets[0] > offsets[1]) {
      fail(name, where + " end before they begin");
    }
    if (std::cmp_greater(offsets[1], data.size())) {
      fail(name, where + " go beyond the " + std::to_string(data.size()) + " bytes of data");
    }
    const std::string what = std::string(name_of(tensor.type)) + " " + shape_text(tensor.shape);
    const std::optional<index_t> entries = entry_count(tensor.shape);
    if (!entries) {
      fail(name, "the number of entries of " + what + " overflows");
    }
    const std::optional<index_t> needed = checked_product(*entries, size_of(tensor.type));
    if (!needed) {
      fail(name, "the number of bytes of " + what + " overflows");
    }
    const index_t length = offsets[1] - offsets[0];
    if (length != *needed) {
      fail(name, where + " hold " + std::to_string(length) + " bytes, " + what + " needs " +
                     std::to_string(*needed));
    }
    tensor.bytes =
        data.subspan(static_cast<std::size_t>(offsets[0]), static_cast<std::size_t>(length));
    return tensor;
  }

  const nlohmann::json& member(const std::string& name, const nlohmann::json& entry,
                               const char* key) const {
    const auto found = entry.find(key);
    if (found == entry.end()) {
      fail(name, std::string("it has no ") + key);
    }
    return *found;
  }

  dtype parse_dtype(const std::string& name, const nlohmann::json& value) const {
    if (!value.is_string()) {
      fail(name, "its dtype is not a string but " + files::in_quotes(value.dump()));
    }
    const std::string& text = value.get_ref<const std::string&>();
    const std::optional<dtype> type = dtype_named(text);
    if (!type) {
      fail(name, "unknown dtype " + files::in_quotes(text));
    }
    return *type;
  }

  // An array of integers >= 0.
  std::vector<index_t> parse_naturals(const std::string& name, const nlohmann::json& entry,
                                      const char* key) const {
    const nlohmann::json& list = member(name, entry, key);
    if (!list.is_array()) {
      fail(name,
           std::string("its ") + key + " is not an array but " + files::in_quotes(list.dump()));
    }
    std::vector<index_t> numbers;
    numbers.reserve(list.size());
    for (const nlohmann::json& value : list) {
      if (!value.is_number_unsigned()) {
        fail(name, std::string("its ") + key + " contains " + files::in_quotes(value.dump()) +
                       ", not an integer >= 0");
      }
      const std::uint64_t number = value.get<std::uint64_t>();
      if (!std::in_range<index_t>(number)) {
        fail(name, std::string("its ") + key + " contains " + std::to_string(number) +
                       ", which overflows");
      }
      numbers.push_back(static_cast<index_t>(number));
    }
    return numbers;
  }

  // Every byte of the data belongs to exactly one tensor. Cost: O(n log n) for n tensors.
  void check_coverage(const file_header& header, std::span<const std::byte> data) const {
    struct placed {
      std::size_t begin;
      std::size_t end;
      const std::string* name;
    };
    std::vector<placed> order;
    order.reserve(header.tensors.size());
    for (const auto& [name, tensor] : header.tensors) {
      const std::size_t begin = static_cast<std::size_t>(tensor.bytes.data() - data.data());
      order.push_back({begin, begin + tensor.bytes.size(), &name});
    }
    std::sort(order.begin(), order.end(), [](const placed& left, const placed& right) {
      return std::pair(left.begin, left.end) < std::pair(right.begin, right.end);
    });
    std::size_t covered = 0;
    for (std::size_t i = 0; i < order.size(); ++i) {
      const placed& tensor = order[i];
      if (tensor.begin < covered) {
        fail(*tensor.name, "its bytes begin at " + std::to_string(tensor.begin) +
                               ", inside those of " + files::in_quotes(*order[i - 1].name) +
                               ", which end at " + std::to_string(covered));
      }
      if (tensor.begin > covered) {
        fail(*tensor.name, "its bytes begin at " + std::to_string(tensor.begin) +
                               ", and those from " + std::to_string(covered) +
                               " on belong to no tensor");
      }
      covered = tensor.end;
    }
    if (covered < data.size()) {
      fail("the tensors end at byte " + std::to_string(covered) + " of the " +
           std::to_string(data.size()) + " bytes of data");
    }
  }

  std::span<const std::byte> file_;
  std::string source_;
};

}  // namespace detail

// Reads and checks the header of a whole file held in memory; the spans in the result point into
// `file`. Errors: io_error, naming `source`, the tensor, and the rule that is broken with its
// values. Cost: O(length of the header · log); the data is not touched.
inline file_header parse_header(std::span<const std::byte> file, const std::string& source) {
  return detail::header_parser(file, source).parse();
}

}  // namespace preheat::safetensors
