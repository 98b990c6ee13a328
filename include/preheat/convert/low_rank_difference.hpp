// The main singular triplets of a dense difference D = W' − W of two models' matrices, as many as a rank or
// a part of the energy ‖D‖_F² asks for: the LoRA of a full fine-tune.
//
//   B = U·√S,  A = √S·Vᵀ    B·A is the best matrix of its rank, up to the error of krylov_svd
//
// The energy is that of D itself, so the part that B·A keeps is known although only some triplets are. For a
// part of it the number of triplets is doubled from 16 on until they have it.
//
// D is m×n. Errors: a rank < 1 or above min(m, n); a NaN or infinite entry. Cost: that of krylov_svd, at
// most twice for a part of the energy: far less than a dense SVD's O(m·n·min(m, n)).
#pragma once
#include <algorithm>
#include <utility>
#include <vector>

#include "../linalg/balanced_factors.hpp"
#include "../linalg/krylov_svd.hpp"
#include "../linalg/spectrum.hpp"

namespace preheat {

template <class Be>
struct low_rank_part {
  svd_result<mat<Be>> d;
  double energy = 0;    // ‖D‖²
  double retained = 1;  // the part of it in the triplets
};

namespace detail {

// ‖D‖² by columns, so that a sum of millions of squares in float keeps its digits.
template <backend Be>
double squared_norm_by_columns(Be& be, const_view_of<Be> D) {
  double sum = 0;
  for (index_t j = 0; j < D.cols(); ++j) {
    sum += double(be.dot(D.col_range(j, 1), D.col_range(j, 1)));
  }
  return sum;
}

}  // namespace detail

// The first `rank` triplets.
template <backend Be, random_generator G>
low_rank_part<Be> low_rank_difference(Be& be, const_view_of<Be> D, index_t rank, const G& gen) {
  low_rank_part<Be> part;
  part.d = linalg::krylov_svd<Be>(be, D, rank, {}, gen);
  part.energy = detail::squared_norm_by_columns<Be>(be, D);
  const std::vector<scalar_of<Be>> s = be.download(part.d.S);
  const std::vector<double> sigma(s.begin(), s.end());
  part.retained = linalg::energy_share(sigma, part.energy);
  return part;
}

// As few triplets as keep this part of the energy, at most `most`.
template <backend Be, random_generator G>
low_rank_part<Be> low_rank_difference_by_energy(Be& be, const_view_of<Be> D, double share,
                                                index_t most, const G& gen) {
  for (index_t rank = std::min<index_t>(16, most);; rank = std::min(2 * rank, most)) {
    low_rank_part<Be> part = low_rank_difference<Be>(be, D, rank, gen);
    if (part.retained < share && rank < most) {
      continue;
    }
    const std::vector<scalar_of<Be>> s = be.download(part.d.S);
    double kept = 0;
    index_t enough = 0;
    while (enough < rank && kept < share * part.energy) {
      kept += double(s[std::size_t(enough)]) * double(s[std::size_t(enough)]);
      ++enough;
    }
    enough = std::max<index_t>(1, enough);
    part.d = linalg::leading_triplets<Be>(be, part.d, enough);
    part.retained = part.energy > 0 ? std::min(1.0, kept / part.energy) : 1;
    return part;
  }
}

}  // namespace preheat
