// Typed access to the metadata of a GGUF file that remembers what was asked for, so that a key that
// was not read can be refused by name instead of being passed over.
#pragma once
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "../core/error.hpp"
#include "../files/strict_json.hpp"
#include "../safetensors/reader.hpp"
#include "metadata_value.hpp"

namespace preheat::gguf {

namespace detail {

// What a C++ type asks for, in words.
template <class T>
std::string words_for() {
  if constexpr (requires { typename item_of<T>::type; }) {
    return "an array, each item " + words_for<typename item_of<T>::type>();
  } else if constexpr (is_text<T>) {
    return "a STRING";
  } else if constexpr (std::same_as<T, bool>) {
    return "a BOOL";
  } else if constexpr (std::integral<T>) {
    return std::string(std::unsigned_integral<T> ? "an unsigned" : "a signed") + " integer of " +
           std::to_string(8 * sizeof(T)) + " bits";
  } else {
    return "a number";
  }
}

}  // namespace detail

// Reads one file's metadata, which the caller keeps alive. T is what value_as takes: an integer,
// float, double, bool, std::string, std::string_view, or a vector of one of them.
//
// Errors: io_error, naming the file and the key, if it is missing or a T cannot hold its value.
//
//   gguf::metadata_reader metadata(file.metadata(), file.source());
//   const auto layers = metadata.get<index_t>("llama.block_count");
//   const auto factor = metadata.get_or("llama.rope.scaling.factor", 1.0);
//   metadata.ignore("tokenizer.");      // another reader's part
//   metadata.require_all_read();        // refuses a key that this program does not know
class metadata_reader {
 public:
  metadata_reader(const metadata_map& values, std::string source)
      : values_(values), source_(std::move(source)) {}

  bool contains(std::string_view key) const { return values_.find(key) != values_.end(); }

  template <class T>
  T get(std::string_view key) {
    std::optional<T> value = find<T>(key);
    if (!value) {
      fail("metadata " + files::in_quotes(key) + ": it is missing" +
           safetensors::detail::similar_names(values_, key, "keys"));
    }
    return *std::move(value);
  }

  // The value, or `otherwise` if there is no such key.
  template <class T>
  T get_or(std::string_view key, T otherwise) {
    return find<T>(key).value_or(std::move(otherwise));
  }

  // Nothing if there is no such key.
  template <class T>
  std::optional<T> find(std::string_view key) {
    const auto entry = values_.find(key);
    if (entry == values_.end()) {
      return std::nullopt;
    }
    read_.insert(entry->first);
    std::optional<T> value = value_as<T>(entry->second);
    if (!value) {
      fail("metadata " + files::in_quotes(key) + ": " + detail::words_for<T>() +
           " is needed, it is " + shown(entry->second));
    }
    return value;
  }

  // Counts the keys that begin with `prefix` as read.
  void ignore(std::string_view prefix) {
    for (auto entry = values_.lower_bound(prefix);
         entry != values_.end() && entry->first.starts_with(prefix); ++entry) {
      read_.insert(entry->first);
    }
  }

  // The keys that were not read, sorted.
  std::vector<std::string> unread() const {
    std::vector<std::string> keys;
    for (const auto& entry : values_) {
      if (!read_.contains(entry.first)) {
        keys.push_back(entry.first);
      }
    }
    return keys;
  }

  // Errors: io_error with the first keys that were not read.
  void require_all_read() const {
    const std::vector<std::string> keys = unread();
    if (keys.empty()) {
      return;
    }
    constexpr std::size_t most = 5;
    std::string text = "metadata that is not understood: ";
    for (std::size_t i = 0; i < keys.size() && i < most; ++i) {
      text += (i == 0 ? "" : ", ") + files::in_quotes(keys[i]) + " = " +
              shown(values_.find(keys[i])->second);
    }
    fail(text +
         (keys.size() > most ? ", and " + std::to_string(keys.size() - most) + " more" : ""));
  }

  [[noreturn]] void fail(const std::string& problem) const {
    throw io_error(source_ + ": " + problem);
  }

 private:
  // "UINT32 7", "STRING \"yarn\"", "an array of 3 STRING".
  static std::string shown(const metadata_value& value) {
    const std::string type = type_text(value);
    if (const auto text = value_as<std::string_view>(value)) {
      return type + " " + files::in_quotes(*text);
    }
    if (const auto flag = value_as<bool>(value)) {
      return type + (*flag ? " true" : " false");
    }
    if (value.type == value_type::UINT64) {
      return type + " " + std::to_string(*value_as<std::uint64_t>(value));
    }
    if (const auto whole = value_as<std::int64_t>(value)) {
      return type + " " + std::to_string(*whole);
    }
    const auto number = value_as<double>(value);
    return number ? type + " " + preheat::detail::shown_number(*number).text() : type;
  }

  const metadata_map& values_;
  std::string source_;
  std::set<std::string, std::less<>> read_;
};

}  // namespace preheat::gguf
