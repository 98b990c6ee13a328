// How a byte-level tokenizer cuts a text before it merges bytes; nothing is merged across a cut.
//
// gpt2: contractions, a space with a word, with a number or with marks, and blanks of which the last
// is left to the next word. smollm: single digits first, then each part as gpt2 does. llama3:
// any one character but a letter, a digit or a line end belongs to the word after it, numbers have at
// most three digits. qwen2: the same with single digits.
#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "split_pattern.hpp"

namespace preheat::text {

enum class pre_tokenizer_rule { gpt2, smollm, llama3, qwen2 };

class pre_tokenizer {
 public:
  explicit pre_tokenizer(pre_tokenizer_rule rule) {
    if (rule == pre_tokenizer_rule::smollm) {
      const std::string digit =
          "[" + std::string(detail::numbers) + std::string(detail::numbers_since_unicode_16) + "]";
      steps_.emplace_back(digit);
    }
    steps_.emplace_back(rule == pre_tokenizer_rule::llama3  ? patterns::llama3
                        : rule == pre_tokenizer_rule::qwen2 ? patterns::qwen2
                                                            : patterns::gpt2);
  }

  // Calls use(piece) for every piece of UTF-8 text, from first to last.
  template <class Use>
  void for_each_piece(std::string_view text, Use&& use) const {
    if (steps_.size() == 1) {
      steps_[0].for_each_piece(text, use);
    } else {
      // A part is a text of its own: a blank at its end is not followed by what comes after it.
      steps_[0].for_each_piece(text,
                               [&](std::string_view part) { steps_[1].for_each_piece(part, use); });
    }
  }

 private:
  std::vector<split_pattern> steps_;
};

}  // namespace preheat::text
