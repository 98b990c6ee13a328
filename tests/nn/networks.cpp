// The shipped networks against plain loops and differences, and what they do not compute.
#include <preheat/adapter/full.hpp>
#include <preheat/nn/least_squares.hpp>
#include <preheat/nn/minibatches.hpp>
#include <preheat/nn/mlp.hpp>
#include <preheat/operators/adapted.hpp>

#include "support/backends.hpp"
#include "support/table.hpp"

using namespace conformance;
using namespace preheat;

namespace {

constexpr index_t tokens = 11;
constexpr index_t outputs = 4;
const std::vector<index_t> widths{6, 9, 7, outputs};

// Labels 0, 1, … for cross_entropy; numbers for mean_squared.
template <class Loss>
table target() {
  if constexpr (std::is_same_v<Loss, nn::mean_squared>) {
    return random_table(outputs, tokens, 100);
  } else {
    table labels(1, tokens);
    for (index_t j = 0; j < tokens; ++j) {
      labels(0, j) = double((5 * j) % outputs);
    }
    return labels;
  }
}
template <class Be, class Loss>
nn::labelled_batch<Be> make_batch(Be& be) {
  return {matrix(be, random_table(widths[0], tokens, 101)), matrix(be, target<Loss>())};
}

// The loss in plain loops, from the layers of a network.
template <class Loss, class Net>
double plain_loss(Net& net) {
  auto& be = net.backend();
  using Be = typename Net::backend_type;
  table h = random_table(widths[0], tokens, 101);
  const auto layers = net.layers();
  for (std::size_t l = 0; l < layers.size(); ++l) {
    table z = read<Be>(be, layers[l].W) * h + read<Be>(be, layers[l].b) * table(1, tokens, 1);
    if (l + 1 < layers.size()) {
      for (double& x : z.values) {
        x = x * 0.5 * (1 + std::erf(x / std::sqrt(2.0)));
      }
    }
    h = z;
  }
  const table t = target<Loss>();
  double loss = 0;
  if constexpr (std::is_same_v<Loss, nn::mean_squared>) {
    loss = square_norm(h - t) / double(outputs * tokens);
  } else {
    for (index_t j = 0; j < tokens; ++j) {
      double sum = 0;
      for (index_t i = 0; i < outputs; ++i) {
        sum += std::exp(h(i, j));
      }
      loss += (std::log(sum) - h(index_t(t(0, j)), j)) / double(tokens);
    }
  }
  return loss;
}

// The gradient of every weight and bias, by adapter::full.
template <class Be, class Loss>
std::vector<table> gradients(Be& be) {
  nn::mlp<Be, Loss> net(be, widths, 5);
  adapted<Be, adapter::full> linear(net);
  for (index_t l = 0; l < 3; ++l) {
    linear.attach(l, adapter::full{}.start(be, linear.base(l), generator(0)), 1);
  }
  const auto batch = make_batch<Be, Loss>(be);
  net.loss_and_gradient(batch, linear);
  std::vector<table> all;
  for (auto& adapted_layer : linear.layers()) {
    all.push_back(read<Be>(be, adapted_layer.gradient.W));
    all.push_back(read<Be>(be, adapted_layer.gradient.b));
  }
  return all;
}

template <class Be, class Loss>
void check_differences() {
  Be be;
  nn::mlp<Be, Loss> net(be, widths, 5);
  adapted<Be, adapter::lora> base(net);
  const auto batch = make_batch<Be, Loss>(be);
  const std::vector<table> gradient = gradients<Be, Loss>(be);
  const double h = 1e-5;  // differences err by h² and by ε/h, both about 1e-10
  double worst = 0;
  for (std::size_t l = 0; l < 3; ++l) {
    mat<Be>* const parts[] = {&net.layers()[l].W, &net.layers()[l].b};
    for (std::size_t k = 0; k < 2; ++k) {
      const table start = read<Be>(be, *parts[k]);
      for (std::size_t i = 0; i < start.values.size(); ++i) {
        table moved = start;
        moved.values[i] = start.values[i] + h;
        write(be, moved, view_of<Be>(*parts[k]));
        const double up = double(net.loss(batch, base));
        moved.values[i] = start.values[i] - h;
        write(be, moved, view_of<Be>(*parts[k]));
        const double down = double(net.loss(batch, base));
        worst = std::max(worst, std::abs((up - down) / (2 * h) - gradient[2 * l + k].values[i]));
      }
      write(be, start, view_of<Be>(*parts[k]));
    }
  }
  CHECK(worst < 2e-9);
}

}  // namespace

TEST_CASE_TEMPLATE("mlp: the loss is that of the formula", Be, PREHEAT_BACKENDS) {
  Be be;
  nn::mlp<Be, nn::mean_squared> regression(be, widths, 5);
  nn::mlp<Be, nn::cross_entropy> classifier(be, widths, 5);
  base_operator<Be> a(regression);
  base_operator<Be> b(classifier);
  const double squared = double(regression.loss(make_batch<Be, nn::mean_squared>(be), a));
  const double entropy = double(classifier.loss(make_batch<Be, nn::cross_entropy>(be), b));
  CHECK(squared ==
        doctest::Approx(plain_loss<nn::mean_squared>(regression)).epsilon(tolerance<Be>(2)));
  CHECK(entropy ==
        doctest::Approx(plain_loss<nn::cross_entropy>(classifier)).epsilon(tolerance<Be>(2)));
  // A training pass has the same loss.
  CHECK(double(classifier.loss_and_gradient(make_batch<Be, nn::cross_entropy>(be), b)) == entropy);
}

TEST_CASE_TEMPLATE("mlp: gradients equal differences", Be, conformance::cpu_double,
                   conformance::archetype_double) {
  check_differences<Be, nn::mean_squared>();
  check_differences<Be, nn::cross_entropy>();
}

TEST_CASE("mlp: gradients in float are those in double") {
  cpu_float small;
  cpu_double large;
  const auto check = [](const std::vector<table>& a, const std::vector<table>& b) {
    REQUIRE(a.size() == b.size());
    for (std::size_t i = 0; i < a.size(); ++i) {
      CHECK(gap(a[i], b[i]) < tolerance<cpu_float>(1));
    }
  };
  check(gradients<cpu_float, nn::mean_squared>(small),
        gradients<cpu_double, nn::mean_squared>(large));
  check(gradients<cpu_float, nn::cross_entropy>(small),
        gradients<cpu_double, nn::cross_entropy>(large));
}

// Products of a step: three forward; backward, a layer that is trained by `full` has one for dW
// and, when something below it is trained, one for dX; a frozen layer above it has one for dX only.
TEST_CASE("mlp: layers below the first trained one are not differentiated") {
  const long want[] = {3 + 3 - 1 + 1, 3 + 1 + 1, 3 + 1};
  for (index_t trained = 0; trained < 3; ++trained) {
    archetype_double be;
    nn::mlp<archetype_double> net(be, widths, 5);
    adapted<archetype_double, adapter::full> linear(net);
    linear.attach(trained, adapter::full{}.start(be, linear.base(trained), generator(0)), 1);
    const auto batch = make_batch<archetype_double, nn::cross_entropy>(be);
    be.forget();
    net.loss_and_gradient(batch, linear);
    CAPTURE(trained);
    CHECK(be.calls["gemm"] == want[trained]);
    be.forget();
    net.loss(batch, linear);
    CHECK(be.calls["gemm"] == 3);
  }
}

TEST_CASE("mlp: a step makes no matrix once shapes have been seen") {
  archetype_double be;
  nn::mlp<archetype_double> net(be, widths, 5);
  adapted<archetype_double, adapter::lora> linear(net);
  for (index_t l = 0; l < 3; ++l) {
    factors<archetype_double> f{matrix(be, random_table(2, widths[l], 1)),
                                be.zeros(widths[l + 1], 2)};
    linear.attach(l, adapter::lora{}.start(be, linear.base(l), std::move(f), generator(0)), 1);
  }
  linear.set_dropout(0.1, generator(1));
  const auto batch = make_batch<archetype_double, nn::cross_entropy>(be);
  net.loss_and_gradient(batch, linear);
  be.forget();
  net.loss_and_gradient(batch, linear);
  CHECK(be.allocations == 0);
  // Two large and five thin products a layer; the lowest layer needs no gradient of its input.
  CHECK(be.calls["gemm"] == 3 * 3 + (5 + 5 + 3));
}

TEST_CASE_TEMPLATE("mlp: a copy is independent and torch's law draws the weights", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  nn::mlp<Be> net(be, {100, 50, 3}, 5);
  nn::mlp<Be> copy = net.copy();
  CHECK(net.layers()[1].name == "layers.1");
  CHECK(same(read<Be>(be, net.layers()[0].W), read<Be>(be, copy.layers()[0].W)));
  be.fill(0, copy.layers()[0].W);
  CHECK(largest(read<Be>(be, net.layers()[0].W)) > 0.099);
  CHECK(largest(read<Be>(be, net.layers()[0].W)) <= 0.1 * (1 + epsilon<Be>));
  CHECK(largest(read<Be>(be, net.layers()[0].b)) <= 0.1 * (1 + epsilon<Be>));
  CHECK(largest(read<Be>(be, net.layers()[0].b)) > 0.08);
  nn::mlp<Be> other(be, {100, 50, 3}, 6);
  CHECK_FALSE(same(read<Be>(be, net.layers()[0].W), read<Be>(be, other.layers()[0].W)));
}

// ∂loss/∂W = W + ΔW − M, loss = ½‖W + ΔW − M‖²
TEST_CASE_TEMPLATE("least_squares: the loss and its gradient", Be, PREHEAT_BACKENDS) {
  using T = scalar_of<Be>;
  Be be;
  const table w = random_table(6, 4, 110);
  const table m = random_table(6, 4, 111);
  nn::least_squares<Be> net(be, matrix(be, w), matrix(be, m));
  typename nn::least_squares<Be>::batch_type batch;

  adapted<Be, adapter::full> whole(net);
  whole.attach(0, adapter::full{}.start(be, whole.base(0), generator(0)), 1);
  CHECK(double(net.loss_and_gradient(batch, whole)) ==
        doctest::Approx(square_norm(w - m) / 2).epsilon(tolerance<Be>(1)));
  CHECK(gap(read<Be>(be, whole.layers()[0].gradient.W), w - m) < tolerance<Be>(1));

  const double s = 0.5;
  const table a = random_table(2, 4, 112);
  const table b = random_table(6, 2, 113);
  adapted<Be, adapter::lora> linear(net);
  linear.attach(0, {matrix(be, a), matrix(be, b)}, T(s));
  const double loss = double(net.loss_and_gradient(batch, linear));
  const table g = w + s * b * a - m;
  CHECK(loss == doctest::Approx(square_norm(g) / 2).epsilon(tolerance<Be>(1)));
  CHECK(double(net.loss(batch, linear)) == loss);
  CHECK(gap(read<Be>(be, linear.layers()[0].gradient.A), s * transposed(b) * g) < tolerance<Be>(6));
  CHECK(gap(read<Be>(be, linear.layers()[0].gradient.B), s * g * transposed(a)) < tolerance<Be>(6));
}

namespace {

// Which columns of a data set a batch holds; the columns are numbered in their first feature.
template <class Be>
std::vector<int> numbers(Be& be, const nn::labelled_batch<Be>& batch) {
  const table x = read<Be>(be, batch.X);
  const table t = read<Be>(be, batch.target);
  std::vector<int> result;
  for (index_t j = 0; j < x.cols; ++j) {
    result.push_back(int(x(0, j)));
    CHECK(t(0, j) == 2 * x(0, j));  // inputs and targets stay together
  }
  return result;
}
template <class Be>
nn::minibatches<Be> numbered(Be& be, index_t count, index_t size) {
  table x(3, count);
  table t(1, count);
  for (index_t j = 0; j < count; ++j) {
    x(0, j) = double(j);
    t(0, j) = 2 * double(j);
  }
  return {be, matrix(be, x), matrix(be, t), size};
}

}  // namespace

TEST_CASE_TEMPLATE("minibatches: every column once an epoch and the last batch smaller", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  auto data = numbered(be, 10, 4);
  CHECK(data.per_epoch() == 3);
  nn::labelled_batch<Be> batch;
  const generator stream(9);
  std::vector<std::vector<int>> epochs(2);
  for (index_t step = 0; step < 6; ++step) {
    data.load(stream, step, batch);
    const std::vector<int> got = numbers(be, batch);
    CHECK(got.size() == (step % 3 == 2 ? 2 : 4));
    auto& epoch = epochs[step / 3];
    epoch.insert(epoch.end(), got.begin(), got.end());
  }
  CHECK(epochs[0] != epochs[1]);
  for (auto& epoch : epochs) {
    std::sort(epoch.begin(), epoch.end());
    for (int j = 0; j < 10; ++j) {
      CHECK(epoch[j] == j);
    }
  }
}

TEST_CASE_TEMPLATE("minibatches: a batch is a function of the stream and the step", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  auto data = numbered(be, 10, 4);
  auto fresh = numbered(be, 10, 4);
  nn::labelled_batch<Be> batch;
  data.load(generator(1), 7, batch);
  const std::vector<int> wanted = numbers(be, batch);
  for (const index_t step : {0, 5, 2}) {
    fresh.load(generator(1), step, batch);
  }
  fresh.load(generator(2), 7, batch);
  CHECK(numbers(be, batch) != wanted);
  fresh.load(generator(1), 7, batch);
  CHECK(numbers(be, batch) == wanted);
}

TEST_CASE_TEMPLATE("minibatches: size 0 is the whole set in its order", Be, PREHEAT_BACKENDS) {
  Be be;
  auto data = numbered(be, 5, 0);
  CHECK(data.per_epoch() == 1);
  nn::labelled_batch<Be> batch;
  data.load(generator(1), 3, batch);
  CHECK(numbers(be, batch) == std::vector<int>{0, 1, 2, 3, 4});
}
