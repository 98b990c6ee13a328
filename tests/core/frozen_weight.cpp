// A frozen weight that stays as its file has it: the products with it are those of the dense matrix of
// the same numbers, and a call that would write to it is refused.
#include <preheat/core/frozen_weight.hpp>

#include <array>

#include "support/backends.hpp"
#include "support/block_in_frame.hpp"
#include "support/refusal.hpp"
#include "support/stored.hpp"

using namespace conformance;
using namespace preheat;

// The backends that unpack; a device does not.
#if defined(PREHEAT_TEST_THREADS)
#define PREHEAT_STORING_CPUS two_threads, three_threads
#else
#define PREHEAT_STORING_CPUS cpu_float, cpu_double, eigen_float
#endif

TEST_CASE_TEMPLATE("frozen weight: a stored W times a matrix is the dense product", Be,
                   PREHEAT_STORING_CPUS) {
  Be be;
  struct shape {
    index_t m, n, N;
  };
  for (const shape s : {shape{1, 1, 1}, {3, 5, 2}, {5, 300, 7}, {300, 257, 3}, {700, 2100, 2}}) {
    CAPTURE(s.m);
    CAPTURE(s.n);
    const table w = float_table(s.m, s.n, 1);
    const frozen_weight<Be> W(stored(w));
    weight_room<Be> room;
    const std::array<weight_view<Be>, 2> views = {weight_view<Be>(be, W, room), weight_view<Be>(W)};
    CHECK((s.m < 700 || panel_rows(W.stored()) < s.m));  // the last shape has several panels
    for (const transpose t : {transpose::no, transpose::yes}) {
      const table op = t == transpose::no ? w : transposed(w);
      const table x = random_table(op.cols, s.N, 2);
      const table y = random_table(op.rows, s.N, 3);
      for (const transpose tx : {transpose::no, transpose::yes}) {
        const auto X = matrix(be, tx == transpose::no ? x : transposed(x));
        for (const weight_view<Be>& seen : views) {
          auto Y = matrix(be, y);
          be.gemm(2, t, seen, tx, X, scalar_of<Be>(-0.5), Y);
          const double allowed = tolerance<Be>(op.cols) * 10;
          CHECK(gap(read<Be>(be, Y), 2.0 * (op * x) - 0.5 * y) < allowed);
          write<Be>(be, table(op.rows, s.N, std::numeric_limits<double>::quiet_NaN()), Y);
          be.gemm(1, t, seen, tx, X, 0, Y);  // 0 ignores what was there
          CHECK(gap(read<Be>(be, Y), op * x) < allowed);
        }
      }
    }
  }
}

TEST_CASE_TEMPLATE("frozen weight: an empty batch, and shapes that do not fit", Be,
                   PREHEAT_STORING_CPUS) {
  Be be;
  const frozen_weight<Be> W(stored(float_table(4, 3, 1)));
  const weight_view<Be> seen(W);
  auto X = be.zeros(3, 0);
  auto Y = be.zeros(4, 0);
  be.gemm(1, transpose::no, seen, transpose::no, X, 0, Y);
  auto five = be.zeros(5, 2);
  auto four = be.zeros(4, 2);
  auto three = be.zeros(3, 2);
  CHECK(refusal([&] { be.gemm(1, transpose::no, seen, transpose::no, five, 0, four); }) ==
        "preheat: gemm: rows of op(b) = columns of op(W) (5, 3)");
  CHECK(refusal([&] {
          be.gemm(1, transpose::no, seen, transpose::no, three, 0, five);
        }).find("rows of c") != std::string::npos);
  CHECK(refusal([&] { be.unpack_rows(W.stored(), 3, four); }).find("entries of a row") !=
        std::string::npos);
  CHECK(refusal([&] { be.unpack_rows(W.stored(), 3, three); }).find("rows of the stored") !=
        std::string::npos);
}

TEST_CASE_TEMPLATE("frozen weight: a dense view, a dense matrix and a copy have its numbers", Be,
                   PREHEAT_STORING_CPUS) {
  Be be;
  const table w = float_table(40, 300, 4);
  frozen_weight<Be> W(stored(w));
  CHECK(W.rows() == 40);
  CHECK(W.cols() == 300);
  CHECK(W.bytes() == 40 * 300 * sizeof(float));
  weight_room<Be> room;
  const weight_view<Be> seen(be, W, room);
  CHECK(seen.size() == 40 * 300);
  CHECK(same(read<Be>(be, seen), w));
  CHECK(same(read<Be>(be, seen.col_range(7, 2)), columns(w, 7, 2)));
  table parts(0, 0);
  double sum = 0;
  for_each_part<Be>(be, W, [&](const_view_of<Be> part) { sum += double(be.dot(part, part)); });
  CHECK(sum == doctest::Approx(square_norm(w)).epsilon(1e-5));

  frozen_weight<Be> copy = clone(be, W);
  CHECK(copy.is_stored());
  copy.make_dense(be);
  CHECK_FALSE(copy.is_stored());
  CHECK(same(read<Be>(be, copy), w));
  CHECK(same(read<Be>(be, weight_view<Be>(copy)), w));
  CHECK(W.is_stored());
  be.fill(1, copy);  // a matrix like any other now
  CHECK(same(read<Be>(be, seen), w));
}

TEST_CASE_TEMPLATE("frozen weight: a stored one is no matrix", Be, PREHEAT_STORING_CPUS) {
  Be be;
  frozen_weight<Be> W(stored(float_table(2, 3, 5)));
  const std::string text = refusal([&] { be.fill(0, W); });
  CHECK(text.find("kept as stored (F32, 2x3)") != std::string::npos);
  CHECK(text.find("make_dense(be)") != std::string::npos);
  CHECK(refusal([&] { be.max_abs(W); }) == text);
  CHECK(refusal([&] { be.max_abs(weight_view<Be>(W)); }).find("needs a weight_room") !=
        std::string::npos);
}
