// The products of LyCORIS as factors of plain LoRA, against the products themselves.
#include <doctest/doctest.h>

#include <preheat/convert/lycoris_factors.hpp>
#include <preheat/core/random.hpp>

using namespace preheat;

namespace {

using matrix = host_matrix<double>;
using pair = host_factors<double>;

matrix random(index_t rows, index_t cols, std::uint64_t seed) {
  matrix M(rows, cols);
  const generator gen(seed);
  for (std::size_t i = 0; i < M.values.size(); ++i) {
    M.values[i] = gen.normals(i)[0];
  }
  return M;
}

matrix product(const pair& f) {
  matrix M(f.B.rows, f.A.cols);
  for (index_t i = 0; i < M.rows; ++i) {
    for (index_t j = 0; j < M.cols; ++j) {
      for (index_t k = 0; k < f.A.rows; ++k) {
        M(i, j) += f.B(i, k) * f.A(k, j);
      }
    }
  }
  return M;
}

template <class Entry>
void check_entries(const matrix& M, const Entry& entry) {
  for (index_t i = 0; i < M.rows; ++i) {
    for (index_t j = 0; j < M.cols; ++j) {
      CHECK(M(i, j) == doctest::Approx(entry(i, j)).epsilon(1e-12));
    }
  }
}

}  // namespace

TEST_CASE("LoHa: the product of two products, entry by entry") {
  const pair x{random(5, 2, 1), random(2, 4, 2)};
  const pair y{random(5, 3, 3), random(3, 4, 4)};
  const pair f = hadamard_factors(x, y);
  CHECK(f.A.rows == 6);
  check_entries(product(f),
                [&](index_t i, index_t j) { return product(x)(i, j) * product(y)(i, j); });
  CHECK_THROWS_AS(hadamard_factors(x, {random(4, 3, 3), random(3, 4, 4)}), invalid_argument);
}

TEST_CASE("LoKr: the Kronecker product, of whole matrices and of factors") {
  const matrix whole = random(2, 3, 1);
  const pair y{random(4, 2, 3), random(2, 5, 4)};
  const pair f = kronecker_factors(as_factors(whole), y);
  CHECK(f.A.rows == 4);  // the smaller side of the whole one times the rank
  check_entries(product(f), [&](index_t i, index_t j) {
    return whole(i / 4, j / 5) * product(y)(i % 4, j % 5);
  });
}

TEST_CASE("Tucker: a convolution's mid between up and down") {
  constexpr index_t kernel = 3;
  const matrix mid = random(2, 4 * kernel, 1);  // 2×4 ranks
  const matrix down = random(4, 5, 2);
  check_entries(tucker_inputs(mid, down, kernel), [&](index_t p, index_t column) {
    double sum = 0;
    for (index_t q = 0; q < 4; ++q) {
      sum += mid(p, q * kernel + column % kernel) * down(q, column / kernel);
    }
    return sum;
  });
  CHECK_THROWS_AS(tucker_inputs(mid, down, 2), invalid_argument);
}
