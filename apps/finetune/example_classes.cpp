// Examples of an encoder: a text and its class.
#include <algorithm>
#include <set>
#include <utility>

#include <fmt/format.h>

#include <preheat/files/mapped_file.hpp>
#include <preheat/files/strict_json.hpp>

#include "example_readers.hpp"

namespace apps::finetune {
namespace {

namespace files = preheat::files;
using preheat::io_error;

// The two fields of a line.
std::pair<const nlohmann::json&, const nlohmann::json&> text_and_label(const nlohmann::json& line,
                                                                       const std::string& place) {
  if (!line.is_object() || line.size() != 2 || !line.contains("text") || !line.contains("label")) {
    throw io_error(place +
                   ": an encoder's example is an object with text and label, and nothing else");
  }
  const nlohmann::json& label = line["label"];
  if (!line["text"].is_string()) {
    throw io_error(place + ": \"text\" is a text, not " + line["text"].type_name());
  }
  if (!label.is_string() && !label.is_number_integer()) {
    throw io_error(place + ": \"label\" is a name or a whole number, not " + label.dump());
  }
  return {line["text"], label};
}

// The number of the class that a label says.
index_t number_of(const nlohmann::json& label, const class_list& classes,
                  const std::string& place) {
  const auto count = index_t(classes.names.size());
  if (label.is_string() && classes.by_name) {
    const auto found =
        std::find(classes.names.begin(), classes.names.end(), label.get_ref<const std::string&>());
    if (found != classes.names.end()) {
      return found - classes.names.begin();
    }
  }
  if (label.is_number_integer() && classes.by_number && 0 <= label && label < count) {
    return label.get<index_t>();
  }
  throw io_error(fmt::format("{}: the label {} is none of the classes {}{}", place, label.dump(),
                             classes.by_name ? fmt::format("{}", fmt::join(classes.names, ", "))
                                             : fmt::format("0 to {}", count - 1),
                             classes.by_name && classes.by_number
                                 ? fmt::format(" (or 0 to {}) of the model's classifier", count - 1)
                                 : " of the training examples"));
}

}  // namespace

class_list find_classes(const std::filesystem::path& path) {
  const files::mapped_file file(path);
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()),
                              file.bytes().size());
  std::set<std::string> names;
  std::set<index_t> numbers;
  each_json_line(text, path.string(), [&](const nlohmann::json& line, const std::string& place) {
    const nlohmann::json& label = text_and_label(line, place).second;
    if (label.is_string()) {
      names.insert(label.get<std::string>());
    } else {
      constexpr index_t most = 100000;
      if (!(0 <= label && label < most)) {
        throw io_error(fmt::format("{}: 0 <= label < {} ({})", place, most, label.dump()));
      }
      numbers.insert(label.get<index_t>());
    }
    if (!names.empty() && !numbers.empty()) {
      throw io_error(place + ": the label " + label.dump() +
                     (label.is_string() ? " is a name, and those before it are numbers"
                                        : " is a number, and those before it are names"));
    }
  });
  class_list classes{.names = {}, .by_name = !names.empty(), .by_number = !numbers.empty()};
  classes.names.assign(names.begin(), names.end());
  for (const index_t number : numbers) {
    const auto next = index_t(classes.names.size());
    if (number != next) {
      throw io_error(
          fmt::format("{}: classes are numbered from 0 on: there is a label {}, and no {}",
                      path.string(), number, next));
    }
    classes.names.push_back(fmt::format("LABEL_{}", number));
  }
  if (classes.names.size() == 1) {
    throw io_error(path.string() + ": all examples have the label " + classes.names.front() +
                   "; there are two classes at least");
  }
  return classes;
}

void read_classified(std::string_view text, const std::string& source, const base_model& model,
                     const reading_options& o, example_set& set) {
  set.of_class.resize(model.classes.names.size());
  each_json_line(text, source, [&](const nlohmann::json& line, const std::string& place) {
    const auto [words, label] = text_and_label(line, place);
    example e;
    e.category = number_of(label, model.classes, place);
    const std::string& all = words.get_ref<const std::string&>();
    e.ids = model.pieces->encode(all).ids;
    if (index_t(e.ids.size()) > o.seq && o.longer == too_long::cut) {
      e.ids = model.pieces->encode(all, o.seq).ids;  // which ends with [SEP] too
      ++set.cut;
    }
    const std::size_t before = set.examples.size();
    const index_t category = e.category;
    take(set, std::move(e), o);
    set.of_class[std::size_t(category)] += set.examples.size() - before;
  });
}

}  // namespace apps::finetune
