// A regular expression that cuts a text into pieces, as the tokenizers of language models do before
// they merge bytes: every match is a piece, and so is what lies between two matches.
//
//   const text::split_pattern words(text::patterns::gpt2);
//   words.for_each_piece("Hello world", [](std::string_view piece) { … });   // Hello, ␣world
//
// In the pattern, `\p{L}`, `\p{N}`, `\s` and `\S` mean the classes of unicode_classes.hpp; all else is
// PCRE2's, with UTF and Unicode properties.
//
// Errors: library_error, with PCRE2's words, for a pattern that it refuses, and for a match that runs
// out of memory. Cost: linear in the text for the patterns below; the pattern is compiled to machine
// code where PCRE2 can do that. A text must be UTF-8. Threads may share one object. Needs PCRE2
// (Debian: libpcre2-dev).
#pragma once
#if !defined(PCRE2_CODE_UNIT_WIDTH)
#define PCRE2_CODE_UNIT_WIDTH 8
#endif
#include <pcre2.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <string>
#include <string_view>

#include "../core/error.hpp"
#include "unicode_classes.hpp"

namespace preheat::text {

// The patterns as the models' files have them.
namespace patterns {
inline constexpr std::string_view gpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view llama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view qwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
}  // namespace patterns

namespace detail {

// The pattern with `\p{L}`, `\p{N}`, `\s` and `\S` written out.
inline std::string with_unicode_classes(std::string_view pattern) {
  std::string written;
  bool in_class = false;
  const auto add = [&](std::string_view members, bool negated) {
    written += in_class ? "" : negated ? "[^" : "[";
    written += members;
    written += in_class ? "" : "]";
  };
  while (!pattern.empty()) {
    std::size_t taken = 1;
    if (pattern.starts_with(R"(\p{L})")) {
      add(letters, false);
      taken = 5;
    } else if (pattern.starts_with(R"(\p{N})")) {
      add(numbers, false);
      taken = 5;
    } else if (pattern.starts_with(R"(\s)")) {
      add(white_space, false);
      taken = 2;
    } else if (pattern.starts_with(R"(\S)") && !in_class) {
      add(white_space, true);
      taken = 2;
    } else {
      taken = pattern[0] == '\\' && pattern.size() > 1 ? 2 : 1;
      in_class = (in_class || pattern[0] == '[') && pattern[0] != ']';
      written += pattern.substr(0, taken);
    }
    pattern.remove_prefix(taken);
  }
  return written;
}

inline std::string pcre2_message(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

}  // namespace detail

class split_pattern {
 public:
  explicit split_pattern(std::string_view pattern) {
    const std::string written = detail::with_unicode_classes(pattern);
    int code = 0;
    PCRE2_SIZE place = 0;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(written.data()), written.size(),
                              PCRE2_UTF | PCRE2_UCP, &code, &place, nullptr),
                pcre2_code_free);
    if (code_ == nullptr) {
      throw library_error("pcre2_compile: " + detail::pcre2_message(code) + " at " +
                          std::to_string(place) + " of " + written);
    }
    pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);  // a PCRE2 without it interprets
    // The limit is for patterns that explode; for these it would only limit the length of a text.
    limits_.reset(pcre2_match_context_create(nullptr), pcre2_match_context_free);
    if (limits_ == nullptr) {
      throw std::bad_alloc();
    }
    pcre2_set_match_limit(limits_.get(), std::numeric_limits<std::uint32_t>::max());
  }

  // Calls use(piece) for every piece, from first to last. The pieces are parts of `text`, joined they
  // are the text, and none is empty.
  template <class Use>
  void for_each_piece(std::string_view text, Use&& use) const {
    const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> match(
        pcre2_match_data_create_from_pattern(code_.get(), nullptr), pcre2_match_data_free);
    if (match == nullptr) {
      throw std::bad_alloc();
    }
    const PCRE2_SIZE* const ends = pcre2_get_ovector_pointer(match.get());
    std::size_t begin = 0;  // of what is in no piece yet
    for (std::size_t place = 0; place < text.size();) {
      const int found =
          pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), place,
                      PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, match.get(), limits_.get());
      if (found == PCRE2_ERROR_NOMATCH) {
        break;
      }
      if (found < 0) {
        throw library_error("pcre2_match: " + detail::pcre2_message(found));
      }
      if (begin < ends[0]) {
        use(text.substr(begin, ends[0] - begin));
      }
      use(text.substr(ends[0], ends[1] - ends[0]));
      begin = place = ends[1];
    }
    if (begin < text.size()) {
      use(text.substr(begin));
    }
  }

 private:
  std::shared_ptr<pcre2_code> code_;
  std::shared_ptr<pcre2_match_context> limits_;
};

}  // namespace preheat::text
