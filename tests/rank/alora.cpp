// ALoRA's importance of a rank on tables, and the choice of what goes and what comes: shares, ties,
// layers that are full, lost or left out.
#include "alora_support.hpp"
#include "support/backends.hpp"

using namespace conformance;
using namespace preheat;

namespace {

// What rounding may do to a difference of losses.
template <class Be, class Task>
double loss_tolerance(Task& task, double score) {
  return tolerance<Be>(index_t(task.data.layers.size())) * (1 + std::abs(score));
}

}  // namespace

TEST_CASE_TEMPLATE("alora: importance is what absence costs and what presence alone gives", Be,
                   PREHEAT_BACKENDS) {
  regression_task<Be> task(shapes);
  auto run = task.start(by_hand(), {.rank = 3, .steps = 4, .evaluate_every = 100});
  take_steps(run, 1);
  randomize(run);
  const double whole = score(task.data, read_all_ranks(run), 2, task.validation);
  CHECK(-run.validation_loss() == doctest::Approx(whole).epsilon(loss_tolerance<Be>(task, 0)));
  const double before = run.validation_loss();

  const auto expected = importances(task.data, read_all_ranks(run), 2, task.validation);
  const auto scores = run.method.rank.importance(run);
  const double tol = 4 * loss_tolerance<Be>(task, whole);
  REQUIRE(scores.size() == 9);
  for (std::size_t i = 0; i < scores.size(); ++i) {
    CAPTURE(i);
    CHECK(scores[i].layer == expected[i].layer);
    CHECK(scores[i].rank == expected[i].rank);
    CHECK(std::abs(scores[i].importance - expected[i].importance) < tol);
    CHECK(std::abs(expected[i].importance - whole) > 2 * tol);  // the terms are seen
    CHECK(std::abs(expected[i].without - whole) > 2 * tol);
  }
  CHECK(gates_are_open(run));
  CHECK(run.validation_loss() == before);

  // The constant S(M) changes no order.
  std::vector<std::size_t> by_library(scores.size());
  std::iota(by_library.begin(), by_library.end(), std::size_t(0));
  std::vector<std::size_t> by_table = by_library;
  std::sort(by_library.begin(), by_library.end(), [&](std::size_t x, std::size_t y) {
    return scores[x].importance < scores[y].importance;
  });
  const auto rest = [&](std::size_t i) { return expected[i].alone - expected[i].without; };
  std::sort(by_table.begin(), by_table.end(),
            [&](std::size_t x, std::size_t y) { return rest(x) < rest(y); });
  for (std::size_t i = 0; i + 1 < by_table.size(); ++i) {
    CHECK(rest(by_table[i + 1]) - rest(by_table[i]) > 2 * tol);  // no order is rounding
  }
  CHECK(by_library == by_table);
  CHECK(run.finish().validation_passes == 3 + 1 + 2 * 9);
}

TEST_CASE_TEMPLATE("alora: a rank whose column of B is zero costs nothing when it goes", Be,
                   PREHEAT_BACKENDS) {
  regression_task<Be> task(shapes);
  auto run = task.start(by_hand(), {.rank = 3, .steps = 4});
  take_steps(run, 1);
  randomize(run);
  layer_ranks ranks = read_ranks(run, 1);
  ranks[2].b = table(11, 1);
  write_ranks(run, 1, ranks);
  base_operator<Be> base(task.net);
  const double base_loss = double(task.net.loss(task.validation, base));
  const auto scores = run.method.rank.importance(run);
  // S(M) − S(M∖r) = 0, to the bit, and alone it is the base.
  CHECK(scores[5].layer == 1);
  CHECK(scores[5].rank == 2);
  CHECK(scores[5].importance == -base_loss);
  for (const std::size_t other : {3, 4, 6}) {
    CHECK(scores[other].importance != -base_loss);
  }
}

TEST_CASE_TEMPLATE("alora: importance is taken in evaluation mode, whatever the dropout", Be,
                   PREHEAT_BACKENDS) {
  const auto scores_at = [](double dropout) {
    regression_task<Be> task(shapes);
    auto run = task.start(by_hand(), {.rank = 2, .steps = 4, .dropout = dropout});
    take_steps(run, 2);
    randomize(run);
    std::vector<double> scores;
    for (const auto& s : run.method.rank.importance(run)) {
      scores.push_back(s.importance);
    }
    return scores;
  };
  CHECK(scores_at(0.5) == scores_at(0));
}

TEST_CASE("alora: shares are equal, the first get the remainder, the next takes an excess") {
  const auto shares = [](index_t count, const std::vector<index_t>& room) {
    return rank::ablation::shares(count, room);
  };
  using list = std::vector<index_t>;
  CHECK(shares(8, {9, 9, 9}) == list{3, 3, 2});
  CHECK(shares(9, {9, 9, 9}) == list{3, 3, 3});
  CHECK(shares(2, {9, 9, 9}) == list{1, 1, 0});
  CHECK(shares(8, {1, 9, 9}) == list{1, 5, 2});
  CHECK(shares(8, {9, 0, 9}) == list{3, 0, 5});
  CHECK(shares(8, {9, 9, 0}) == list{5, 3, 0});  // past the end, the first again
  CHECK(shares(8, {3, 9, 0}) == list{3, 5, 0});
  CHECK(shares(8, {1, 2, 1}) == list{1, 2, 1});
  CHECK(shares(4, {}) == list{});
  generator gen(1);
  for (int draw = 0; draw < 200; ++draw) {
    const index_t count = gen.below(20);
    list room(std::size_t(1 + gen.below(5)));
    for (index_t& r : room) {
      r = gen.below(8);
    }
    const list given = shares(count, room);
    index_t sum = 0;
    for (std::size_t i = 0; i < room.size(); ++i) {
      CHECK((0 <= given[i] && given[i] <= room[i]));
      sum += given[i];
    }
    CHECK(sum == std::min(count, std::accumulate(room.begin(), room.end(), index_t(0))));
  }
}

TEST_CASE_TEMPLATE("alora: ties go by layer, then by rank", Be, PREHEAT_BACKENDS) {
  regression_task<Be> task(shapes);
  {  // all importances are those of the base: ranks 0, 1 of layer 0 and rank 0 of layer 1 go
    auto run = task.start(by_hand(), {.rank = 2, .steps = 4});
    take_steps(run, 1);
    clear_b(run);
    const layer_ranks before = read_ranks(run, 1);
    round_now(run);
    CHECK(all_ranks(run) == std::vector<index_t>{0, 1, 5});
    CHECK(same(read_ranks(run, 1)[0].a, before[1].a));
  }
  {  // the remainder of equal means goes to the lower layer
    auto run = task.start(by_hand(), {.rank = 4, .steps = 4});
    take_steps(run, 1);
    clear_b(run);
    const layer_ranks before = read_ranks(run, 0);
    round_now(run);
    CHECK(all_ranks(run) == std::vector<index_t>{1, 6, 5});
    CHECK(same(read_ranks(run, 0)[0].a, before[3].a));
  }
}

TEST_CASE_TEMPLATE("alora: layers that lost nothing gain in the order of their mean importance", Be,
                   PREHEAT_BACKENDS) {
  const auto after_round = [](const shape_list& of) {
    regression_task<Be> task(of);
    auto run = task.start(by_hand(), {.rank = 4, .steps = 4});
    take_steps(run, 1);
    clear_b(run);
    make_helpful(task, run, 1, 0, 0.01);
    make_helpful(task, run, 2, 0, 0.1);
    round_now(run);
    return all_ranks(run);
  };
  CHECK(after_round(shapes) == std::vector<index_t>{1, 5, 6});
  // One that is full, or nearly, hands on.
  CHECK(after_round({{9, 12}, {11, 8}, {5, 10}}) == std::vector<index_t>{1, 6, 5});
  CHECK(after_round({{9, 12}, {11, 8}, {10, 4}}) == std::vector<index_t>{1, 7, 4});
  CHECK(after_round({{9, 12}, {11, 4}, {10, 10}}) == std::vector<index_t>{1, 4, 7});
  CHECK(after_round({{9, 12}, {4, 8}, {5, 5}}) == std::vector<index_t>{1, 4, 5});
}

// Layer 1 has more ranks than layer 2, so the sum of its (negative) importances is the lower one.
TEST_CASE_TEMPLATE("alora: it is the mean of a layer that counts, not the sum", Be,
                   PREHEAT_BACKENDS) {
  regression_task<Be> task(shapes);
  auto run = task.start(by_hand(), {.rank = 4, .steps = 4});
  take_steps(run, 1);
  clear_b(run);
  run.select_ranks(1, {0, 1, 2, 3}, 1);
  run.select_ranks(2, {0, 1, 2}, 0);
  make_helpful(task, run, 1, 0, 0.1);
  make_helpful(task, run, 2, 0, 0.01);
  round_now(run);
  CHECK(all_ranks(run) == std::vector<index_t>{1, 7, 4});
}

TEST_CASE_TEMPLATE("alora: as many ranks move as there are adapted layers", Be, PREHEAT_BACKENDS) {
  regression_task<Be> task(shapes);
  auto run = task.start(by_hand(), {.rank = 2, .steps = 4, .targets = {"l0", "l2"}});
  take_steps(run, 1);
  clear_b(run);
  round_now(run);
  CHECK(all_ranks(run) == std::vector<index_t>{0, 4});
  CHECK_FALSE(run.adapters.layers()[1].attached);
}

// H = A·X has more rows, and B·H a longer inner dimension, so a BLAS may round otherwise.
TEST_CASE_TEMPLATE("alora: adding ranks leaves the output alone", Be, PREHEAT_BACKENDS) {
  regression_task<Be> task(shapes);
  auto run = task.start(by_hand(), {.rank = 3, .steps = 4});
  randomize(run);
  const mat<Be> X = matrix(task.be, task.data.layers[0].X);
  run.adapters.begin(pass_kind::evaluation);
  const table before = read<Be>(task.be, run.adapters.forward(0, X));
  run.select_ranks(0, {0, 1, 2}, 4);
  CHECK(run.rank_of(0) == 7);
  run.adapters.begin(pass_kind::evaluation);
  CHECK(gap(read<Be>(task.be, run.adapters.forward(0, X)), before) <
        tolerance<Be>(1) * largest(before));
}

TEST_CASE("alora: settings that are no steps are refused") {
  regression_task<cpu_double> task(shapes);
  auto run = task.start(alora{.rank = {.first = 0}}, {.rank = 2});
  CHECK_THROWS_AS(run.step(), invalid_argument);
  auto other = task.start(alora{.rank = {.every = 0}}, {.rank = 2});
  CHECK_THROWS_AS(other.step(), invalid_argument);
}

TEST_CASE_TEMPLATE("rank change: a layer with nothing kept is detached, unless ranks are added", Be,
                   PREHEAT_BACKENDS) {
  regression_task<Be> task(shapes);
  auto run = task.start(lora{.optim = {.lr = 1e-2}}, {.rank = 3, .steps = 6});
  take_steps(run, 3);
  run.select_ranks(0, {}, 0);
  run.select_ranks(1, {}, 2);
  CHECK(all_ranks(run) == std::vector<index_t>{0, 2, 3});
  CHECK_FALSE(run.adapters.layers()[0].attached);
  CHECK(run.adapters.layers()[1].attached);
  CHECK(run.adapters.first_trained() == 1);
  CHECK(largest(read_ranks(run, 1)[1].b) == 0);
  CHECK_THROWS_AS(run.select_ranks(0, {}, 2), invalid_argument);
  CHECK_THROWS_AS(run.select_ranks(2, {3}, 0), invalid_argument);
  // Both layers give what the base gives.
  const std::vector<layer_ranks> none{{}, {}, read_ranks(run, 2)};
  const double loss = -score(task.data, none, 2, task.validation);
  CHECK(std::abs(run.validation_loss() - loss) < tolerance<Be>(3) * loss);
  const auto report = run.run_to_end();
  CHECK(report.layers[0].rank == 0);
  CHECK_FALSE(report.layers[0].attached);
  CHECK(largest(read<Be>(task.be, report.layers[1].parameters.B)) > 0);
}
