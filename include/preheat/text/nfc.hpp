// Canonical composition (NFC) of a text, by utf8proc.
#pragma once
#include <utf8proc.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "../core/error.hpp"

namespace preheat::text::detail {

// The text must be UTF-8. Cost: linear, apart from the sorting of many marks on one letter.
inline std::string composed(std::string_view text) {
  const bool ascii = std::all_of(text.begin(), text.end(),
                                 [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  if (ascii) {
    return std::string(text);
  }
  utf8proc_uint8_t* result = nullptr;
  const utf8proc_ssize_t count = utf8proc_map(
      reinterpret_cast<const utf8proc_uint8_t*>(text.data()), utf8proc_ssize_t(text.size()),
      &result, utf8proc_option_t(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(result, std::free);
  if (count < 0) {
    throw library_error(std::string("utf8proc_map: ") + utf8proc_errmsg(count));
  }
  return std::string(reinterpret_cast<const char*>(result), std::size_t(count));
}

}  // namespace preheat::text::detail
