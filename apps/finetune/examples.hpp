// Files of examples as tokens with labels. What a line of JSONL may be:
//
//   {"prompt": "…", "completion": "…"}                     the completion counts, with the end of text
//   {"messages": [{"role": "user", "content": "…"}, …]}    what the assistant says counts
//   {"text": "…"}                                          every token counts
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
  std::vector<index_t> labels;  // the id, or nn::not_counted

  index_t counted() const;  // labels that a loss has: the first token is predicted from nothing
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
  std::uint64_t hash = 0;  // of the file's bytes

  // "1000 examples, 24313 tokens, 14000 of them count; 3 cut to 512, 2 dropped"
  std::string describe(const reading_options& o) const;
};

// Errors: io_error: naming the file and the line, for what is not understood; a file without examples, or
// without a token that counts.
example_set read_examples(const std::filesystem::path& path, const base_model& model,
                          const reading_options& o);

}  // namespace apps::finetune
