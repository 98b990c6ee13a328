// The fields of a config.json.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>

#include "../core/error.hpp"
#include "../core/types.hpp"
#include "../files/strict_json.hpp"
#include "../files/text_file.hpp"

namespace preheat::huggingface {

// Reads the fields of a config.json, or of an object in it; errors, io_error, name the file and the
// field. A field that is null counts as absent. `finish` refuses fields that were not read.
class config_fields {
 public:
  explicit config_fields(const std::filesystem::path& file) : source_(file.string()) {
    constexpr std::size_t longest = 10'000'000;
    constexpr std::size_t deepest = 16;
    fields_ = files::parse_strict_json(files::read_text_file(file, longest), source_, deepest);
    if (!fields_.is_object()) {
      throw io_error(source_ + ": an object is needed");
    }
  }

  bool has(const char* name) { return find(name, false) != nullptr; }

  // A field without a default must exist.
  void read(const char* name, index_t& value, bool needed = true) {
    if (const nlohmann::json* field = find(name, needed)) {
      const bool fits = field->is_number_integer() &&
                        !(field->is_number_unsigned() && field->get<std::uint64_t>() > largest);
      if (!fits) {
        fail(name, "a whole number is needed");
      }
      value = field->get<index_t>();
    }
  }
  void read(const char* name, double& value, bool needed = false) {
    if (const nlohmann::json* field = find(name, needed)) {
      if (!field->is_number()) {
        fail(name, "a number is needed");
      }
      value = field->get<double>();
    }
  }
  void read(const char* name, bool& value) {
    if (const nlohmann::json* field = find(name, false)) {
      if (!field->is_boolean()) {
        fail(name, "true or false is needed, not " + files::in_quotes(field->dump()));
      }
      value = field->get<bool>();
    }
  }
  void read(const char* name, std::string& value, bool needed = false) {
    if (const nlohmann::json* field = find(name, needed)) {
      if (!field->is_string()) {
        fail(name, "a text is needed, not " + files::in_quotes(field->dump()));
      }
      value = field->get<std::string>();
    }
  }
  // The field as it is; null if it is absent.
  const nlohmann::json* value(const char* name) { return find(name, false); }
  // An object in this one.
  config_fields object(const char* name) {
    const nlohmann::json* const field = find(name, true);
    if (!field->is_object()) {
      fail(name, "an object is needed, not " + files::in_quotes(field->dump()));
    }
    return {source_ + ": " + name, *field};
  }

  // If the field exists, it must have this value.
  void expect(const char* name, const nlohmann::json& wanted, bool needed = false) {
    const nlohmann::json* const field = find(name, needed);
    if (field != nullptr && *field != wanted) {
      fail(name, wanted.dump() + " is understood, not " + files::in_quotes(field->dump()));
    }
  }
  // Fields that change nothing that this library computes.
  void pass_over(std::initializer_list<const char*> names) {
    asked_.insert(names.begin(), names.end());
  }
  // Refuses a field that is there, not null, and that no function above was called with.
  void finish() const {
    for (const auto& [name, field] : fields_.items()) {
      if (!field.is_null() && !asked_.contains(name)) {
        fail(name.c_str(), "it is not understood; its value is " + files::in_quotes(field.dump()));
      }
    }
  }

  [[noreturn]] void fail(const std::string& problem) const {
    throw io_error(source_ + ": " + problem);
  }
  [[noreturn]] void fail(const char* name, const std::string& problem) const {
    fail(std::string("field ") + files::in_quotes(name) + ": " + problem);
  }

 private:
  static constexpr std::uint64_t largest = std::uint64_t(1) << 62U;

  config_fields(std::string source, nlohmann::json fields)
      : source_(std::move(source)), fields_(std::move(fields)) {}

  const nlohmann::json* find(const char* name, bool needed) {
    asked_.insert(name);
    const auto found = fields_.find(name);
    if (found != fields_.end() && !found->is_null()) {
      return &*found;
    }
    if (needed) {
      fail(name, "this field is missing");
    }
    return nullptr;
  }

  std::string source_;
  nlohmann::json fields_;
  std::set<std::string> asked_;
};

}  // namespace preheat::huggingface
