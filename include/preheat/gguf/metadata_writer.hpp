// The metadata of a GGUF file to be written.
#pragma once
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../core/error.hpp"
#include "../files/strict_json.hpp"
#include "metadata_parser.hpp"
#include "metadata_value.hpp"
#include "value_bytes.hpp"

namespace preheat::gguf {

// Values by key, in the order in which they were set. A key that is set again keeps its place.
//
// The type of a value is that of the C++ argument (std::uint32_t is UINT32), so it is to be written
// out: readers insist on the types they know. Errors: invalid_argument for a key that is empty or
// longer than 65,535 bytes, and for a general.alignment that is not a UINT32 and a power of two.
//
//   metadata.set("general.architecture", std::string_view("llama"));
//   metadata.set("llama.block_count", std::uint32_t{2});
//   metadata.set("tokenizer.ggml.scores", std::span<const float>(scores));
class metadata_writer {
 public:
  template <metadata_number T>
  void set(std::string key, T value) {
    detail::byte_string bytes;
    detail::append_number(bytes, value);
    put(std::move(key), value_type_of<T>(), std::move(bytes));
  }

  // Any bytes, also zeros.
  void set(std::string key, std::string_view text) {
    detail::byte_string bytes;
    detail::append_string(bytes, text);
    put(std::move(key), value_type::STRING, std::move(bytes));
  }
  void set(std::string key, const char* text) { set(std::move(key), std::string_view(text)); }
  void set(std::string key, const std::string& text) {
    set(std::move(key), std::string_view(text));
  }

  template <metadata_number T>
  void set(std::string key, std::span<const T> values) {
    detail::byte_string bytes;
    detail::append_array_start(bytes, value_type_of<T>(), values.size());
    detail::append(bytes, std::as_bytes(values));
    put(std::move(key), value_type::ARRAY, std::move(bytes));
  }

  void set(std::string key, const std::vector<std::string>& texts) {
    detail::byte_string bytes;
    detail::append_array_start(bytes, value_type::STRING, texts.size());
    for (const std::string& text : texts) {
      detail::append_string(bytes, text);
    }
    put(std::move(key), value_type::ARRAY, std::move(bytes));
  }

  // A value of another file, as it is there.
  void set(std::string key, const metadata_value& value) {
    put(std::move(key), value.type, {value.bytes.begin(), value.bytes.end()});
  }

  std::size_t size() const { return values_.size(); }

  // general.alignment, or 32.
  std::size_t alignment() const { return alignment_; }

  // The part of the file: each key, the number of its type, its bytes.
  detail::byte_string bytes() const {
    detail::byte_string all;
    for (const owned_value& value : values_) {
      detail::append_string(all, value.key);
      detail::append_number(all, static_cast<std::uint32_t>(value.type));
      detail::append(all, value.bytes);
    }
    return all;
  }

 private:
  struct owned_value {
    std::string key;
    value_type type;
    detail::byte_string bytes;
  };

  void put(std::string key, value_type type, detail::byte_string bytes) {
    require(!key.empty() && key.size() <= longest_key,
            "metadata " + files::in_quotes(key) + ": bytes of a key >= 1 and <= 65535", key.size(),
            longest_key);
    if (key == detail::alignment_key) {
      const auto value = value_as<std::uint32_t>({type, bytes});
      require(type == value_type::UINT32 && std::has_single_bit(*value),
              "metadata \"general.alignment\": a UINT32 and a power of two");
      alignment_ = *value;
    }
    const auto known = std::find_if(values_.begin(), values_.end(),
                                    [&](const owned_value& one) { return one.key == key; });
    if (known == values_.end()) {
      values_.push_back({std::move(key), type, std::move(bytes)});
    } else {
      *known = {std::move(key), type, std::move(bytes)};
    }
  }

  std::vector<owned_value> values_;
  std::size_t alignment_ = detail::default_alignment;
};

}  // namespace preheat::gguf
