// What a byte-level BPE tokenizer consists of, wherever it was read from: tokenizer_json.hpp reads
// the files of Hugging Face, gguf_tokenizer.hpp the metadata of a GGUF file.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "../core/types.hpp"
#include "pre_tokenizer.hpp"

namespace preheat::text {

// A token that is found in a text as it is and is never cut or merged.
struct added_token {
  index_t id = 0;
  std::string text;
  bool special = true;      // <|im_end|> is; <tool_call> may be added without being special
  bool normalized = false;  // looked for after the text was normalized instead of before
};

struct byte_pair_model {
  std::vector<std::string>
      tokens;  // in the letters of their bytes, by number; "" where there is none
  std::vector<std::pair<std::string, std::string>> merges;  // the first is done first
  std::vector<added_token> added;  // their numbers may be those of equal tokens, or follow them
  pre_tokenizer_rule rule = pre_tokenizer_rule::gpt2;
  bool compose = false;         // the text is brought into NFC first
  bool ignore_merges = false;   // a piece that is a token is taken whole
  std::vector<index_t> before;  // `encode` puts these tokens before a text
  std::vector<index_t> after;   // and these after it
};

}  // namespace preheat::text
