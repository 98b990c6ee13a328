// Finds the tokens that a text may contain as they are ("<|im_end|>"): the leftmost, and of several
// at one place the longest.
#pragma once
#include <array>
#include <cstddef>
#include <set>
#include <string>
#include <string_view>

#include "../core/types.hpp"
#include "string_table.hpp"

namespace preheat::text::detail {

class token_finder {
 public:
  struct found_token {
    std::size_t place;  // npos: none
    std::size_t length;
    index_t id;
  };

  // The token is not empty. Of two equal ones the first is kept.
  void add(const std::string& token, index_t id) {
    ids_.emplace(token, id);
    lengths_.insert(token.size());
    begins_[static_cast<unsigned char>(token[0])] = true;
  }
  bool empty() const { return ids_.empty(); }

  // Cost: one pass, and where a token may begin one look-up for every length that tokens have.
  found_token next(std::string_view text) const {
    for (std::size_t place = 0; place < text.size(); ++place) {
      if (!begins_[static_cast<unsigned char>(text[place])]) {
        continue;
      }
      for (auto length = lengths_.rbegin(); length != lengths_.rend(); ++length) {
        if (*length <= text.size() - place) {
          const auto found = ids_.find(text.substr(place, *length));
          if (found != ids_.end()) {
            return {place, *length, found->second};
          }
        }
      }
    }
    return {std::string_view::npos, 0, 0};
  }

  // Calls use_token(id) and use_text(part) for all that a text consists of, from left to right.
  template <class UseToken, class UseText>
  void cut(std::string_view text, UseToken&& use_token, UseText&& use_text) const {
    while (!text.empty()) {
      const found_token found = next(text);
      const std::string_view before = text.substr(0, found.place);
      if (!before.empty()) {
        use_text(before);
      }
      if (found.place == std::string_view::npos) {
        return;
      }
      use_token(found.id);
      text.remove_prefix(found.place + found.length);
    }
  }

 private:
  string_table<index_t> ids_;
  std::set<std::size_t> lengths_;
  std::array<bool, 256> begins_{};
};

}  // namespace preheat::text::detail
