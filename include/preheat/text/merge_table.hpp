// The merges of byte-pair encoding: which two neighbouring tokens become one, and which pair first.
//
// The pair of lowest rank is merged first, the leftmost of equals; then the pairs that its neighbours
// form with the new token compete too, until no pair is in the table. Pairs wait in a heap and tokens
// in a linked list, so n tokens cost O(n log n), however long a piece without blanks is.
//
// Source: Sennrich et al., arXiv 1508.07909; the order is that of `tokenizers`.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

namespace preheat::text::detail {

using token_id = std::int32_t;

class merge_table {
 public:
  // What a call of `apply` works in: kept between calls, so that they allocate nothing.
  class workspace {
    friend class merge_table;
    struct node {
      token_id token;
      std::int32_t previous, next;  // places; -1: none
    };
    struct candidate {
      std::uint32_t rank;
      std::int32_t place;  // of the left token
      token_id left, right, result;
      // The heap's top is the largest.
      bool operator<(const candidate& other) const {
        return rank != other.rank ? rank > other.rank : place > other.place;
      }
    };
    std::vector<node> nodes_;
    std::vector<candidate> heap_;
  };

  // Returns whether the pair is new; one that is not stays as it was. Ranks are 0, 1, 2, … in the
  // order of the calls.
  bool add(token_id left, token_id right, token_id result) {
    return merges_.emplace(key(left, right), merge{std::uint32_t(merges_.size()), result}).second;
  }
  std::size_t size() const { return merges_.size(); }

  // Merges the tokens of one piece, in place.
  void apply(std::vector<token_id>& tokens, workspace& work) const {
    auto& nodes = work.nodes_;
    nodes.clear();
    work.heap_.clear();
    const auto count = std::int32_t(tokens.size());
    for (std::int32_t i = 0; i < count; ++i) {
      nodes.push_back({tokens[std::size_t(i)], i - 1, i + 1 < count ? i + 1 : -1});
    }
    for (std::int32_t i = 0; i + 1 < count; ++i) {
      propose(i, work);
    }
    while (!work.heap_.empty()) {
      std::pop_heap(work.heap_.begin(), work.heap_.end());
      const workspace::candidate best = work.heap_.back();
      work.heap_.pop_back();
      auto& left = nodes[std::size_t(best.place)];
      if (left.token != best.left || left.next < 0 ||
          nodes[std::size_t(left.next)].token != best.right) {
        continue;  // one of the two was merged meanwhile
      }
      auto& right = nodes[std::size_t(left.next)];
      left.token = best.result;
      left.next = right.next;
      right.token = gone;
      if (left.next >= 0) {
        nodes[std::size_t(left.next)].previous = best.place;
        propose(best.place, work);
      }
      if (left.previous >= 0) {
        propose(left.previous, work);
      }
    }
    tokens.clear();
    for (const auto& node : nodes) {
      if (node.token != gone) {
        tokens.push_back(node.token);
      }
    }
  }

 private:
  static constexpr token_id gone = -1;
  struct merge {
    std::uint32_t rank;
    token_id result;
  };

  static std::uint64_t key(token_id left, token_id right) {
    return std::uint64_t(std::uint32_t(left)) << 32 | std::uint32_t(right);
  }

  // Puts the token at this place and the next one into the heap, if they can be merged.
  void propose(std::int32_t place, workspace& work) const {
    const auto& left = work.nodes_[std::size_t(place)];
    const auto& right = work.nodes_[std::size_t(left.next)];
    const auto found = merges_.find(key(left.token, right.token));
    if (found != merges_.end()) {
      work.heap_.push_back(
          {found->second.rank, place, left.token, right.token, found->second.result});
      std::push_heap(work.heap_.begin(), work.heap_.end());
    }
  }

  std::unordered_map<std::uint64_t, merge> merges_;
};

}  // namespace preheat::text::detail
