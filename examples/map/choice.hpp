// A way to preheat, what it scored, and the rule that chooses one.
#pragma once
#include <vector>

#include "cell.hpp"

namespace preheat_map {

struct candidate {
  cell kind{};
  int rank = 0;
  double share = 0;
  // log of the validation loss over the reference's: the mean over the places that choose, its mean
  // over bases, and the standard error of that.
  double score = 0;
  double standard_error = 0;
};
// Of those within a standard error of the best, the one of the fewest preheating steps, then of the
// lowest rank, then the best. `ranked` is not empty, best first.
inline candidate choose(const std::vector<candidate>& ranked) {
  const candidate& best = ranked.front();
  candidate chosen = best;
  for (const candidate& c : ranked) {
    const bool cheaper =
        c.share < chosen.share || (c.share == chosen.share && c.rank < chosen.rank);
    if (c.score <= best.score + best.standard_error && cheaper) {
      chosen = c;
    }
  }
  return chosen;
}

}  // namespace preheat_map
