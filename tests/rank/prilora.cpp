// PRILoRA: ranks on a line, and which entries of A are pruned, when, and for how long.
#include "prilora_support.hpp"
#include "support/backends.hpp"

using namespace conformance;
using namespace preheat;
using rank::prune_scope;

namespace {

using list = std::vector<index_t>;

list line(const rank::linear& ranks, index_t layers, index_t wanted) {
  list r;
  for (index_t l = 0; l < layers; ++l) {
    r.push_back(ranks.initial_rank(l, layers, wanted));
  }
  return r;
}
std::string refusal(const rank::linear& ranks, index_t layers, index_t wanted) {
  try {
    line(ranks, layers, wanted);
  } catch (const invalid_argument& error) {
    return error.what();
  }
  return "";
}

// PRILoRA whose pruning is called by hand.
prilora by_hand(prune_scope scope = prune_scope::row, double fraction = 0.5) {
  return {.optim = {.lr = 1e-2}, .rank = {.fraction = fraction, .every = 1 << 20, .scope = scope}};
}
template <class Run>
void prune_now(Run& run) {
  run.method.rank.every = run.steps_done();
  run.method.rank.on(hook::after_step{}, run);
  run.method.rank.every = 1 << 20;
}
template <class Run>
table mean_square(Run& run, index_t l) {
  using Be = typename Run::backend_type;
  return read<Be>(run.backend(), run.rank_state.mean_square[l]);
}
index_t zeros_of(const table& t) {
  return index_t(std::count(t.values.begin(), t.values.end(), 0.0));
}
list zeros_by_row(const table& A) {
  list zeros;
  for (index_t k = 0; k < A.rows; ++k) {
    zeros.push_back(zeros_of(row(A, k)));
  }
  return zeros;
}

}  // namespace

TEST_CASE("linear ranks: the published line is what rank 8 gives over twelve layers") {
  const list published{4, 5, 5, 6, 7, 8, 8, 9, 10, 11, 11, 12};
  CHECK(line({.first = 4, .last = 12, .budget = 96}, 12, 5) == published);
  CHECK(line({}, 12, 8) == published);
  CHECK(std::accumulate(published.begin(), published.end(), index_t(0)) == 96);

  regression_task<cpu_double> task(shape_list(12, {13, 14}));
  const auto run = task.start(prilora{}, {.rank = 8});
  for (index_t l = 0; l < 12; ++l) {
    CHECK(run.rank_of(l) == published[l]);
    CHECK(run.adapters.layers()[l].scaling == 16.0 / double(published[l]));
  }
  // Only adapted layers count.
  regression_task<cpu_double> other(pruned_shapes);
  const auto two =
      other.start(method<rank::linear>{.rank = {.first = 2, .last = 5}}, {.targets = {"l0", "l2"}});
  CHECK(two.rank_of(0) == 2);
  CHECK(two.rank_of(2) == 5);
}

TEST_CASE("linear ranks: ends, one layer, falling lines, rounding") {
  CHECK(line({.first = 3, .last = 7}, 1, 8) == list{7});
  CHECK(line({}, 1, 8) == list{12});
  CHECK(line({.first = 9, .last = 1}, 5, 8) == list{9, 7, 5, 3, 1});
  CHECK(line({.first = 6, .last = 6}, 3, 8) == list{6, 6, 6});
  CHECK(line({}, 3, 1) == list{1, 1, 1});
  CHECK(line({}, 3, 3) == list{1, 3, 5});
  for (index_t layers = 2; layers < 30; ++layers) {
    const list r = line({.first = 3, .last = 20}, layers, 1);
    CHECK(r.front() == 3);
    CHECK(r.back() == 20);
    for (index_t l = 0; l < layers; ++l) {
      const double exact = 3 + 17.0 * double(l) / double(layers - 1);
      CHECK(std::abs(double(r[l]) - exact) <= 0.5 + 1e-12);
    }
  }
}

TEST_CASE("linear ranks: the budget is asserted and ranks below one are refused") {
  CHECK(refusal({.first = 4, .last = 12, .budget = 96}, 12, 8) == "");
  const std::string error = refusal({.first = 4, .last = 12, .budget = 100}, 12, 8);
  CHECK(error.find("96") != std::string::npos);
  CHECK(error.find("100") != std::string::npos);
  CHECK(refusal({.first = 20}, 4, 8) != "");  // 20 to −4
  CHECK(refusal({.first = -1, .last = 5}, 4, 8) != "");
  CHECK(refusal({.first = 5, .last = -1}, 4, 8) != "");
  regression_task<cpu_double> task(pruned_shapes);
  CHECK_THROWS_AS(task.start(prilora{.rank = {.base = {.budget = 5}}}, {.rank = 3}),
                  invalid_argument);
  CHECK_THROWS_AS(task.start(prilora{.rank = {.fraction = 1}}, {.rank = 3}), invalid_argument);
  CHECK_THROWS_AS(task.start(prilora{.rank = {.fraction = -0.1}}, {.rank = 3}), invalid_argument);
  CHECK_THROWS_AS(task.start(prilora{.rank = {.beta = 1}}, {.rank = 3}), invalid_argument);
  CHECK_THROWS_AS(task.start(prilora{.rank = {.beta = -0.1}}, {.rank = 3}), invalid_argument);
  CHECK_THROWS_AS(task.start(prilora{.rank = {.every = 0}}, {.rank = 3}), invalid_argument);
}

TEST_CASE_TEMPLATE("pruning: so many entries of A go, and they are the least important", Be,
                   PREHEAT_BACKENDS) {
  for (const double fraction : {0.0, 0.1, 0.5, 0.75, 0.99}) {
    for (const auto scope : {prune_scope::row, prune_scope::matrix}) {
      CAPTURE(fraction);
      const bool by_row = scope == prune_scope::row;
      CAPTURE(by_row);
      regression_task<Be> task(pruned_shapes);
      auto run = task.start(by_hand(scope, fraction), {.rank = 4});
      take_steps(run, 3);
      std::vector<layer_ranks> expected = read_all_ranks(run);
      prune_now(run);
      for (index_t l = 0; l < 3; ++l) {
        prune(expected[l], by_row, fraction, mean_square(run, l));
        CHECK(gap(read_ranks(run, l), expected[l]) == 0);
        const table A = read_a(run, l);
        if (by_row) {
          CHECK(zeros_by_row(A) == list(std::size_t(A.rows), index_t(fraction * double(A.cols))));
        } else {
          CHECK(zeros_of(A) == index_t(fraction * double(A.rows * A.cols)));
        }
      }
    }
  }
}

TEST_CASE_TEMPLATE("pruning: with features of equal size it is magnitude pruning", Be,
                   PREHEAT_BACKENDS) {
  regression_data data(pruned_shapes);
  for (auto& one : data.layers) {
    one.X = mapped(one.X, [](double x) { return x < 0 ? -3.0 : 3.0; });
  }
  regression_task<Be> task(data);
  auto run = task.start(by_hand(), {.rank = 4});
  take_steps(run, 5);
  std::vector<layer_ranks> expected = read_all_ranks(run);
  prune_now(run);
  for (index_t l = 0; l < 3; ++l) {
    prune(expected[l], true, 0.5, table(pruned_shapes[l].second, 1, 1));
    CHECK(gap(read_ranks(run, l), expected[l]) == 0);
  }
}

TEST_CASE_TEMPLATE(
    "pruning: at equal weights the smallest feature goes first, then the lower index", Be,
    PREHEAT_BACKENDS) {
  regression_data data(pruned_shapes);
  for (auto& one : data.layers) {
    one.X = mapped(one.X, [](double x) { return x < 0 ? -1.0 : 1.0; });
    for (index_t j = 0; j < one.X.cols; ++j) {
      one.X(5, j) *= 1e-3;
    }
  }
  regression_task<Be> task(data);
  for (const auto scope : {prune_scope::row, prune_scope::matrix}) {
    auto run = task.start(by_hand(scope, 0.35), {.rank = 4});  // layer 1: 4×8
    take_steps(run, 1);
    table A(4, 8, 0.5);
    A(2, 3) = -0.5;
    write<Be>(task.be, A, view_of<Be>(run.adapters.layers()[1].parameters.A));
    prune_now(run);
    // Row: feature 5 and the first of the others. Matrix: feature 5 and 7 more, column by column.
    const index_t others = scope == prune_scope::row ? 4 : 7;
    for (index_t k = 0; k < 4; ++k) {
      A(k, 5) = 0;
    }
    std::fill_n(A.values.begin(), others, 0.0);
    CHECK(same(read_a(run, 1), A));
  }
}

TEST_CASE_TEMPLATE("pruning: what is remembered of the input is its moving mean square", Be,
                   PREHEAT_BACKENDS) {
  for (const double beta : {0.9, 0.4, 0.0}) {
    for (const index_t accumulate : {1, 2}) {
      regression_task<Be> task(pruned_shapes);
      prilora method = by_hand();
      method.rank.beta = beta;
      const fit_options options{.rank = 4,
                                .targets = {"l0", "l1"},
                                .accumulate = accumulate,
                                .dropout = 0.3,        // the adapter_input's business
                                .evaluate_every = 1};  // evaluation is not training
      auto run = task.start(method, options);
      for (index_t steps = 1; steps <= 5; ++steps) {
        run.step();
        const index_t batches = steps * accumulate;
        for (index_t l = 0; l < 2; ++l) {
          const table& X = task.data.layers[l].X;
          // β^(k−1)·s₁ + (1 − β)·Σ_{i>1} β^(k−i)·s_i
          table closed =
              std::pow(beta, double(batches - 1)) * mean_squares(X, regression_data::batch(0));
          for (index_t i = 1; i < batches; ++i) {
            closed = closed + (1 - beta) * std::pow(beta, double(batches - 1 - i)) *
                                  mean_squares(X, regression_data::batch(i));
          }
          CHECK(gap(mean_square(run, l), closed) < tolerance<Be>(1) * largest(closed));
        }
        CHECK(mean_square(run, 2).rows == 0);
      }
    }
  }
}
