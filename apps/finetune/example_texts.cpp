// Examples from texts: lines of JSON and plain text.
#include <algorithm>
#include <initializer_list>
#include <optional>
#include <utility>

#include <preheat/files/strict_json.hpp>
#include <preheat/text/utf8.hpp>

#include "example_readers.hpp"

namespace apps::finetune {
namespace {

namespace files = preheat::files;
using preheat::io_error;
using preheat::nn::not_counted;

// Makes tokens of one line after another.
class line_reader {
 public:
  line_reader(const base_model& model, const reading_options& o) : model_(model), o_(o) {}

  example read(const nlohmann::json& line, const std::string& place) {
    if (!line.is_object()) {
      throw io_error(place + ": a JSON object is needed, not " + std::string(line.type_name()));
    }
    if (line.contains("messages")) {
      require_keys(line, place, {"messages"});
      return conversation(line["messages"], place);
    }
    if (line.contains("prompt") || line.contains("completion")) {
      require_keys(line, place, {"prompt", "completion"});
      example e;
      add(e, model_.begin, false);
      add(e, model_.words->pieces(text_of(line, "prompt", place)), o_.count_all);
      add(e, model_.words->pieces(text_of(line, "completion", place)), true);
      add_end(e);
      return e;
    }
    require_keys(line, place, {"text"});
    return of_text(text_of(line, "text", place));
  }

  example of_text(std::string_view text) const {
    example e;
    add(e, model_.begin, false);
    add(e, model_.words->pieces(text), true);
    add_end(e);
    return e;
  }

 private:
  // Nothing of a line is passed over in silence.
  static void require_keys(const nlohmann::json& line, const std::string& place,
                           std::initializer_list<std::string_view> known) {
    for (const auto& [key, value] : line.items()) {
      if (std::find(known.begin(), known.end(), key) == known.end()) {
        throw io_error(
            place + ": the key " + files::in_quotes(key) +
            " is not understood; a line has prompt and completion, or messages, or text, "
            "and nothing else");
      }
    }
  }
  static std::string text_of(const nlohmann::json& object, const char* key,
                             const std::string& place) {
    const auto found = object.find(key);
    if (found == object.end() || !found->is_string()) {
      throw io_error(place + ": " + files::in_quotes(key) + " is a text, not " +
                     (found == object.end() ? "absent" : std::string(found->type_name())));
    }
    return found->get<std::string>();
  }

  example conversation(const nlohmann::json& list, const std::string& place) {
    if (!list.is_array() || list.empty()) {
      throw io_error(place + ": \"messages\" is a list of messages");
    }
    std::vector<message> messages;
    for (const nlohmann::json& one : list) {
      if (!one.is_object()) {
        throw io_error(place + ": a message is an object with role and content");
      }
      for (const auto& [key, value] : one.items()) {
        if (key != "role" && key != "content") {
          throw io_error(place + ": the key " + files::in_quotes(key) +
                         " of a message is not understood; there are role and content");
        }
      }
      messages.push_back({text_of(one, "role", place), text_of(one, "content", place)});
      const std::string& role = messages.back().role;
      if (role != "system" && role != "user" && role != "assistant") {
        throw io_error(place + ": the role " + files::in_quotes(role) +
                       " is not understood; there are system, user and assistant");
      }
    }
    if (!chat_) {
      chat_ = o_.chat.empty() ? model_.chat() : model_.chat_named(o_.chat);
    }
    example e;
    add(e, model_.begin, false);
    for (const chat_piece& piece : write_chat(*chat_, messages)) {
      add(e, model_.words->pieces(piece.text), piece.counts || o_.count_all);
    }
    return e;
  }

  static void add(example& e, const std::vector<index_t>& ids, bool counts) {
    e.ids.insert(e.ids.end(), ids.begin(), ids.end());
    if (counts) {
      e.labels.insert(e.labels.end(), ids.begin(), ids.end());
    } else {
      e.labels.insert(e.labels.end(), ids.size(), not_counted);
    }
  }
  void add_end(example& e) const {
    if (model_.end_of_text) {
      add(e, {*model_.end_of_text}, true);
    }
  }

  const base_model& model_;
  const reading_options& o_;
  std::optional<chat_template> chat_;
};

}  // namespace

void each_json_line(std::string_view text, const std::string& source,
                    const std::function<void(const nlohmann::json&, const std::string&)>& f) {
  std::size_t number = 0;
  while (!text.empty()) {
    ++number;
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) {
      continue;
    }
    constexpr std::size_t deepest = 8;
    const std::string place = source + ": line " + std::to_string(number);
    f(files::parse_strict_json(line, place, deepest), place);
  }
}

void read_jsonl(std::string_view text, const std::string& source, const base_model& model,
                const reading_options& o, example_set& set) {
  line_reader lines(model, o);
  each_json_line(text, source, [&](const nlohmann::json& line, const std::string& place) {
    take(set, lines.read(line, place), o);
  });
}

void read_text(std::string_view text, const std::string& source, const base_model& model,
               const reading_options& o, example_set& set) {
  if (!preheat::text::is_utf8(text)) {
    throw io_error(source + ": the text is not UTF-8");
  }
  reading_options split = o;
  split.longer = too_long::split;
  if (!text.empty()) {
    take(set, line_reader(model, o).of_text(text), split);
  }
}

}  // namespace apps::finetune
