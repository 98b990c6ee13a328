// The doors through which calibration is gathered: recorder, calibration_context::watch_inputs and
// watch_gradients. Which layers get which calls, in which order; that the batches are the same every
// time; that dY·Xᵀ is the gradient, also of a layer used twice; how gathering ends early; and that
// nothing of the network changes.
#include <preheat/adapter/full.hpp>
#include <preheat/train/fit.hpp>

#include "support/backends.hpp"
#include "support/linear_network.hpp"
#include "support/small_problem.hpp"

using namespace conformance;
using namespace preheat;

static_assert(linear_operator<recorder<cpu_double>, cpu_double>);

namespace {

struct told {
  index_t layer;
  table X, dY;
};
bool same_story(const std::vector<told>& a, const std::vector<told>& b) {
  bool equal = a.size() == b.size();
  for (std::size_t i = 0; equal && i < a.size(); ++i) {
    equal = a[i].layer == b[i].layer && same(a[i].X, b[i].X) && same(a[i].dY, b[i].dY);
  }
  return equal;
}

// A problem and a context on some of its layers.
template <class Be>
struct stage {
  problem<Be> p{};
  fit_options options{};
  calibration_context<nn::mlp<Be>, nn::minibatches<Be>> context;

  explicit stage(std::vector<index_t> layers)
      : context(p.net, p.batches, options, {std::move(layers), {1, 1, 1}, {1, 1, 1}}, 0,
                generator(33)) {}

  std::vector<told> inputs(index_t count, index_t from = 0) {
    std::vector<told> all;
    context.watch_inputs(
        count,
        [&](index_t l, const_view_of<Be> X) {
          all.push_back({l, read<Be>(p.be, X), {}});
        },
        from);
    return all;
  }
  std::vector<told> gradients(index_t count) {
    std::vector<told> all;
    context.watch_gradients(count, [&](index_t l, const_view_of<Be> X, const_view_of<Be> dY) {
      all.push_back({l, read<Be>(p.be, X), read<Be>(p.be, dY)});
    });
    return all;
  }
  nn::labelled_batch<Be> batch(index_t k) {
    nn::labelled_batch<Be> drawn;
    p.batches.load(context.gen.fork(purpose::batch), k, drawn);
    return drawn;
  }
};

}  // namespace

TEST_CASE_TEMPLATE("recorder: inputs of the chosen layers and the same batches every call", Be,
                   PREHEAT_BACKENDS) {
  stage<Be> s({0, 1});
  const auto before = s.p.weights();
  const std::vector<told> all = s.inputs(6);
  REQUIRE(all.size() == 12);
  for (std::size_t i = 0; i < all.size(); ++i) {
    CHECK(all[i].layer == index_t(i % 2));  // in the order of the pass, never layer 2
  }
  for (std::size_t k = 0; k < 6; ++k) {
    const table X = read<Be>(s.p.be, s.batch(index_t(k)).X);
    CHECK(same(all[2 * k].X, X));
    // The second layer's input, by hand: gelu(W·X + b).
    const auto& first = s.p.net.layers()[0];
    table h = read<Be>(s.p.be, first.W) * X;
    const table b = read<Be>(s.p.be, first.b);
    for (index_t j = 0; j < h.cols; ++j) {
      for (index_t i = 0; i < h.rows; ++i) {
        const double z = h(i, j) + b(i, 0);
        h(i, j) = z * (1 + std::erf(z / std::sqrt(2.0))) / 2;
      }
    }
    CHECK(gap(all[2 * k + 1].X, h) < tolerance<Be>(7));
  }
  CHECK_FALSE(same(all[0].X, all[2].X));

  CHECK(same_story(all, s.inputs(6)));
  CHECK(same_story({all.begin() + 4, all.begin() + 8}, s.inputs(2, 2)));  // batches 2 and 3
  CHECK(s.inputs(0).empty());
  // Gradients are watched on those batches too.
  const std::vector<told> backward = s.gradients(2);
  REQUIRE(backward.size() == 4);
  CHECK(same(backward[1].X, all[0].X));
  CHECK(same(backward[3].X, all[2].X));
  CHECK(s.context.status == fit_status::completed);
  CHECK(s.p.weights() == before);
  CHECK_FALSE(same_story(all, stage<Be>({1, 2}).inputs(6)));
}

// Against the adapter that trains every weight, on the same batch.
TEST_CASE_TEMPLATE("recorder: dY times X is the gradient of W", Be, PREHEAT_BACKENDS) {
  for (const std::vector<index_t>& layers :
       {std::vector<index_t>{0, 1, 2}, std::vector<index_t>{1}, std::vector<index_t>{2, 0}}) {
    stage<Be> s(layers);
    const auto before = s.p.weights();
    const std::vector<told> all = s.gradients(2);
    REQUIRE(all.size() == 2 * layers.size());
    adapted<Be, adapter::full> linear(s.p.net);
    for (index_t l = 0; l < 3; ++l) {
      linear.attach(l, adapter::full{}.start(s.p.be, linear.base(l), generator()), 1);
    }
    for (index_t k = 0; k < 2; ++k) {
      const auto batch = s.batch(k);
      linear.zero_gradients();
      s.p.net.loss_and_gradient(batch, linear);
      index_t after = 3;
      for (std::size_t i = 0; i < layers.size(); ++i) {
        const told& one = all[std::size_t(k) * layers.size() + i];
        CHECK(one.layer < after);  // backward runs from the last layer to the first
        after = one.layer;
        CHECK(std::count(layers.begin(), layers.end(), one.layer) == 1);
        const table expected = read<Be>(s.p.be, linear.layers()[one.layer].gradient.W);
        CHECK(largest(expected) > 1e-4);
        CHECK(gap(one.dY * transposed(one.X), expected) < tolerance<Be>(8));
      }
    }
    CHECK(s.p.weights() == before);
  }
}

namespace {

// The same batch for ever.
template <class Be>
struct constant_batch {
  Be& be;
  table X, C;
  void load(const generator&, index_t, typename linear_network<Be>::batch_type& batch) {
    batch.X = matrix(be, X);
    batch.C = matrix(be, C);
  }
};

}  // namespace

// y = W0·W1·W0·x: the sum over both uses, against central differences, which are exact: the loss is
// quadratic in an entry of W0.
TEST_CASE_TEMPLATE("recorder: a layer that is used twice is told twice", Be,
                   conformance::cpu_double, conformance::archetype_double) {
  Be be;
  std::vector<base_layer<Be>> layers;
  layers.push_back(random_layer(be, "twice", 3, 3, false, 40));
  layers.push_back(random_layer(be, "once", 3, 3, false, 41));
  linear_network<Be> net(be, std::move(layers), {0, 1, 0});
  constant_batch<Be> data{be, random_table(3, 5, 42), random_table(3, 5, 43)};
  const fit_options options{};
  calibration_context<linear_network<Be>, constant_batch<Be>> context(
      net, data, options, {{0}, {}, {}}, 0, generator(1));
  int inputs = 0;
  context.watch_inputs(1, [&](index_t l, const_view_of<Be>) { inputs += l == 0 ? 1 : 100; });
  CHECK(inputs == 2);
  int gradients = 0;
  table total(3, 3);
  context.watch_gradients(1, [&](index_t, const_view_of<Be> X, const_view_of<Be> dY) {
    total = total + read<Be>(be, dY) * transposed(read<Be>(be, X));
    ++gradients;
  });
  CHECK(gradients == 2);

  const table W = read<Be>(be, net.layers()[0].W);
  typename linear_network<Be>::batch_type batch;
  data.load(generator(), 0, batch);
  base_operator<Be> base(net);
  const double h = 0.5;
  for (index_t i = 0; i < 9; ++i) {
    double loss[2] = {};
    for (int up = 0; up < 2; ++up) {
      table moved = W;
      moved.values[i] += up == 1 ? h : -h;
      write<Be>(be, moved, net.layers()[0].W);
      loss[up] = net.loss(batch, base);
    }
    const double slope = (loss[1] - loss[0]) / (2 * h);
    CHECK(std::abs(slope - total.values[i]) < tolerance<Be>(100));
  }
}

TEST_CASE("recorder: a stop ends the gathering before the next batch") {
  stage<cpu_double> s({0});
  std::atomic<bool> stop = false;
  s.options.stop = &stop;
  int batches = 0;
  s.context.watch_inputs(9, [&](index_t, const_view_of<cpu_double>) { stop = ++batches == 2; });
  CHECK(batches == 2);
  CHECK(s.context.status == fit_status::interrupted);
  stop = false;
  CHECK(s.inputs(3).empty());  // what has ended stays ended
  CHECK(s.gradients(3).empty());
  CHECK(s.context.status == fit_status::interrupted);
}

namespace {

// Batch 1 has one entry that is not a number.
struct poisoned {
  nn::minibatches<cpu_double>& data;
  void load(const generator& stream, index_t step, nn::labelled_batch<cpu_double>& batch) {
    data.load(stream, step, batch);
    if (step == 1) {
      batch.X.data()[2] = std::numeric_limits<double>::quiet_NaN();
    }
  }
};

}  // namespace

TEST_CASE("recorder: a loss that is not finite ends the gathering with a status") {
  for (const bool backward : {false, true}) {
    problem<cpu_double> p;
    poisoned data{p.batches};
    const fit_options options{};
    calibration_context<nn::mlp<cpu_double>, poisoned> context(p.net, data, options, {{0}, {}, {}},
                                                               0, generator(2));
    int batches = 0;
    if (backward) {
      context.watch_gradients(
          5, [&](index_t, const_view_of<cpu_double>, const_view_of<cpu_double>) { ++batches; });
    } else {
      context.watch_inputs(5, [&](index_t, const_view_of<cpu_double>) { ++batches; });
    }
    CHECK(batches == 2);
    CHECK(context.status == fit_status::non_finite);
  }
  stage<cpu_double> s({0});
  mat<cpu_double> calibration = matrix(s.p.be, table(2, 2, 1));
  s.context.require_finite(calibration);
  CHECK(s.context.status == fit_status::completed);
  calibration.data()[3] = std::numeric_limits<double>::infinity();
  s.context.require_finite(calibration);
  CHECK(s.context.status == fit_status::non_finite);
}

TEST_CASE("recorder: the observer is told the loss of every batch on the base") {
  using Be = cpu_double;
  stage<Be> s({0, 2});
  std::vector<training_progress> seen;
  s.options.observer = [&](const training_progress& p) { seen.push_back(p); };
  s.inputs(3, 2);
  s.gradients(2);
  REQUIRE(seen.size() == 5);
  base_operator<Be> base(s.p.net);
  const index_t batches[] = {2, 3, 4, 0, 1};
  for (std::size_t i = 0; i < 5; ++i) {
    CHECK(std::string(seen[i].phase) == "calibration");
    CHECK(seen[i].step == batches[i] + 1);
    CHECK(seen[i].steps == (i < 3 ? 5 : 2));
    CHECK(seen[i].loss == double(s.p.net.loss(s.batch(batches[i]), base)));
  }
}
