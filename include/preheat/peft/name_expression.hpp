// Regular expressions on the names of modules, as people and adapter_config.json write them: Python's `re`.
//
// With PCRE2 (the macro PREHEAT_PCRE2, which the build sets where the library is) an expression means what
// Python's re.fullmatch makes of it, but for: `\Z` may stand before a last newline, `\u` and `\N` are refused, names are
// bytes. Without PCRE2 std::regex reads it (ECMAScript), which knows no repetition in braces here.
//
// Expressions come from files that may be hostile: a long one is refused, and so is a match that takes more
// than a million steps. Errors: invalid_argument, naming the expression. Threads may share one object.
#pragma once
#include <cstddef>
#include <memory>
#include <new>
#include <string>
#include <string_view>

#include "../core/error.hpp"
#include "../files/strict_json.hpp"

#if defined(PREHEAT_PCRE2)
#if !defined(PCRE2_CODE_UNIT_WIDTH)
#define PCRE2_CODE_UNIT_WIDTH 8
#endif
#include <pcre2.h>
#else
#include <regex>
#endif

namespace preheat::peft {

namespace detail {

inline constexpr std::size_t longest_expression = 30'000;

[[noreturn]] inline void refuse_expression(std::string_view expression,
                                           const std::string& problem) {
  throw invalid_argument("the pattern " + files::in_quotes(expression) +
                         " is not a regular expression that is understood: " + problem);
}

}  // namespace detail

#if defined(PREHEAT_PCRE2)

class name_expression {
 public:
  explicit name_expression(std::string_view expression) : text_(expression) {
    if (expression.size() > detail::longest_expression) {
      detail::refuse_expression(
          expression, "it has more than " + std::to_string(detail::longest_expression) + " bytes");
    }
    const std::string written = with_lower_bounds(expression);
    int code = 0;
    PCRE2_SIZE place = 0;
    code_.reset(pcre2_compile(
                    reinterpret_cast<PCRE2_SPTR>(written.data()), written.size(),
                    PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_NEVER_BACKSLASH_C | PCRE2_NEVER_UTF,
                    &code, &place, nullptr),
                pcre2_code_free);
    if (code_ == nullptr) {
      PCRE2_UCHAR message[256] = {};
      pcre2_get_error_message(code, message, sizeof message);
      detail::refuse_expression(expression, reinterpret_cast<const char*>(message));
    }
    limits_.reset(pcre2_match_context_create(nullptr), pcre2_match_context_free);
    if (limits_ == nullptr) {
      throw std::bad_alloc();
    }
    constexpr unsigned most_steps = 1'000'000;
    pcre2_set_match_limit(limits_.get(), most_steps);
  }

  // Whether the whole name matches.
  bool matches(std::string_view name) const {
    const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> match(
        pcre2_match_data_create(1, nullptr), pcre2_match_data_free);
    if (match == nullptr) {
      throw std::bad_alloc();
    }
    const int found = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(name.data()),
                                  name.size(), 0, 0, match.get(), limits_.get());
    if (found < 0 && found != PCRE2_ERROR_NOMATCH) {
      detail::refuse_expression(
          text_, "to match it with " + files::in_quotes(name) + " takes more than a million steps");
    }
    return found >= 0;
  }

 private:
  // Python reads {,3} as {0,3}; PCRE2 before 10.43 as the characters.
  static std::string with_lower_bounds(std::string_view expression) {
    std::string written;
    for (std::size_t i = 0; i < expression.size(); ++i) {
      written += expression[i];
      const bool escaped = expression[i] == '\\' && i + 1 < expression.size();
      if (escaped) {
        written += expression[++i];
      } else if (expression.substr(i).starts_with("{,") && i + 2 < expression.size() &&
                 '0' <= expression[i + 2] && expression[i + 2] <= '9') {
        written += '0';
      }
    }
    return written;
  }

  std::string text_;
  std::shared_ptr<pcre2_code> code_;
  std::shared_ptr<pcre2_match_context> limits_;
};

#else

// std::regex trusts its pattern: repetitions in braces multiply its states, long numbers overflow, and
// backtracking can take forever. So the first two are refused, and libstdc++ is set to match in polynomial
// time, which excludes back references (it refuses them).
class name_expression {
 public:
  explicit name_expression(std::string_view expression) {
    constexpr std::size_t longest = 1000;
    constexpr std::size_t most_digits = 9;
    std::size_t digits = 0;
    bool harmless = expression.size() <= longest;
    for (const char c : expression) {
      digits = '0' <= c && c <= '9' ? digits + 1 : 0;
      harmless = harmless && c != '{' && digits <= most_digits;
    }
    std::regex::flag_type syntax = std::regex::ECMAScript;
#if defined(__GLIBCXX__)
    syntax |= std::regex_constants::__polynomial;
#endif
    try {
      if (!harmless) {
        throw std::regex_error(std::regex_constants::error_complexity);
      }
      expression_ = std::regex(std::string(expression), syntax);
    } catch (const std::regex_error&) {
      detail::refuse_expression(
          expression, "without PCRE2, at most 1000 characters, no {} and no long numbers");
    }
  }

  bool matches(std::string_view name) const {
    return std::regex_match(name.begin(), name.end(), expression_);
  }

 private:
  std::regex expression_;
};

#endif

}  // namespace preheat::peft
