// Every adapter: its output by formula, its gradients by central differences, with and without
// dropout and bias, with shared weights, accumulated; merging. Gates and PRoLoRA: adapters_more.cpp.
#include <preheat/adapter/asymmetric.hpp>
#include <preheat/adapter/full.hpp>
#include <preheat/train/scaling.hpp>

#include "adapter_checks.hpp"

using namespace conformance;
using namespace preheat;

namespace {

using train_a = adapter::asymmetric<parameter_role::A>;
using train_b = adapter::asymmetric<parameter_role::B>;

template <class Be>
using problem = linear_problem<Be>;

}  // namespace

TEST_CASE_TEMPLATE("adapter: gradients of lora equal differences", Be, PREHEAT_BACKENDS) {
  check_adapter<Be, adapter::lora>();
}
TEST_CASE_TEMPLATE("adapter: gradients of asymmetric A equal differences", Be, PREHEAT_BACKENDS) {
  check_adapter<Be, train_a>();
}
TEST_CASE_TEMPLATE("adapter: gradients of asymmetric B equal differences", Be, PREHEAT_BACKENDS) {
  check_adapter<Be, train_b>();
}
TEST_CASE_TEMPLATE("adapter: gradients of full equal differences", Be, PREHEAT_BACKENDS) {
  check_adapter<Be, adapter::full>();
}

TEST_CASE_TEMPLATE("adapter: what is frozen has no gradient and what is used once more adds up", Be,
                   PREHEAT_BACKENDS) {
  problem<Be> p({{5, 4}}, {0}, true);
  adapted<Be, train_a> lin_a(p.net);
  attach_random(p.be, lin_a, 0, 2, 90);
  CHECK(lin_a.layers()[0].gradient.B.rows() == 0);
  CHECK(lin_a.layers()[0].gradient.A.rows() == 2);
  CHECK(trained_size(lin_a.layers()[0].parameters) == 2 * 4);
  adapted<Be, train_b> lin_b(p.net);
  attach_random(p.be, lin_b, 0, 2, 90);
  CHECK(lin_b.layers()[0].gradient.A.rows() == 0);
  CHECK(trained_size(lin_b.layers()[0].parameters) == 5 * 2);

  // The gradient accumulates from batch to batch until it is zeroed.
  adapted<Be, adapter::lora> linear(p.net);
  attach_random(p.be, linear, 0, 2, 91);
  p.net.loss_and_gradient(p.batch, linear);
  const table once = read<Be>(p.be, linear.layers()[0].gradient.A);
  p.net.loss_and_gradient(p.batch, linear);
  CHECK(gap(read<Be>(p.be, linear.layers()[0].gradient.A), 2.0 * once) <
        tolerance<Be>(7) * largest(once));
  linear.zero_gradients();
  CHECK(largest(read<Be>(p.be, linear.layers()[0].gradient.A)) == 0);
}

// y = (W + s·B·A)·x + b
TEST_CASE_TEMPLATE("adapter: the output is that of the formula", Be, PREHEAT_BACKENDS) {
  for (const bool bias : {true, false}) {
    problem<Be> p({{5, 4}}, {0}, bias);
    const table w = read<Be>(p.be, p.net.layers()[0].W);
    const table b = bias ? read<Be>(p.be, p.net.layers()[0].b) : table(5, 1);
    const table x = read<Be>(p.be, p.batch.X);
    const table ones(1, 7, 1);

    adapted<Be, adapter::lora> linear(p.net);
    p.net.loss(p.batch, linear);
    CHECK(gap(p.net.output, w * x + b * ones) < tolerance<Be>(10));

    attach_random(p.be, linear, 0, 2, 92);
    const auto& adapted_layer = linear.layers()[0].parameters;
    const table delta =
        scaling_value * read<Be>(p.be, adapted_layer.B) * read<Be>(p.be, adapted_layer.A);
    p.net.loss(p.batch, linear);
    CHECK(gap(p.net.output, (w + delta) * x + b * ones) < tolerance<Be>(10));
    const auto f = adapter::lora{}.product(p.be, adapted_layer);
    CHECK(gap(scaling_value * read<Be>(p.be, f.B) * read<Be>(p.be, f.A), delta) < tolerance<Be>(4));

    linear.detach(0);
    p.net.loss(p.batch, linear);
    CHECK(gap(p.net.output, w * x + b * ones) < tolerance<Be>(10));
  }
}

TEST_CASE_TEMPLATE("adapter: dropout acts on the adapter's input in training passes only", Be,
                   PREHEAT_BACKENDS) {
  problem<Be> p({{5, 4}}, {0}, true);
  adapted<Be, adapter::lora> linear(p.net);
  attach_random(p.be, linear, 0, 2, 93);
  p.net.loss(p.batch, linear);
  const table plain = p.net.output;
  linear.set_dropout(0.5, generator(4));
  p.net.loss(p.batch, linear);
  CHECK(same(p.net.output, plain));
  p.net.training_loss(p.batch, linear);
  const table dropped = p.net.output;
  CHECK(gap(dropped, plain) > 0.1);
  p.net.training_loss(p.batch, linear);
  CHECK(same(p.net.output, dropped));  // the same stream, the same mask
  linear.set_dropout(0.5, generator(5));
  p.net.training_loss(p.batch, linear);
  CHECK(gap(p.net.output, dropped) > 0.1);

  // The base sees the whole input: with B = 0 dropout changes nothing.
  p.be.fill(0, linear.layers()[0].parameters.B);
  p.net.training_loss(p.batch, linear);
  const table training = p.net.output;
  p.net.loss(p.batch, linear);
  CHECK(same(p.net.output, training));

  // The mean over masks is the output without dropout.
  attach_random(p.be, linear, 0, 2, 93);
  constexpr int masks = 4000;
  table mean(5, 7);
  for (int i = 0; i < masks; ++i) {
    linear.set_dropout(0.5, generator(6).fork(purpose::user, std::uint64_t(i)));
    p.net.training_loss(p.batch, linear);
    mean = mean + (1.0 / masks) * p.net.output;
  }
  const auto& adapted_layer = linear.layers()[0].parameters;
  const double deviation =
      scaling_value * largest(read<Be>(p.be, adapted_layer.B) * read<Be>(p.be, adapted_layer.A)) *
      largest(read<Be>(p.be, p.batch.X)) * std::sqrt(4.0);
  CHECK(gap(mean, plain) < 5 * deviation / std::sqrt(double(masks)));
}

TEST_CASE_TEMPLATE("adapter: uses and layers of a pass have masks of their own", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const generator stream(7);
  // Two layers that are equal, and one that is used twice, on an input that stays as it is.
  std::vector<base_layer<Be>> layers;
  for (int l = 0; l < 2; ++l) {
    layers.push_back({"l" + std::to_string(l), matrix(be, table(6, 6)), {}});
  }
  linear_network<Be> net(be, std::move(layers), {0});
  adapted<Be, adapter::lora> linear(net);
  for (index_t l = 0; l < 2; ++l) {
    factors<Be> f{matrix(be, identity(6)), matrix(be, identity(6))};
    linear.attach(l, adapter::lora{}.start(be, linear.base(l), std::move(f), stream), 1);
  }
  const mat<Be> X = matrix(be, table(6, 9, 1));
  linear.set_dropout(0.5, stream);
  linear.begin(pass_kind::training);
  const table first = read<Be>(be, linear.forward(0, X));
  const table second = read<Be>(be, linear.forward(0, X));
  const table other = read<Be>(be, linear.forward(1, X));
  CHECK_FALSE(same(first, second));
  CHECK_FALSE(same(first, other));
  CHECK_FALSE(same(second, other));
  for (const double x : first.values) {
    CHECK((x == 0 || x == 2));
  }
}

TEST_CASE_TEMPLATE("dropout kernel: keeps the expectation and repeats its mask", Be,
                   PREHEAT_BACKENDS) {
  using T = scalar_of<Be>;
  Be be;
  const dropout_kernel<T> drop{0.25, generator(8)};
  const mat<Be> ones = matrix(be, table(100, 100, 1));
  mat<Be> x = be.zeros(100, 100);
  be.apply_indexed(drop, x, ones);
  const table mask = read<Be>(be, x);
  index_t zeros = 0;
  for (const double value : mask.values) {
    zeros += value == 0;
    CHECK((value == 0 || value == double(T(1 / 0.75))));
  }
  CHECK(std::abs(double(zeros) - 2500) < 5 * std::sqrt(10000 * 0.25 * 0.75));
  be.apply_indexed(add_dropout_kernel<T>{drop}, x, ones);
  CHECK(same(read<Be>(be, x), 2.0 * mask));
}

TEST_CASE_TEMPLATE("adapter: merged equals unmerged and unmerging gives W back", Be,
                   PREHEAT_BACKENDS) {
  check_merge<Be, adapter::lora>();
  check_merge<Be, train_a>();
  check_merge<Be, train_b>();
  check_merge<Be, adapter::full>();
}

TEST_CASE("adapter: the factor s of a layer") {
  CHECK(scaling::over_rank(16)(4, 8) == 4);
  CHECK(scaling::over_sqrt_rank(16)(4, 8) == 8);
  CHECK(scaling::constant(0.5)(4, 8) == 0.5);
  // By default α is twice the rank that was asked for, whatever the layer got.
  CHECK(scaling_rule{}(8, 8) == 2);
  CHECK(scaling_rule{}(4, 8) == 4);
}
