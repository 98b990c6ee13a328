// The folded step of an adapted layer has the plain adapter's numbers.
#include <doctest/doctest.h>

#include <preheat/cuda/adapted_linear.hpp>

#include "support/table.hpp"

using namespace conformance;
using namespace preheat;

namespace {

constexpr index_t out_size = 70;
constexpr index_t in_size = 40;
constexpr index_t rank = 3;
constexpr index_t tokens = 17;

template <class T, class Storage>
void check_step(double tolerance) {
  using Be = cuda<T>;
  Be be;
  const T s = T(0.5);
  const table W = random_table(out_size, in_size, 1);
  const table A = random_table(rank, in_size, 2);
  const table B = random_table(out_size, rank, 3);
  const table X = random_table(in_size, tokens, 4);
  const table dY = random_table(out_size, tokens, 5);
  cuda_adapted_linear<T, Storage> layer(be, matrix(be, W), matrix(be, A), matrix(be, B), s, tokens);
  be.apply(cuda_kernels::convert<T>{1}, layer.input(), matrix(be, X));

  const auto check = [&](const table& a, const table& b) {
    layer.forward();
    layer.backward(matrix(be, dY));
    const table D = transposed(b) * dY;
    const auto close = [&](view<const T> got, const table& want) {
      return gap(read<Be>(be, got), want) <= tolerance * largest(want);
    };
    CHECK(close(layer.output(), W * X + double(s) * b * (a * X)));
    CHECK(close(layer.input_gradient(), transposed(W) * dY + double(s) * transposed(a) * D));
    CHECK(close(layer.gradient_A(), double(s) * D * transposed(X)));
    CHECK(close(layer.gradient_B(), double(s) * dY * transposed(a * X)));
  };
  check(A, B);
  // New factors are seen after refresh.
  write(be, 2.0 * A, layer.A());
  write(be, -1.0 * B, layer.B());
  layer.refresh();
  check(2.0 * A, -1.0 * B);
}

}  // namespace

TEST_CASE("adapted linear: the folded step has the plain adapter's numbers") {
  check_step<float, float>(1e-5);
  check_step<double, double>(1e-13);
  check_step<float, __nv_bfloat16>(3e-2);
}

TEST_CASE("adapted linear: bfloat16 rounds what the products read and not their sums") {
  using Be = cuda<float>;
  Be be;
  // 1 + 2⁻⁹ is no bfloat16, 1 is; a sum of 257 ones is no bfloat16, but a float.
  auto W = matrix(be, table(1, 257, 1 + 0x1p-9));
  cuda_adapted_linear<float, __nv_bfloat16> layer(be, W, matrix(be, table(1, 257)),
                                                  matrix(be, table(1, 1)), 1, 1);
  be.apply(cuda_kernels::convert<float>{1}, layer.input(), matrix(be, table(257, 1, 1)));
  layer.forward();
  CHECK(be.download(layer.output()).front() == 257);
}

TEST_CASE("adapted linear: shapes that do not fit") {
  using Be = cuda<float>;
  Be be;
  const auto make = [&](index_t a_cols, index_t b_rows, index_t b_cols, index_t count) {
    cuda_adapted_linear<float> layer(be, be.zeros(5, 4), be.zeros(2, a_cols),
                                     be.zeros(b_rows, b_cols), 1, count);
    be.fill(0, layer.input());
    layer.forward();
    layer.backward(be.zeros(5, 3));
  };
  make(4, 5, 2, 3);
  CHECK_THROWS_AS(make(3, 5, 2, 3), invalid_argument);
  CHECK_THROWS_AS(make(4, 4, 2, 3), invalid_argument);
  CHECK_THROWS_AS(make(4, 5, 1, 3), invalid_argument);
  CHECK_THROWS_AS(make(4, 5, 2, 0), invalid_argument);
  CHECK_THROWS_AS(make(4, 5, 2, 4), invalid_argument);
}
