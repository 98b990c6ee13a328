// A way to preheat, what it scored, and the rule that chooses one.
#pragma once
#include <vector>

#include "start_config.hpp"

namespace studies::map {

struct scored_config {
  start_config kind{};
  int rank = 0;
  double share = 0;
  // log of the validation loss over the reference's: the mean over the setups that decide, its mean
  // over bases, and the standard error of that.
  double score = 0;
  double standard_error = 0;
};
// Of those within a standard error of the best, the one of the fewest preheating steps, then of the
// lowest rank, then the best. `ranked` is not empty, best first.
inline scored_config choose(const std::vector<scored_config>& ranked) {
  const scored_config& best = ranked.front();
  scored_config chosen = best;
  for (const scored_config& c : ranked) {
    const bool cheaper =
        c.share < chosen.share || (c.share == chosen.share && c.rank < chosen.rank);
    if (c.score <= best.score + best.standard_error && cheaper) {
      chosen = c;
    }
  }
  return chosen;
}

}  // namespace studies::map
