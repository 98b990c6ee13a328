// The main triplets of a dense difference: as good as the exact ones of their rank, with the energy that they keep.
#include <preheat/convert/low_rank_difference.hpp>

#include "support/backends.hpp"
#include "support/table.hpp"

using namespace conformance;
using namespace preheat;

TEST_CASE_TEMPLATE("low-rank difference: the retained energy is that of the best of its rank", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  // Singular values that fall by 0.7, so that a rank is clearly better than the one before.
  table left = random_table(30, 12, 1);
  for (index_t k = 0; k < 12; ++k) {
    for (index_t i = 0; i < 30; ++i) {
      left(i, k) *= std::pow(0.7, double(k));
    }
  }
  const table product = left * random_table(12, 20, 2);
  const mat<Be> D = matrix(be, product);
  cpu_double exact;
  const table sigma = read<cpu_double>(exact, exact.svd(matrix(exact, product)).S);
  double all = 0;
  for (index_t i = 0; i < sigma.rows; ++i) {
    all += sigma(i, 0) * sigma(i, 0);
  }
  double kept = 0;
  for (index_t rank = 1; rank <= 6; ++rank) {
    kept += sigma(rank - 1, 0) * sigma(rank - 1, 0);
    const auto part = low_rank_difference<Be>(be, D, rank, generator(3));
    CHECK(std::abs(part.retained - kept / all) < 1e-4);
    CHECK(std::abs(part.energy - all) < 1e-5 * all);
    const auto by_energy =
        low_rank_difference_by_energy<Be>(be, D, kept / all - 1e-3, 20, generator(3));
    CHECK(by_energy.d.S.rows() == rank);
  }
  CHECK_THROWS_AS(low_rank_difference<Be>(be, D, 21, generator(3)), invalid_argument);
}
