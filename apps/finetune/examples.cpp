#include "examples.hpp"

#include <algorithm>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include <preheat/core/communicator.hpp>
#include <preheat/files/mapped_file.hpp>

#include "example_readers.hpp"

namespace apps::finetune {

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

index_t example::counted() const {
  return category >= 0 ? 1 : counted_in(labels);
}

std::string example_set::describe(const reading_options& o, const class_list& classes) const {
  std::string text = fmt::format("{} examples, {} tokens", examples.size(), tokens);
  if (of_class.empty()) {
    text += fmt::format(", {} of them count", counted);
  }
  for (std::size_t i = 0; i < of_class.size(); ++i) {
    text += fmt::format("{} {} {}", i == 0 ? ";" : ",", classes.names[i], of_class[i]);
  }
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
  const preheat::files::mapped_file file(path);
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()),
                              file.bytes().size());
  example_set set;
  preheat::bit_hash hash;
  hash.add(std::span<const char>(text));
  set.hash = hash.value();
  if (model.net.classifies()) {
    read_classified(text, path.string(), model, o, set);
  } else if (path.extension() == ".safetensors") {
    read_tokens(path, model, o, set);
  } else if (path.extension() == ".txt") {
    read_text(text, path.string(), model, o, set);
  } else {
    read_jsonl(text, path.string(), model, o, set);
  }
  if (set.examples.empty()) {
    throw preheat::io_error(path.string() + (set.dropped > 0
                                                 ? ": no example has a token that counts; " +
                                                       std::to_string(set.dropped) + " dropped"
                                                 : ": no examples"));
  }
  return set;
}

}  // namespace apps::finetune
