// Files of examples as tokens with labels. What a line of JSONL may be:
//
//   {"prompt": "…", "completion": "…"}                     the completion counts, with the end of text
//   {"messages": [{"role": "user", "content": "…"}, …]}    what the assistant says counts
//   {"text": "…"}                                          every token counts
//
//   {"text": "…", "label": "…"}                            for an encoder: a text and its class
//
// A file that ends in .txt is a text, in .safetensors the tensors input_ids and labels (and, where rows are
// padded, attention_mask). Prompt and completion are made into tokens apart, as when the model answers.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "model.hpp"

namespace apps::finetune {

struct example {
  std::vector<index_t> ids;
  std::vector<index_t> labels;  // the id, or nn::not_counted; none for an encoder
  index_t category = -1;        // the number of its class, for an encoder

  // What a loss has of it: labels, of which the first token is predicted from nothing, or its class.
  index_t counted() const;
};

enum class too_long { cut, drop, split };

struct reading_options {
  index_t seq = 512;  // the most tokens of an example
  too_long longer = too_long::cut;
  bool count_all = false;  // prompts count too
  std::string chat;        // a form to take instead of the model's
};

struct example_set {
  std::vector<example> examples;
  std::size_t cut = 0;      // examples that lost their end
  std::size_t dropped = 0;  // that were too long, or that had no counted token left
  std::size_t split = 0;    // texts that became several
  index_t tokens = 0;
  index_t counted = 0;
  std::vector<std::size_t> of_class;  // examples, for an encoder
  std::uint64_t hash = 0;             // of the file's bytes

  // "1000 examples, 24313 tokens, 14000 of them count; 3 cut to 512, 2 dropped". For an encoder:
  // "… 24313 tokens; bad 480, good 520; 3 cut to 512"
  std::string describe(const reading_options& o, const class_list& classes) const;
};

// The classes that the labels of a training file name: names in the order of the alphabet, or numbers from 0 on.
// Errors: io_error: naming the file and the line: a label of another type, or of both types; a number without
// an example; fewer than two classes.
class_list find_classes(const std::filesystem::path& path);

// Errors: io_error: naming the file and the line, for what is not understood; a file without examples, or
// without a token that counts; for an encoder, a label that is none of the model's classes.
example_set read_examples(const std::filesystem::path& path, const base_model& model,
                          const reading_options& o);

}  // namespace apps::finetune
