// DoRA: its output and gradients against plain loops in which the row norms are held constant, with
// and without dropout and bias; its start, zero rows, merging and unmerging; in runs with PiSSA,
// dropout, a chain, changes of rank, and a stop in the middle.
#include <preheat/adapter/dora.hpp>
#include <preheat/methods.hpp>
#include <preheat/train/fit.hpp>

#include "support/backends.hpp"
#include "support/regressions.hpp"

using namespace conformance;
using namespace preheat;

namespace {

constexpr index_t m = 5, n = 70, r = 2, N = 3;  // n: a whole block of columns and a part of one
constexpr double s = 1.5;
static_assert(adapter::dora::block_columns < n && n % adapter::dora::block_columns != 0);

table row_norms(const table& a) {
  table norms(a.rows, 1);
  for (index_t i = 0; i < a.rows; ++i) {
    for (index_t j = 0; j < a.cols; ++j) {
      norms(i, 0) += a(i, j) * a(i, j);
    }
    norms(i, 0) = std::sqrt(norms(i, 0));
  }
  return norms;
}

// One layer, its input, what dropout left of it, and the gradient C of the output.
struct reference {
  table W = random_table(m, n, 1), b = random_table(m, 1, 2);
  table A = random_table(r, n, 3), B = random_table(m, r, 4), mu = random_table(m, 1, 5);
  table x = random_table(n, N, 6), dropped = random_table(n, N, 7), C = random_table(m, N, 8);

  table directions() const { return W + s * B * A; }
  // W·x + (c − 1)⊙(W·x̃) + c⊙(s·B·A·x̃) + b, c = μ/norms
  table output(const table& norms) const {
    table Y = W * x + b * table(1, N, 1);
    const table Wx = W * dropped;
    const table BAx = s * B * A * dropped;
    for (index_t i = 0; i < m; ++i) {
      const double c = norms(i, 0) == 0 ? 1 : mu(i, 0) / norms(i, 0);
      for (index_t j = 0; j < N; ++j) {
        Y(i, j) += (c - 1) * Wx(i, j) + c * BAx(i, j);
      }
    }
    return Y;
  }
  // Central differences of ⟨C, output⟩ by the entries of a member, the norms held constant: then
  // the output is linear in each, and they are exact.
  table differences(table reference::*part, const table& norms) const {
    table d(this->*part);
    for (std::size_t i = 0; i < d.values.size(); ++i) {
      reference up = *this;
      reference down = *this;
      (up.*part).values[i] += 0.5;
      (down.*part).values[i] -= 0.5;
      d.values[i] = dot(C, up.output(norms) - down.output(norms));
    }
    return d;
  }
};

// The adapter on that layer.
template <class Be>
struct layer_under_dora {
  using params = adapter::dora::params<Be>;
  explicit layer_under_dora(Be& backend, const reference& ref, bool bias, bool dropping)
      : be(backend), W(matrix(be, ref.W)), x(matrix(be, ref.x)) {
    if (bias) {
      b = matrix(be, ref.b);
    }
    if (dropping) {
      adapter_input = matrix(be, ref.dropped);
    }
    p = dora.start(be, base(), {matrix(be, ref.A), matrix(be, ref.B)}, generator(1));
    write(be, ref.mu, view_of<Be>(p.magnitude));
    gradient = zeros_like(be, p);
  }
  frozen_linear<Be> base() const { return {W, b, scalar_of<Be>(s)}; }
  layer_input<Be> input() const { return {x, adapter_input.rows() > 0 ? adapter_input : x}; }
  table forward() {
    mat<Be> Y = be.zeros(m, N);
    dora.forward(be, p, base(), input(), view_of<Be>(Y), saved_activations);
    return read<Be>(be, Y);
  }
  // The gradient of the base's and of the adapter_input's input.
  std::pair<table, table> backward(const table& C, bool wanted = true) {
    const mat<Be> dY = matrix(be, C);
    mat<Be> dx = be.zeros(n, N);
    mat<Be> d_branch = be.zeros(n, N);
    input_gradient<Be> to{dx, adapter_input.rows() > 0 ? d_branch : dx};
    dora.backward(be, p, base(), input(), const_view_of<Be>(dY), gradient,
                  wanted ? to : input_gradient<Be>{}, saved_activations);
    return {read<Be>(be, dx), read<Be>(be, d_branch)};
  }

  Be& be;
  adapter::dora dora;
  mat<Be> W, b, x, adapter_input;
  params p, gradient;
  adapter::dora::saved_activations<Be> saved_activations;
};

template <class Be>
void check_table(const table& found, const table& want) {
  CHECK(largest(want) > 0);
  CHECK(gap(found, want) < tolerance<Be>(n) * largest(want));
}

}  // namespace

TEST_CASE_TEMPLATE("dora: output, and gradients with the norms held constant", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  for (const bool bias : {true, false}) {
    for (const bool dropping : {true, false}) {
      CAPTURE(bias);
      CAPTURE(dropping);
      reference ref;
      ref.b = bias ? ref.b : table(m, 1);
      ref.dropped = dropping ? ref.dropped : ref.x;
      const table norms = row_norms(ref.directions());
      layer_under_dora<Be> layer(be, ref, bias, dropping);
      check_table<Be>(layer.forward(), ref.output(norms));

      const auto [dx, d_branch] = layer.backward(ref.C);
      const table dA = read<Be>(be, layer.gradient.A);
      const table dB = read<Be>(be, layer.gradient.B);
      check_table<Be>(dA, ref.differences(&reference::A, norms));
      check_table<Be>(dB, ref.differences(&reference::B, norms));
      check_table<Be>(read<Be>(be, layer.gradient.magnitude),
                      ref.differences(&reference::mu, norms));
      const table by_x = ref.differences(&reference::x, norms);
      const table by_dropped = ref.differences(&reference::dropped, norms);
      check_table<Be>(dx, dropping ? by_x : by_x + by_dropped);
      if (dropping) {
        check_table<Be>(d_branch, by_dropped);
      }

      layer.forward();
      layer.backward(ref.C, false);  // gradients add up, whether or not dx is asked for
      check_table<Be>(read<Be>(be, layer.gradient.A), 2.0 * dA);
      check_table<Be>(read<Be>(be, layer.gradient.B), 2.0 * dB);
    }
  }
}

TEST_CASE_TEMPLATE("dora: the norms follow the factors but take no gradient", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  reference ref;
  ref.dropped = ref.x;
  layer_under_dora<Be> layer(be, ref, true, false);
  ref.B = 3.0 * ref.B;
  write(be, ref.B, view_of<Be>(layer.p.B));
  check_table<Be>(layer.forward(), ref.output(row_norms(ref.directions())));
  layer.backward(ref.C);
  // Along B itself the true derivative, with the norms moving, is another one.
  const double h = 1e-4;
  reference up = ref;
  reference down = ref;
  up.B = (1 + h) * ref.B;
  down.B = (1 - h) * ref.B;
  const double moving = dot(ref.C, up.output(row_norms(up.directions())) -
                                       down.output(row_norms(down.directions()))) /
                        (2 * h);
  const double ours = dot(read<Be>(be, layer.gradient.B), ref.B);
  CHECK(std::abs(ours - moving) > 0.1 * std::abs(ours));
}

TEST_CASE_TEMPLATE("dora: starts with the row norms of W + s·B·A, as LoRA bitwise", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const reference ref;
  layer_under_dora<Be> layer(be, ref, true, false);
  layer.p =
      layer.dora.start(be, layer.base(), {matrix(be, ref.A), matrix(be, ref.B)}, generator(1));
  check_table<Be>(read<Be>(be, layer.p.magnitude), row_norms(ref.directions()));
  mat<Be> Y = be.zeros(m, N);
  adapter::lora::saved_activations<Be> saved_activations;
  adapter::lora{}.forward<Be>(be, layer.p, {layer.W, {}, scalar_of<Be>(s)}, layer.input(), Y,
                              saved_activations);
  be.add_to_cols(layer.b, Y);
  CHECK(same(layer.forward(), read<Be>(be, Y)));
  factors<Be> with_core{matrix(be, ref.A), matrix(be, ref.B), be.zeros(r, r)};
  CHECK_THROWS_AS(layer.dora.start(be, layer.base(), std::move(with_core), generator(1)),
                  invalid_argument);
}

TEST_CASE_TEMPLATE("dora: merged equals unmerged, and unmerging gives W back", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  reference ref;
  layer_under_dora<Be> layer(be, ref, true, false);
  const table adapted_output = layer.forward();
  const mat<Be> c = layer.dora.scales(be, layer.p, scalar_of<Be>(s), const_view_of<Be>(layer.W));
  layer.dora.merge(be, layer.p, scalar_of<Be>(s), view_of<Be>(layer.W), view_of<Be>(layer.b));
  const table merged = read<Be>(be, layer.W);
  check_table<Be>(merged * ref.x + ref.b * table(1, N, 1), adapted_output);
  CHECK(same(read<Be>(be, layer.b), read<Be>(be, matrix(be, ref.b))));
  check_table<Be>(row_norms(merged), mapped(ref.mu, [](double x) { return std::abs(x); }));
  layer.dora.unmerge(be, layer.p, scalar_of<Be>(s), const_view_of<Be>(c), view_of<Be>(layer.W));
  const double shrunk = largest(row_norms(ref.directions())) / largest(ref.mu);
  CHECK(gap(read<Be>(be, layer.W), ref.W) < tolerance<Be>(n) * shrunk * largest(ref.W));

  ref.mu(2, 0) = 0;  // merging wipes row 2 out
  write(be, ref.mu, view_of<Be>(layer.p.magnitude));
  const mat<Be> wiped =
      layer.dora.scales(be, layer.p, scalar_of<Be>(s), const_view_of<Be>(layer.W));
  const table before = read<Be>(be, layer.W);
  CHECK_THROWS_AS(layer.dora.unmerge(be, layer.p, scalar_of<Be>(s), const_view_of<Be>(wiped),
                                     view_of<Be>(layer.W)),
                  invalid_argument);
  CHECK(same(read<Be>(be, layer.W), before));
}

TEST_CASE_TEMPLATE("dora: a zero row is LoRA's until it has a direction; NaN stays NaN", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  reference ref;
  for (index_t j = 0; j < n; ++j) {
    ref.W(1, j) = 0;
  }
  ref.B(1, 0) = ref.B(1, 1) = 0;
  ref.dropped = ref.x;
  const table norms = row_norms(ref.directions());
  CHECK(norms(1, 0) == 0);
  layer_under_dora<Be> layer(be, ref, true, false);
  check_table<Be>(layer.forward(), ref.output(norms));
  layer.backward(ref.C);
  const table dB = s * ref.C * transposed(ref.A * ref.x);  // LoRA's
  const table found = read<Be>(be, layer.gradient.B);
  for (index_t k = 0; k < r; ++k) {
    CHECK(found(1, k) == doctest::Approx(dB(1, k)).epsilon(tolerance<Be>(n)));
  }
  CHECK(read<Be>(be, layer.gradient.magnitude)(1, 0) == 0);
  CHECK(largest(found) < 1e6);
  layer.dora.merge(be, layer.p, scalar_of<Be>(s), view_of<Be>(layer.W), view_of<Be>(layer.b));
  CHECK(row_norms(read<Be>(be, layer.W))(1, 0) == 0);

  // A run finds a direction and a length for it.
  regression_data data({{5, 4}});
  for (index_t j = 0; j < 4; ++j) {
    data.layers[0].W(1, j) = 0;
  }
  regressions<Be> net(be, data);
  const auto report = fit(method<adapter::dora, optim::sgd>{.optim = {.lr = 0.02}}, net,
                          typename regressions<Be>::batches{}, {.rank = 2, .steps = 40});
  CHECK(report.status == fit_status::completed);
  const auto& p = report.layers[0].parameters;
  CHECK(std::abs(read<Be>(be, p.magnitude)(1, 0)) > 0.01);
  CHECK(report.losses[36] < report.losses[0]);  // of the same batch

  ref.W(3, 0) = std::nan("");
  layer_under_dora<Be> broken(be, ref, true, false);
  CHECK(std::isnan(broken.forward()(3, 0)));
}
