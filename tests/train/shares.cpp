// What processes that train together share: the parts of a batch, its dropout, and the moment at
// which a gradient is final. With processes: tests/comm.
#include <preheat/comm/self.hpp>
#include <preheat/nn/minibatches.hpp>
#include <preheat/operators/adapted.hpp>

#include "support/backends.hpp"
#include "support/table.hpp"

using namespace conformance;
using namespace preheat;

TEST_CASE_TEMPLATE("shares: one after the other they are the batch", Be, PREHEAT_BACKENDS) {
  Be be;
  for (const index_t size : {0, 6}) {
    nn::minibatches<Be> data(be, matrix(be, random_table(3, 15, 1)),
                             matrix(be, random_table(2, 15, 2)), size);
    nn::labelled_batch<Be> whole;
    nn::labelled_batch<Be> part;
    for (index_t step = 0; step < 4; ++step) {  // 6, 6, 3 columns
      data.load(generator(9), step, whole);
      const table X = read<Be>(be, whole.X);
      const table target = read<Be>(be, whole.target);
      const index_t columns = X.cols / 3;
      for (index_t k = 0; k < 3; ++k) {
        data.load_shard(generator(9), step, {k, 3}, part);
        const table x = read<Be>(be, part.X);
        const table t = read<Be>(be, part.target);
        REQUIRE(x.cols == columns);
        REQUIRE(t.cols == columns);
        for (index_t j = 0; j < columns; ++j) {
          for (index_t i = 0; i < 3; ++i) {
            CHECK(x(i, j) == X(i, k * columns + j));
          }
          for (index_t i = 0; i < 2; ++i) {
            CHECK(t(i, j) == target(i, k * columns + j));
          }
        }
      }
    }
  }
}

TEST_CASE("shares: what has no equal parts is refused") {
  cpu_double be;
  nn::minibatches<cpu_double> data(be, be.zeros(3, 15), be.zeros(1, 15), 6);
  nn::labelled_batch<cpu_double> part;
  CHECK_THROWS_WITH_AS(data.load_shard(generator(1), 0, {0, 4}, part),
                       "preheat: columns of a batch % processes = 0 (6, 4)", invalid_argument);
  CHECK_THROWS_WITH_AS(data.load_shard(generator(1), 0, {0, 2}, part),
                       "preheat: columns of an epoch's last batch % processes = 0 (3, 2)",
                       invalid_argument);
}

namespace {

template <class Be>
adapted<Be, adapter::lora> adapted_layer(Be& be, nn::mlp<Be>& net) {
  adapted<Be, adapter::lora> linear(net);
  linear.attach(0, {matrix(be, random_table(2, 5, 3)), matrix(be, random_table(4, 2, 4))}, 1);
  return linear;
}

}  // namespace

TEST_CASE_TEMPLATE("shares: a part's dropout is its part of the whole's", Be, PREHEAT_BACKENDS) {
  Be be;
  nn::mlp<Be> net(be, {5, 4}, 1);
  auto linear = adapted_layer(be, net);
  const mat<Be> X = matrix(be, random_table(5, 6, 5));
  const mat<Be> dY = matrix(be, random_table(4, 6, 6));
  linear.set_dropout(0.5, generator(7));
  linear.begin(pass_kind::training);
  const table Y = read<Be>(be, linear.forward(0, X));
  const table dX = read<Be>(be, linear.backward(0, X, dY, true));
  for (index_t k = 0; k < 3; ++k) {
    const auto two_columns = [&](const mat<Be>& whole) {
      return clone<Be>(be, view(whole).col_range(2 * k, 2));
    };
    const mat<Be> x = two_columns(X);
    const mat<Be> dy = two_columns(dY);
    linear.set_dropout(0.5, generator(7), k);
    linear.begin(pass_kind::training);
    const table y = read<Be>(be, linear.forward(0, x));
    const table dx = read<Be>(be, linear.backward(0, x, dy, true));
    for (index_t j = 0; j < 2; ++j) {
      for (index_t i = 0; i < 4; ++i) {
        CHECK(std::abs(y(i, j) - Y(i, 2 * k + j)) < tolerance<Be>(5));
      }
      for (index_t i = 0; i < 5; ++i) {
        CHECK(std::abs(dx(i, j) - dX(i, 2 * k + j)) < tolerance<Be>(4));
      }
    }
  }
}

TEST_CASE_TEMPLATE("a gradient is final after the first use of its layer has been differentiated",
                   Be, PREHEAT_BACKENDS) {
  Be be;
  nn::mlp<Be> net(be, {5, 4}, 1);
  auto linear = adapted_layer(be, net);
  std::vector<index_t> told;
  table then;
  linear.gradient_final = [&](index_t l) {
    told.push_back(l);
    then = read<Be>(be, linear.layers()[0].gradient.A);
  };
  const mat<Be> X = matrix(be, random_table(5, 3, 5));
  const mat<Be> dY = matrix(be, random_table(4, 3, 6));
  linear.begin(pass_kind::training);
  linear.forward(0, X);
  linear.forward(0, X);
  linear.backward(0, X, dY, true);
  CHECK(told.empty());
  linear.backward(0, X, dY, false);
  CHECK(told == std::vector<index_t>{0});
  CHECK(same(then, read<Be>(be, linear.layers()[0].gradient.A)));
  linear.detach(0);
  linear.begin(pass_kind::training);
  linear.forward(0, X);
  linear.backward(0, X, dY, true);
  CHECK(told.size() == 1);  // nothing is trained there
}

TEST_CASE("one process alone: sums are what they were, and nothing differs from itself") {
  comm::self self;
  const process_group one = self;
  for (const process_group& all : {one, process_group()}) {
    CHECK(all.alone());
    CHECK(all.first());
    std::vector<double> x{1, 2};
    all.start_sum(std::span<double>(x));
    all.broadcast(std::span<double>(x));
    all.wait();
    CHECK(x == std::vector<double>{1, 2});
    CHECK(all.mean(3) == 3);
    CHECK(all.of_first(3) == 3);
    CHECK(all.any(true));
    CHECK_FALSE(all.any(false));
    CHECK_NOTHROW(all.require_same(std::uint64_t(1), "number"));
    CHECK_NOTHROW(all.require_same(std::nan(""), "number"));
  }
}
