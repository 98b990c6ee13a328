// The rule that chooses among ways to preheat, and their identifiers.
#include "studies/map/choice.hpp"

#include <doctest/doctest.h>

#include <set>
#include <string>
#include <vector>

TEST_CASE("map: the cheapest scored_config within a standard error of the best is chosen") {
  using studies::map::scored_config;
  const std::vector<scored_config> ranked = {
      {.rank = 64, .share = 0.1, .score = -0.30, .standard_error = 0.02},
      {.rank = 32, .share = 0.03, .score = -0.29, .standard_error = 0.01},
      {.rank = 8, .share = 0.03, .score = -0.281, .standard_error = 0.5},
      {.rank = 2, .share = 0.03, .score = -0.279, .standard_error = 0.5},
      {.rank = 2, .share = 0.01, .score = -0.10, .standard_error = 0.5}};
  CHECK(studies::map::choose(ranked).rank == 8);
  CHECK(studies::map::choose({ranked[0]}).rank == 64);
}

TEST_CASE("map: every start_config has its own identifier") {
  using namespace studies::map;
  const start_config a{.rank = 8, .steps = 2};
  start_config b = a;
  b.row_norm = 2;
  start_config c = a;
  c.preheating = preheating_kind::classic;
  start_config d = c;
  d.side = singular_side::left;
  const std::set<std::string> ids = {id_of(a), id_of(b), id_of(c), id_of(d),
                                     id_of({.from = start::orthonormal})};
  CHECK(ids.size() == 5);
}
