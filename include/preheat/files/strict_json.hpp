// JSON from files that may be malformed or hostile: read completely, or refused with one error.
#pragma once
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../core/error.hpp"

namespace preheat::files {

// Text from outside for an error message: in quotes, control characters escaped, cut when long.
inline std::string in_quotes(std::string_view text) {
  constexpr std::size_t longest = 200;
  const bool cut = text.size() > longest;
  const nlohmann::json shown = std::string(text.substr(0, longest));
  constexpr auto replace_bad_utf8 = nlohmann::json::error_handler_t::replace;
  return shown.dump(-1, ' ', false, replace_bad_utf8) + (cut ? "..." : "");
}

namespace detail {

// Checks the events of a parse for what the parser itself accepts: the same key twice in one object
// (of which it would keep the last), and unlimited nesting. Values are not checked.
class json_rules : public nlohmann::json_sax<nlohmann::json> {
 public:
  json_rules(std::string source, std::size_t deepest)
      : source_(std::move(source)), deepest_(deepest) {}

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }

  bool start_object(std::size_t) override { return open(); }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    const bool is_new = keys_of_open_values_.back().insert(name).second;
    if (!is_new) {
      fail("the key " + in_quotes(name) + " occurs twice in one object");
    }
    return true;
  }

  bool parse_error(std::size_t, const std::string&,
                   const nlohmann::json::exception& error) override {
    fail("not JSON: " + in_quotes(error.what()));
  }

 private:
  [[noreturn]] void fail(const std::string& problem) const {
    throw io_error(source_ + ": " + problem);
  }

  bool open() {
    if (keys_of_open_values_.size() == deepest_) {
      fail("values nested at most " + std::to_string(deepest_) + " deep");
    }
    keys_of_open_values_.emplace_back();
    return true;
  }

  bool close() {
    keys_of_open_values_.pop_back();
    return true;
  }

  std::string source_;
  std::size_t deepest_;
  std::vector<std::set<std::string>> keys_of_open_values_;  // empty for an array
};

}  // namespace detail

// The value in `text`, which may have spaces around it. `source` begins the text of an error and
// names the file. `deepest` is the largest nesting of objects and arrays.
//
// Errors: io_error if the text is not JSON, is not UTF-8, has a key twice in one object, or is
// nested too deeply. Cost: two passes, O(n log n) for n characters. With Json = ordered_json the
// keys stay in the order of the text.
//
//   const nlohmann::json config = preheat::files::parse_strict_json(text, "config.json", 8);
template <class Json = nlohmann::json>
Json parse_strict_json(std::string_view text, const std::string& source, std::size_t deepest) {
  // The parser treats a zero byte as the end of its input and would skip what follows.
  if (text.find('\0') != std::string_view::npos) {
    throw io_error(source + ": not JSON: it contains a zero byte");
  }
  // The rules have a pass of their own, because the parser's callback, which could check them while
  // the value is built, searches a whole object after each of its members.
  detail::json_rules rules(source, deepest);
  nlohmann::json::sax_parse(text.begin(), text.end(), &rules);
  return Json::parse(text.begin(), text.end());
}

}  // namespace preheat::files
