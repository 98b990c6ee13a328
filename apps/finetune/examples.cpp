#include "examples.hpp"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include <preheat/core/communicator.hpp>
#include <preheat/files/mapped_file.hpp>
#include <preheat/files/strict_json.hpp>
#include <preheat/safetensors/safetensors.hpp>
#include <preheat/text/utf8.hpp>

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
      add(e, model_.words.pieces(text_of(line, "prompt", place)), o_.count_all);
      add(e, model_.words.pieces(text_of(line, "completion", place)), true);
      add_end(e);
      return e;
    }
    require_keys(line, place, {"text"});
    return of_text(text_of(line, "text", place));
  }

  example of_text(std::string_view text) const {
    example e;
    add(e, model_.begin, false);
    add(e, model_.words.pieces(text), true);
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
      add(e, model_.words.pieces(piece.text), piece.counts || o_.count_all);
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

// Takes an example into the set, as its length and its labels allow.
void take(example_set& set, example e, const reading_options& o) {
  const auto most = std::size_t(o.seq);
  if (e.ids.size() > most) {
    if (o.longer == too_long::split) {
      ++set.split;
      for (std::size_t first = 0; first < e.ids.size(); first += most) {
        const auto last = std::ptrdiff_t(std::min(first + most, e.ids.size()));
        const auto begin = std::ptrdiff_t(first);
        take(set,
             {{e.ids.begin() + begin, e.ids.begin() + last},
              {e.labels.begin() + begin, e.labels.begin() + last}},
             o);
      }
      return;
    }
    if (o.longer == too_long::drop) {
      ++set.dropped;
      return;
    }
    e.ids.resize(most);
    e.labels.resize(most);
    ++set.cut;
  }
  const index_t counted = e.counted();
  if (counted == 0) {
    ++set.dropped;
    return;
  }
  set.tokens += index_t(e.ids.size());
  set.counted += counted;
  set.examples.push_back(std::move(e));
}

void read_jsonl(std::string_view text, const std::string& source, const base_model& model,
                const reading_options& o, example_set& set) {
  line_reader lines(model, o);
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
    take(set, lines.read(files::parse_strict_json(line, place, deepest), place), o);
  }
}

// A tensor of whole numbers [rows, columns].
std::vector<index_t> whole_numbers(const preheat::safetensors::reader& file,
                                   const std::string& source, const char* name,
                                   std::vector<index_t>& shape) {
  if (!file.contains(name)) {
    throw io_error(source + ": there is no tensor \"" + name +
                   "\"; a file of tokens has input_ids and labels, and attention_mask if it is "
                   "padded");
  }
  const auto& tensor = file.info(name);
  using preheat::safetensors::dtype;
  const bool long_integers = tensor.type == dtype::I64;
  if ((!long_integers && tensor.type != dtype::I32) || tensor.shape.size() != 2 ||
      (!shape.empty() && tensor.shape != shape)) {
    throw io_error(source + ": tensor \"" + name +
                   "\" has shape [rows, tokens], the same for all, and type I64 or I32");
  }
  shape = tensor.shape;
  std::vector<index_t> values(std::size_t(tensor.count()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (long_integers) {
      std::memcpy(&values[i], tensor.bytes.data() + i * 8, 8);
    } else {
      std::int32_t value = 0;
      std::memcpy(&value, tensor.bytes.data() + i * 4, 4);
      values[i] = value;
    }
  }
  return values;
}

void read_tokens(const std::filesystem::path& path, const base_model& model,
                 const reading_options& o, example_set& set) {
  const preheat::safetensors::reader file(path);
  for (const std::string& name : file.names()) {
    if (name != "input_ids" && name != "labels" && name != "attention_mask") {
      throw io_error(path.string() + ": the tensor " + files::in_quotes(name) +
                     " is not understood; there are input_ids, labels and attention_mask");
    }
  }
  std::vector<index_t> shape;
  const std::vector<index_t> ids = whole_numbers(file, path.string(), "input_ids", shape);
  const std::vector<index_t> labels = whole_numbers(file, path.string(), "labels", shape);
  const std::vector<index_t> mask =
      file.contains("attention_mask") ? whole_numbers(file, path.string(), "attention_mask", shape)
                                      : std::vector<index_t>(ids.size(), 1);
  const auto columns = std::size_t(shape[1]);
  for (std::size_t row = 0; row < std::size_t(shape[0]); ++row) {
    example e;
    for (std::size_t i = row * columns; i < (row + 1) * columns; ++i) {
      const std::string place = fmt::format("{}: row {}", path.string(), row);
      if (mask[i] == 0) {
        continue;
      }
      if (ids[i] < 0 || ids[i] >= model.net.config().vocab_size) {
        throw io_error(fmt::format("{}: 0 <= token < {} of the model ({})", place,
                                   model.net.config().vocab_size, ids[i]));
      }
      if (labels[i] != ids[i] && labels[i] != not_counted) {
        throw io_error(fmt::format("{}: a label is its token or {} ({}, token {})", place,
                                   not_counted, labels[i], ids[i]));
      }
      e.ids.push_back(ids[i]);
      e.labels.push_back(labels[i]);
    }
    if (e.ids.empty()) {
      ++set.dropped;
    } else {
      take(set, std::move(e), o);
    }
  }
}

}  // namespace

index_t example::counted() const {
  return counted_in(labels);
}

std::string example_set::describe(const reading_options& o) const {
  std::string text =
      fmt::format("{} examples, {} tokens, {} of them count", examples.size(), tokens, counted);
  const auto note = [&](std::size_t count, const std::string& what) {
    if (count > 0) {
      text += fmt::format("; {} {}", count, what);
    }
  };
  note(cut, fmt::format("cut to {} tokens", o.seq));
  note(split, fmt::format("split into {} tokens each", o.seq));
  note(dropped,
       o.longer == too_long::drop
           ? fmt::format("dropped, longer than {} tokens or without one that counts", o.seq)
           : "dropped, without a token that counts");
  return text;
}

example_set read_examples(const std::filesystem::path& path, const base_model& model,
                          const reading_options& o) {
  const files::mapped_file file(path);
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()),
                              file.bytes().size());
  example_set set;
  preheat::bit_hash hash;
  hash.add(std::span<const char>(text));
  set.hash = hash.value();
  if (path.extension() == ".safetensors") {
    read_tokens(path, model, o, set);
  } else if (path.extension() == ".txt") {
    if (!preheat::text::is_utf8(text)) {
      throw io_error(path.string() + ": the text is not UTF-8");
    }
    reading_options split = o;
    split.longer = too_long::split;
    if (!text.empty()) {
      take(set, line_reader(model, o).of_text(text), split);
    }
  } else {
    read_jsonl(text, path.string(), model, o, set);
  }
  if (set.examples.empty()) {
    throw io_error(path.string() + (set.dropped > 0 ? ": no example has a token that counts; " +
                                                          std::to_string(set.dropped) + " dropped"
                                                    : ": no examples"));
  }
  return set;
}

}  // namespace apps::finetune
