// XGBLoRA's boosters: random subsets of the layers, one rank each, and what that leaves of W.
#include <map>
#include <set>
#include <string>

#include "chain_support.hpp"

using namespace conformance;
using namespace preheat;

TEST_CASE_TEMPLATE("boost: W changes at the merge of a layer's own booster, by one rank", Be,
                   PREHEAT_BACKENDS) {
  chain_problem<Be> p(four_layers);
  const auto start = p.net.weights();
  auto run = start_run(boosters(2), p.net, p.batches, settings());
  auto W = start;
  std::vector<index_t> times(4, 0);
  std::vector<bool> trained(4, false);
  while (!run.done()) {
    const bool border = run.steps_done() % period == 0;
    run.step();
    const auto now = p.net.weights();
    index_t chosen = 0;
    for (std::size_t l = 0; l < 4; ++l) {
      CHECK(same(now[l], W[l]) == !(border && trained[l]));
      trained[l] = run.adapters.layers()[l].attached;
      times[l] += border && trained[l];
      chosen += trained[l];
      CHECK((!trained[l] || run.rank_of(index_t(l)) == 1));
    }
    CHECK(chosen == 2);
    W = now;
  }
  CHECK(times[0] + times[1] + times[2] + times[3] == 4 * 2);
  std::vector<table> expected;
  for (std::size_t l = 0; l < 4; ++l) {
    expected.push_back(p.whole(run, l));
  }
  // The last booster, of two steps, is merged too.
  const auto report = run.finish();
  for (std::size_t l = 0; l < 4; ++l) {
    CAPTURE(l);
    const table now = p.net.weights()[l];
    CHECK(gap(now, expected[l]) < tolerance<Be>(4));
    CHECK(same(now, W[l]) == !trained[l]);
    const auto sigma = singular_values(p.be, now - start[l]);
    CHECK(count_above(sigma, tolerance<Be>(16)) == std::min(times[l], index_t(sigma.size())));
    CHECK((times[l] > 0 || same(now, start[l])));
    CHECK_FALSE(report.layers[l].attached);
  }
  CHECK(report.base_changed);
}

TEST_CASE("boost: layers that no booster had keep W bitwise") {
  chain_problem<cpu_double> p(four_layers);
  const auto start = p.net.weights();
  std::set<index_t> had;
  auto run = start_run(boosters(1), p.net, p.batches, settings());
  p.batches.at_draw = [&](index_t) {
    for (index_t l = 0; l < 4; ++l) {
      if (run.adapters.layers()[l].attached) {
        had.insert(l);
      }
    }
  };
  run.run_to_end();
  for (index_t l = 0; l < 4; ++l) {
    CHECK(same(p.net.weights()[l], start[l]) == !had.count(l));
  }
}

TEST_CASE("boost: subsets of the targets, all equally often, and others in another run") {
  chain_problem<cpu_double> p({{2, 3}, {3, 2}, {2, 2}, {3, 3}, {2, 3}});
  fit_options options{.rank = 1, .steps = 240};
  options.targets = {"l0", "l1", "l3", "l4"};
  const auto pairs_of = [&](std::uint64_t seed) {
    options.seed = seed;
    auto run = start_run(xgblora{.optim = {.lr = 1e-3}, .chain = {.period = 1, .layers = 2}}, p.net,
                         p.batches, options);
    std::vector<std::vector<index_t>> all;
    p.batches.at_draw = [&](index_t) {
      all.emplace_back();
      for (index_t l = 0; l < 5; ++l) {
        if (run.adapters.layers()[l].attached) {
          all.back().push_back(l);
        }
      }
    };
    run.run_to_end();
    return all;
  };
  const auto pairs = pairs_of(0);
  std::map<std::vector<index_t>, int> count;
  for (const auto& pair : pairs) {
    ++count[pair];
  }
  // Six pairs without layer 2, each Binomial(240, 1/6): 40, and five standard deviations are 29.
  CHECK(count.size() == 6);
  for (const auto& [pair, often] : count) {
    CHECK(pair.size() == 2);
    CHECK(std::count(pair.begin(), pair.end(), 2) == 0);
    CHECK(std::abs(often - 40) < 29);
  }
  CHECK(pairs_of(0) == pairs);
  CHECK(pairs_of(1) != pairs);
}

TEST_CASE("boost: a rank of its own, and its parameters are those of the first booster") {
  chain_problem<cpu_double> p({{5, 4}, {5, 4}, {5, 4}});
  const auto report = fit(boosters(2), p.net, p.batches, settings(3));
  CHECK(report.trainable_parameters == 2 * (5 + 4));
  xgblora wider = boosters(2);
  wider.rank.value = 2;
  CHECK(fit(wider, p.net, p.batches, settings(3)).trainable_parameters == 2 * 2 * (5 + 4));
}

TEST_CASE("boost: more layers than may be adapted are refused") {
  chain_problem<cpu_double> p(four_layers);
  const auto refused = [&](index_t layers, const fit_options& options) {
    std::string words;
    try {
      fit(boosters(layers), p.net, p.batches, options);
    } catch (const invalid_argument& error) {
      words = error.what();
    }
    CHECK(words.find("layers of a booster") != std::string::npos);
  };
  fit_options three = settings();
  three.targets = {"l0", "l1", "l2"};
  refused(5, settings());
  refused(-1, settings());
  refused(4, three);
  CHECK_NOTHROW(fit(boosters(3), p.net, p.batches, three));
}
