// A layer whose input comes in chunks computes what it computes of the whole input: the same outputs,
// masks and gradients, in the buffers of one chunk, and its gradient is final once.
#include <preheat/nn/mlp.hpp>
#include <preheat/operators/adapted.hpp>
#include <preheat/operators/recorder.hpp>

#include "support/backends.hpp"
#include "support/table.hpp"

using namespace conformance;
using namespace preheat;

namespace {

constexpr index_t columns_in_all = 7;
constexpr index_t chunk_size = 3;  // the last one has one column

template <class Be>
struct one_layer {
  Be be;
  nn::mlp<Be> net{be, {5, 4}, 1};
  adapted<Be, adapter::lora> linear{net};
  table x = random_table(5, columns_in_all, 2);
  table dy = random_table(4, columns_in_all, 3);
  mat<Be> X = matrix(be, x);
  mat<Be> dY = matrix(be, dy);

  one_layer() {
    factors<Be> f{matrix(be, random_table(2, 5, 4)), matrix(be, random_table(4, 2, 5))};
    linear.attach(0, adapter::lora{}.start(be, linear.base(0), std::move(f), generator(0)), 1);
    linear.set_dropout(0.4, generator(8), 2);
  }
  template <class F>
  void each_chunk(F f) {
    for (index_t first = 0; first < columns_in_all; first += chunk_size) {
      const index_t n = std::min(chunk_size, columns_in_all - first);
      linear.next_chunk(0, first, columns_in_all);
      f(first, n, const_view_of<Be>(X).col_range(first, n));
    }
  }
};

}  // namespace

TEST_CASE_TEMPLATE("chunks of an input: outputs, masks and gradients of the whole", Be,
                   PREHEAT_BACKENDS) {
  one_layer<Be> whole;
  int final_calls = 0;
  whole.linear.begin(pass_kind::training);
  const table Y = read<Be>(whole.be, whole.linear.forward(0, whole.X));
  const table dX = read<Be>(whole.be, whole.linear.backward(0, whole.X, whole.dY, true));

  one_layer<Be> parts;
  parts.linear.gradient_final = [&](index_t) { ++final_calls; };
  for (int pass = 0; pass < 2; ++pass) {  // nothing of a pass is left in the next one
    parts.linear.zero_gradients();
    final_calls = 0;
    parts.linear.begin(pass_kind::training);
    parts.each_chunk([&](index_t first, index_t n, const_view_of<Be> X) {
      CHECK(gap(read<Be>(parts.be, parts.linear.forward(0, X)), columns(Y, first, n)) <
            tolerance<Be>(4));
      CHECK(final_calls == 0);
      const view_of<Be> d =
          parts.linear.backward(0, X, const_view_of<Be>(parts.dY).col_range(first, n), true);
      CHECK(gap(read<Be>(parts.be, d), columns(dX, first, n)) < tolerance<Be>(4));
    });
    CHECK(final_calls == 1);
    const auto& expected = whole.linear.layers()[0].gradient;
    const auto& found = parts.linear.layers()[0].gradient;
    CHECK(gap(read<Be>(parts.be, found.A), read<Be>(whole.be, expected.A)) < tolerance<Be>(16));
    CHECK(gap(read<Be>(parts.be, found.B), read<Be>(whole.be, expected.B)) < tolerance<Be>(16));
  }
  parts.linear.begin(pass_kind::training);  // and a whole input is one again
  CHECK(gap(read<Be>(parts.be, parts.linear.forward(0, parts.X)), Y) < tolerance<Be>(4));
}

TEST_CASE_TEMPLATE("chunks of an input: an evaluation keeps the output of one", Be,
                   PREHEAT_BACKENDS) {
  one_layer<Be> parts;
  parts.linear.begin(pass_kind::evaluation);
  const void* first_output = nullptr;
  parts.each_chunk([&](index_t first, index_t, const_view_of<Be> X) {
    const view_of<Be> Y = parts.linear.forward(0, X);
    CHECK((first == 0 || Y.data() == first_output));
    first_output = Y.data();
  });
}

TEST_CASE_TEMPLATE("chunks of an input: a recorder sees every column once", Be, PREHEAT_BACKENDS) {
  one_layer<Be> parts;
  recorder<Be> watch(parts.net, {0});
  index_t inputs = 0;
  index_t gradients = 0;
  watch.on_input = [&](index_t, const_view_of<Be> X) { inputs += X.cols(); };
  watch.on_gradient = [&](index_t, const_view_of<Be> X, const_view_of<Be>) {
    gradients += X.cols();
  };
  watch.begin(pass_kind::training);
  const void* place = nullptr;
  for (index_t first = 0; first < columns_in_all; ++first) {
    watch.next_chunk(0, first, columns_in_all);
    const const_view_of<Be> X = const_view_of<Be>(parts.X).col_range(first, 1);
    const view_of<Be> Y = watch.forward(0, X);
    CHECK((first == 0 || Y.data() == place));
    place = Y.data();
    watch.backward(0, X, const_view_of<Be>(parts.dY).col_range(first, 1), false);
  }
  CHECK(inputs == columns_in_all);
  CHECK(gradients == columns_in_all);
}
