// Intruder dimensions: main directions of W + ΔW that W has not. Low-rank tuning makes them, and forgetting goes with them
// (Shuttleworth et al., "LoRA vs Full Fine-tuning: An Illusion of Equivalence", arXiv 2410.21228).
//
// With u_i all left singular vectors of W (m×n) and u'_j, σ'_j, v'_j the first triplets of W + ΔW, j is an intruder if
//
//   max_i |u_iᵀ·u'_j| < threshold
//
// PEFT's reduce_intruder_dimension scales them: ΔW + (λ − 1)·Σ_j σ'_j·u'_j·v'_jᵀ, with λ = 0.75; 10 triplets and the
// threshold 0.5 are its defaults too.
//
// Errors: invalid_argument: other shapes, no triplet asked, a threshold outside (0, 1]. Cost: an SVD of W,
// O(m·n·min(m, n)), and a truncated one of W + ΔW.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "../linalg/krylov_svd.hpp"

namespace preheat {

struct intruder_options {
  index_t first = 10;  // triplets of W + ΔW that are looked at
  double threshold = 0.5;
};

template <class Be>
struct found_intruders {
  svd_result<mat<Be>> d;           // the first triplets of W + ΔW
  std::vector<double> similarity;  // max_i |u_iᵀ·u'_j| of each
  std::vector<index_t> intruders;  // the numbers of those below the threshold
};

// `tuned` is W + ΔW.
template <backend Be, random_generator G>
found_intruders<Be> find_intruders(Be& be, const_view_of<Be> W, const_view_of<Be> tuned,
                                   const intruder_options& options, const G& gen) {
  using T = scalar_of<Be>;
  require(W.rows() == tuned.rows() && W.cols() == tuned.cols(),
          "intruders: two matrices of one shape", W.rows(), tuned.rows());
  require(options.first >= 1, "intruders: triplets >= 1", options.first, 1);
  require(options.threshold > 0 && options.threshold <= 1,
          "intruders: a threshold above 0 and at most 1", options.threshold, 1);
  found_intruders<Be> found;
  const index_t most = std::min(W.rows(), W.cols());
  const index_t first = std::min(options.first, most);
  found.d = linalg::krylov_svd<Be>(be, tuned, first, {}, gen);
  const auto base = be.svd(W);
  mat<Be> cosines = be.zeros(base.U.cols(), first);
  be.gemm(T(1), transpose::yes, base.U, transpose::no, found.d.U, T(0), cosines);
  const std::vector<T> host = be.download(cosines);
  for (index_t j = 0; j < first; ++j) {
    double largest = 0;
    for (index_t i = 0; i < cosines.rows(); ++i) {
      largest = std::max(largest, std::abs(double(host[std::size_t(i + j * cosines.rows())])));
    }
    found.similarity.push_back(largest);
    if (largest < options.threshold) {
      found.intruders.push_back(j);
    }
  }
  return found;
}

}  // namespace preheat
