// RM-LoRA: the regularizer's gradient against central differences of the penalty, and the mask of
// ranks, step by step and over every base optimizer. Runs are in rm_lora_runs.cpp.
#include <preheat/methods.hpp>
#include <set>

#include "sparse_support.hpp"
#include "support/backends.hpp"

using namespace conformance;
using namespace preheat;

namespace {

using gated = adapter::gated<>;
template <class Be>
using lora_params = adapter::lora::params<Be>;

// A network of 3 trained As and 2 trained Bs.
step_context five_matrices() {
  step_context context = context_of(3);
  context.matrices[int(parameter_role::A)] = 3;
  context.matrices[int(parameter_role::B)] = 2;
  context.matrices[int(parameter_role::gate)] = 7;
  return context;
}

// What optim::regularized adds to a gradient that was `before`.
template <class Be>
lora_params<Be> added(Be& be, const lora_params<Be>& p, double lambda) {
  lora_params<Be> g = zeros_like(be, p);
  optim::regularized<>{.lambda = lambda}.on(hook::penalize{}, be, p, g, five_matrices());
  return g;
}

// Central differences of share·‖C − I‖_F.
table differences(const table& x, bool ranks_are_rows, double share) {
  const double h = 1e-5;
  table d = x;
  for (std::size_t i = 0; i < x.values.size(); ++i) {
    table up = x;
    table down = x;
    up.values[i] += h;
    down.values[i] -= h;
    d.values[i] = share * (penalty(up, ranks_are_rows) - penalty(down, ranks_are_rows)) / (2 * h);
  }
  return d;
}

// The ranks (rows, or columns) in which two tables differ.
std::set<index_t> moved(const table& a, const table& b, bool ranks_are_rows) {
  std::set<index_t> ranks;
  for (index_t j = 0; j < a.cols; ++j) {
    for (index_t i = 0; i < a.rows; ++i) {
      if (a(i, j) != b(i, j)) {
        ranks.insert(ranks_are_rows ? i : j);
      }
    }
  }
  return ranks;
}

// Which ranks of A and B a masked step at rate 1 from zero moves; what moves is minus the gradient.
struct seen {
  std::set<index_t> a, b;
};
template <class Adapter = adapter::lora, class Be>
seen ranks_seen(Be& be, const optim::masked<optim::sgd>& optim, index_t step) {
  auto p = random_params<Adapter>(be, 1);
  for_each([&](auto, auto& x) { be.fill(0, x); }, p);
  auto g = random_gradient<Adapter>(be, 2);
  const auto full = clone_params(be, g);
  auto state = optim.start(be, p);
  optim.step(be, p, g, state, context_of(step, 1));
  seen result;
  for_each_trained(
      [&](auto parameter, const auto& x, const auto& gradient) {
        const table now = read<Be>(be, x);
        const table wanted = -1.0 * read<Be>(be, gradient);
        if constexpr (parameter.role == parameter_role::A || parameter.role == parameter_role::B) {
          constexpr bool rows = parameter.role == parameter_role::A;
          std::set<index_t>& mine = rows ? result.a : result.b;
          mine = moved(now, table(now.rows, now.cols), rows);
          for (const index_t k : moved(now, wanted, rows)) {
            CHECK(!mine.contains(k));
          }
        } else {
          CHECK(same(now, wanted));
        }
      },
      p, full);
  return result;
}

// Masked ranks over a base optimizer: frozen they stay bitwise where they are, otherwise momentum
// and decay move them; kept ranks and the base's state do not know the difference.
template <class Be, class Base>
void check_freezing(const Base& base) {
  Be be;
  auto loose = random_params<adapter::lora>(be, 3);
  auto frozen = random_params<adapter::lora>(be, 3);
  const optim::masked<Base> moving{.base = base, .keep = 2};
  const optim::masked<Base> freezing{.base = base, .keep = 2, .freeze_masked = true};
  auto loose_state = moving.start(be, loose);
  auto frozen_state = freezing.start(be, frozen);
  for (index_t t = 0; t < 4; ++t) {
    const auto before = clone_params(be, frozen);
    for_each_trained([&](auto, auto& x, const auto& y) { be.copy(transpose::no, y, x); }, loose,
                     before);
    auto g = random_gradient<adapter::lora>(be, std::uint64_t(4 + t));
    auto h = clone_params(be, g);
    moving.step(be, loose, g, loose_state, context_of(t));
    freezing.step(be, frozen, h, frozen_state, context_of(t));
    for_each_trained(
        [&](auto parameter, const auto& x, const auto& y, const auto& old) {
          const bool rows = parameter.role == parameter_role::A;
          const table now = read<Be>(be, x);
          const table start = read<Be>(be, old);
          const auto kept = moved(now, start, rows);
          CHECK(kept.size() == (t == 0 ? 4 : 2));
          CHECK(moved(read<Be>(be, y), start, rows).size() == 4);
          for (const index_t k : moved(read<Be>(be, y), now, rows)) {
            CHECK(!kept.contains(k));
          }
        },
        frozen, loose, before);
  }
}

}  // namespace

TEST_CASE_TEMPLATE("regularized: the gradient is that of the penalty, by central differences", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const auto p = random_params<gated>(be, 1);
  const auto g = random_gradient<gated>(be, 2);
  auto sum = clone_params(be, g);
  optim::regularized<>{.lambda = 0.7}.on(hook::penalize{}, be, p, sum, five_matrices());
  for_each_trained(
      [&](auto parameter, const auto& x, const auto& before, const auto& after) {
        const table change = read<Be>(be, after) - read<Be>(be, before);
        if constexpr (parameter.role == parameter_role::gate) {
          CHECK(largest(change) == 0);
        } else {
          const table wanted =
              differences(read<Be>(be, x), parameter.role == parameter_role::A, 0.7 / 5);
          CHECK(largest(wanted) > 0.1);
          CHECK(gap(change, wanted) < tolerance<Be>(4) + 1e-8);
        }
      },
      p, g, sum);
}

TEST_CASE_TEMPLATE("regularized: a zero B costs the root of r and gets no gradient", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  auto p = random_params<adapter::lora>(be, 1);
  const table end = 0.2 * read<Be>(be, p.B);
  be.fill(0, p.B);
  CHECK(largest(read<Be>(be, added(be, p, 5).B)) == 0);
  CHECK(penalty(read<Be>(be, p.B), false) == 2);
  // The gradient along the way from 0 to another B adds up to the term there less √r: Simpson's
  // rule with 2·n parts. λ/N = 1.
  const int n = 50;
  double sum = 0;
  for (int i = 0; i <= 2 * n; ++i) {
    write(be, double(i) / (2 * n) * end, view_of<Be>(p.B));
    const double weight = i == 0 || i == 2 * n ? 1 : (i % 2 == 1 ? 4 : 2);
    sum += weight / (6 * n) * dot(read<Be>(be, added(be, p, 5).B), end);
  }
  CHECK(std::abs(penalty(end, false) - 2) > 0.1);
  CHECK(std::abs(2 + sum - penalty(end, false)) < tolerance<Be>(4) + 1e-7);
}

TEST_CASE_TEMPLATE("regularized: orthonormal factors get no gradient", Be, PREHEAT_BACKENDS) {
  Be be;
  auto p = random_params<adapter::lora>(be, 1);
  table a(4, 7);
  table b(6, 4);
  for (index_t k = 0; k < 4; ++k) {
    a(k, 6 - k) = k % 2 == 0 ? 1 : -1;
    b(k + 1, k) = 1;
  }
  write(be, a, view_of<Be>(p.A));
  write(be, b, view_of<Be>(p.B));
  CHECK(largest(read<Be>(be, added(be, p, 5).A)) == 0);  // not NaN either
  CHECK(largest(read<Be>(be, added(be, p, 5).B)) == 0);
  // One row of length 2: C − I has the one entry 3, and the gradient 2·3·2/3.
  a(2, 4) = 2;
  write(be, a, view_of<Be>(p.A));
  table wanted(4, 7);
  wanted(2, 4) = 4;
  CHECK(gap(read<Be>(be, added(be, p, 5).A), wanted) < tolerance<Be>(4));
  CHECK(largest(read<Be>(be, added(be, p, 0).A)) == 0);
}

TEST_CASE_TEMPLATE("masked: every rank at step 0, then exactly k, the same in A and B when paired",
                   Be, PREHEAT_BACKENDS) {
  Be be;
  for (const bool paired : {true, false}) {
    CAPTURE(paired);
    for (const index_t k : {1, 2, 3, 4, 9}) {
      CAPTURE(k);
      const optim::masked<optim::sgd> optim{.keep = k, .paired = paired};
      index_t different = 0;
      for (index_t step = 0; step < 12; ++step) {
        const seen ranks = ranks_seen(be, optim, step);
        const std::size_t wanted = step == 0 ? 4 : std::size_t(std::min<index_t>(k, 4));
        CHECK(ranks.a.size() == wanted);
        CHECK(ranks.b.size() == wanted);
        different += ranks.a != ranks.b;
      }
      CHECK((different > 0) == (!paired && k < 4));
    }
  }
}

TEST_CASE("masked: every rank has its turn; unpaired draws reach every pair of ranks alike") {
  cpu_double be;
  constexpr int draws = 1600;
  for (const bool paired : {true, false}) {
    CAPTURE(paired);
    index_t count[4][4] = {};
    for (index_t step = 1; step <= draws; ++step) {
      const seen ranks =
          ranks_seen(be, optim::masked<optim::sgd>{.keep = 1, .paired = paired}, step);
      ++count[*ranks.a.begin()][*ranks.b.begin()];
    }
    for (int i = 0; i < 4; ++i) {
      for (int j = 0; j < 4; ++j) {
        const double wanted = draws * (paired ? (i == j ? 0.25 : 0) : 1 / 16.0);
        CHECK(std::abs(double(count[i][j]) - wanted) <= 5 * std::sqrt(wanted));
      }
    }
  }
}

TEST_CASE_TEMPLATE("masked: a gate is never masked, a frozen factor neither drawn nor moved", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  for (const bool freeze : {false, true}) {
    const optim::masked<optim::sgd> optim{.keep = 1, .freeze_masked = freeze};
    for (index_t step = 1; step < 5; ++step) {
      CHECK(ranks_seen<gated>(be, optim, step).a.size() == 1);
      const seen only_a = ranks_seen<adapter::asymmetric<parameter_role::A>>(be, optim, step);
      CHECK(only_a.a.size() == 1);
      CHECK(only_a.b.empty());
      const seen only_b = ranks_seen<adapter::asymmetric<parameter_role::B>>(be, optim, step);
      CHECK(only_b.a.empty());
      CHECK(only_b.b.size() == 1);
    }
  }
}

TEST_CASE_TEMPLATE("masked: frozen ranks stay bitwise over every base, others follow it", Be,
                   PREHEAT_BACKENDS) {
  check_freezing<Be>(optim::sgd{.momentum = 0.9, .weight_decay = 0.1});
  check_freezing<Be>(optim::adam{.weight_decay = 0.1});
  check_freezing<Be>(optim::adamw{.weight_decay = 0.1});
  check_freezing<Be>(optim::scaled<optim::adamw>{});
  check_freezing<Be>(optim::lora_pro<optim::adamw>{});
}

TEST_CASE("RM-LoRA: settings that make no sense are refused") {
  cpu_double be;
  const auto p = random_params<adapter::lora>(be, 1);
  CHECK_THROWS_AS(optim::masked<>{.keep = 0}.start(be, p), invalid_argument);
  CHECK_THROWS_AS(optim::masked<>{.keep = -1}.start(be, p), invalid_argument);
  CHECK_THROWS_AS(optim::regularized<>{.lambda = -1e-9}.start(be, p), invalid_argument);
  CHECK_THROWS_AS(optim::regularized<>{.lambda = std::nan("")}.start(be, p), invalid_argument);
  CHECK_THROWS_AS(optim::regularized<optim::masked<>>{.base = {.keep = 0}}.start(be, p),
                  invalid_argument);
  CHECK_NOTHROW(optim::regularized<optim::masked<>>{.base = {.keep = 1}, .lambda = 0}.start(be, p));
}
