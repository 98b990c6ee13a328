// The fields of one JSON object, each of which must be read, expected or passed over: `finish`
// refuses what is left.
#pragma once
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>

#include "../core/error.hpp"
#include "../files/strict_json.hpp"

namespace preheat::text::detail {

// Errors: io_error "<place>: field "<key>": <problem>". The object must live as long as this.
class json_fields {
 public:
  json_fields(const nlohmann::json& object, std::string place)
      : object_(object), place_(std::move(place)) {
    if (!object_.is_object()) {
      throw io_error(place_ + ": an object is needed, not " + files::in_quotes(object_.dump()));
    }
  }

  // What errors in the value of this field begin with.
  std::string inner(const char* key) const { return place_ + ": " + key; }

  // The field, if it is there and not null.
  const nlohmann::json* find(const char* key) {
    seen_.insert(key);
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }
  const nlohmann::json& need(const char* key) {
    const nlohmann::json* const value = find(key);
    if (value == nullptr) {
      fail(key, "it is missing");
    }
    return *value;
  }
  const nlohmann::json& need(const char* key, nlohmann::json::value_t type) {
    const nlohmann::json& value = need(key);
    if (value.type() != type) {
      fail(key, std::string(type == nlohmann::json::value_t::array ? "an array" : "an object") +
                    " is needed, not " + shown(value));
    }
    return value;
  }
  std::string text(const char* key) {
    const nlohmann::json& value = need(key);
    if (!value.is_string()) {
      fail(key, "a string is needed, not " + shown(value));
    }
    return value.get<std::string>();
  }
  bool flag(const char* key, bool if_absent = false) {
    const nlohmann::json* const value = find(key);
    if (value != nullptr && !value->is_boolean()) {
      fail(key, "true or false is needed, not " + shown(*value));
    }
    return value == nullptr ? if_absent : value->get<bool>();
  }
  // The field has one of these values; null among them means that it may be absent.
  void expect(const char* key, std::initializer_list<nlohmann::json> known) {
    const nlohmann::json* const value = find(key);
    std::string possible;
    for (const nlohmann::json& one : known) {
      if (value == nullptr ? one.is_null() : one == *value) {
        return;
      }
      possible += (possible.empty() ? "" : " or ") + one.dump();
    }
    fail(key, possible + " is understood, not " + (value == nullptr ? "null" : shown(*value)));
  }
  void pass_over(std::initializer_list<const char*> keys) {
    seen_.insert(keys.begin(), keys.end());
  }

  void finish() const {
    for (const auto& item : object_.items()) {
      if (!seen_.contains(item.key())) {
        throw io_error(place_ + ": the field " + files::in_quotes(item.key()) + " is unknown");
      }
    }
  }

  [[noreturn]] void fail(const char* key, const std::string& problem) const {
    throw io_error(place_ + ": field " + files::in_quotes(key) + ": " + problem);
  }

 private:
  static std::string shown(const nlohmann::json& value) { return files::in_quotes(value.dump()); }

  const nlohmann::json& object_;
  std::string place_;
  std::set<std::string> seen_;
};

}  // namespace preheat::text::detail
