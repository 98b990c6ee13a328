// Finds the values of a GGUF file's metadata and checks each down to its last item.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "../files/strict_json.hpp"
#include "byte_cursor.hpp"
#include "metadata_value.hpp"
#include "tensor_info.hpp"

namespace preheat::gguf::detail {

inline constexpr std::string_view alignment_key = "general.alignment";
inline constexpr std::size_t default_alignment = 32;

// The value of one key. Nothing is kept but where it lies, so an array that claims any number of
// items costs nothing.
class value_parser {
 public:
  value_parser(byte_cursor& cursor, std::string_view key) : cursor_(cursor), key_(key) {}

  metadata_value parse() {
    const value_type type = read_type("type");
    const std::size_t begin = cursor_.place();
    pass(type, 0);
    return {type, cursor_.since(begin)};
  }

 private:
  static constexpr int deepest = 8;  // arrays in arrays

  [[noreturn]] void fail(const std::string& problem) const {
    cursor_.fail("metadata " + files::in_quotes(key_) + ": " + problem);
  }

  value_type read_type(const char* what) {
    const std::uint32_t number = cursor_.read<std::uint32_t>();
    const std::optional<value_type> type = value_type_numbered(number);
    if (!type) {
      fail("its " + std::string(what) + " " + std::to_string(number) + " is unknown");
    }
    return *type;
  }

  void pass(value_type type, int depth) {
    if (type == value_type::STRING) {
      cursor_.read_string();
    } else if (type == value_type::ARRAY) {
      pass_array(depth + 1);
    } else {
      pass_numbers(type, 1);
    }
  }

  void pass_array(int depth) {
    if (depth > deepest) {
      fail("arrays nested at most " + std::to_string(deepest) + " deep");
    }
    const value_type item = read_type("array's item type");
    const std::uint64_t count = cursor_.read<std::uint64_t>();
    if (count > cursor_.left() / least_size_of(item)) {
      fail("its array of " + std::to_string(count) + " " + std::string(name_of(item)) +
           " goes beyond the end of the file");
    }
    if (has_fixed_size(item)) {
      pass_numbers(item, count);
    } else {
      for (std::uint64_t i = 0; i < count; ++i) {
        pass(item, depth);
      }
    }
  }

  void pass_numbers(value_type type, std::uint64_t count) {
    const std::span<const std::byte> bytes = cursor_.read_bytes(count * least_size_of(type));
    if (type == value_type::BOOL) {
      for (const std::byte b : bytes) {
        if (std::to_integer<int>(b) > 1) {
          fail("a BOOL is 0 or 1, not " + std::to_string(std::to_integer<int>(b)));
        }
      }
    }
  }

  byte_cursor& cursor_;
  std::string_view key_;
};

// The next `count` keys with their values. Errors: io_error, naming the key.
inline metadata_map parse_metadata(byte_cursor& cursor, std::uint64_t count) {
  cursor.now_reading("the metadata");
  metadata_map values;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::string_view key = cursor.read_string();
    if (key.size() > longest_key) {
      cursor.fail("metadata " + files::in_quotes(key) + ": a key has at most " +
                  std::to_string(longest_key) + " bytes (" + std::to_string(key.size()) + ")");
    }
    const metadata_value value = value_parser(cursor, key).parse();
    if (!values.emplace(key, value).second) {
      cursor.fail("metadata " + files::in_quotes(key) + ": the key occurs twice");
    }
  }
  return values;
}

}  // namespace preheat::gguf::detail
