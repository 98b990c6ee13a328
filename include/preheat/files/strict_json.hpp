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

// Refuses among the events of a parse what the parser itself accepts: the same key twice in one object
// (of which it would keep the last), and unlimited nesting. Values are for the class that builds them.
class json_rules : public nlohmann::json_sax<nlohmann::json> {
 public:
  json_rules(std::string source, std::size_t deepest)
      : source_(std::move(source)), deepest_(deepest) {}

  bool parse_error(std::size_t, const std::string&,
                   const nlohmann::json::exception& error) override {
    fail("not JSON: " + in_quotes(error.what()));
  }

 protected:
  void open() {
    if (keys_of_open_values_.size() == deepest_) {
      fail("values nested at most " + std::to_string(deepest_) + " deep");
    }
    keys_of_open_values_.emplace_back();
  }
  void close() { keys_of_open_values_.pop_back(); }
  void take_key(const std::string& name) {
    const bool is_new = keys_of_open_values_.back().insert(name).second;
    if (!is_new) {
      fail("the key " + in_quotes(name) + " occurs twice in one object");
    }
  }

 private:
  [[noreturn]] void fail(const std::string& problem) const {
    throw io_error(source_ + ": " + problem);
  }

  std::string source_;
  std::size_t deepest_;
  std::vector<std::set<std::string>> keys_of_open_values_;  // empty for an array
};

// Builds the value. The library's own builder would be a second parser to compile and a second pass.
template <class Json>
class json_builder final : public json_rules {
 public:
  using json_rules::json_rules;

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(number_integer_t value) override { return put(value); }
  bool number_unsigned(number_unsigned_t value) override { return put(value); }
  bool number_float(number_float_t value, const string_t&) override { return put(value); }
  bool string(string_t& value) override { return put(std::move(value)); }
  bool binary(binary_t&) override { return false; }  // no text has one

  bool start_object(std::size_t) override { return start(Json::object()); }
  bool start_array(std::size_t) override { return start(Json::array()); }
  bool end_object() override { return end(); }
  bool end_array() override { return end(); }
  bool key(string_t& name) override {
    take_key(name);
    key_ = std::move(name);
    return true;
  }

  Json result() && { return std::move(root_); }

 private:
  bool put(Json value) {
    place(std::move(value));
    return true;
  }
  bool start(Json container) {
    open();
    open_values_.push_back(&place(std::move(container)));
    return true;
  }
  bool end() {
    close();
    open_values_.pop_back();
    return true;
  }
  // A value stays where it is put for as long as it is open: nothing is added beside it meanwhile.
  Json& place(Json value) {
    if (open_values_.empty()) {
      return root_ = std::move(value);
    }
    Json& parent = *open_values_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return parent.back();
    }
    return parent[key_] = std::move(value);
  }

  Json root_;
  std::vector<Json*> open_values_;
  std::string key_;
};

}  // namespace detail

// The value in `text`, which may have spaces around it. `source` begins the text of an error and
// names the file. `deepest` is the largest nesting of objects and arrays.
//
// Errors: io_error if the text is not JSON, is not UTF-8, has a key twice in one object, or is
// nested too deeply. Cost: O(n log n) for n characters. With Json = ordered_json the
// keys stay in the order of the text.
//
//   const nlohmann::json config = preheat::files::parse_strict_json(text, "config.json", 8);
template <class Json = nlohmann::json>
Json parse_strict_json(std::string_view text, const std::string& source, std::size_t deepest) {
  // The parser treats a zero byte as the end of its input and would skip what follows.
  if (text.find('\0') != std::string_view::npos) {
    throw io_error(source + ": not JSON: it contains a zero byte");
  }
  detail::json_builder<Json> builder(source, deepest);
  detail::json_rules& events = builder;  // one parser for every kind of Json
  nlohmann::json::sax_parse(text.begin(), text.end(), &events);
  return std::move(builder).result();
}

}  // namespace preheat::files
