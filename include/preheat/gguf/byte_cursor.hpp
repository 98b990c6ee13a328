// Bytes that are read one after another and never beyond their end.
#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "../core/error.hpp"

namespace preheat::gguf {

static_assert(std::endian::native == std::endian::little,
              "GGUF files are little-endian and are used in place; preheat does not swap bytes for "
              "a big-endian machine");

// Every member that reads moves on behind what it read. Errors: io_error, beginning with `source`,
// if there are too few bytes. Cost: O(bytes read).
class byte_cursor {
 public:
  byte_cursor(std::span<const std::byte> bytes, std::string source)
      : bytes_(bytes), source_(std::move(source)) {}

  std::size_t place() const { return place_; }
  std::size_t left() const { return bytes_.size() - place_; }

  // What is read next, for the error of bytes that end too soon: "the metadata".
  void now_reading(std::string part) { part_ = std::move(part); }

  std::span<const std::byte> read_bytes(std::uint64_t count) {
    if (count > left()) {
      fail("the file ends inside " + part_ + ": " + std::to_string(count) +
           " bytes are needed from byte " + std::to_string(place_) + " on, " +
           std::to_string(left()) + " are there");
    }
    const std::span<const std::byte> part = bytes_.subspan(place_, std::size_t(count));
    place_ += std::size_t(count);
    return part;
  }

  template <class T>
  T read() {
    T value;
    std::memcpy(&value, read_bytes(sizeof(T)).data(), sizeof(T));
    return value;
  }

  // Eight bytes of length, then so many bytes; any bytes, not necessarily UTF-8.
  std::string_view read_string() {
    const std::span<const std::byte> text = read_bytes(read<std::uint64_t>());
    return {reinterpret_cast<const char*>(text.data()), text.size()};
  }

  // What was read since `place`.
  std::span<const std::byte> since(std::size_t place) const {
    return bytes_.subspan(place, place_ - place);
  }

  [[noreturn]] void fail(const std::string& problem) const {
    throw io_error(source_ + ": " + problem);
  }

 private:
  std::span<const std::byte> bytes_;
  std::string source_;
  std::string part_ = "a value";
  std::size_t place_ = 0;
};

}  // namespace preheat::gguf
