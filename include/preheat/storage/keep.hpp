// A matrix of a file in the type in which it is to be kept.
#pragma once
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "../core/frozen_weight.hpp"
#include "bf16_rows.hpp"
#include "nf4_rows.hpp"

namespace preheat::storage {

// Whether every entry is finite. Cost: all of them are unpacked once.
inline bool all_finite(const stored_matrix& W) {
  std::vector<float> row(static_cast<std::size_t>(W.cols()));
  for (index_t i = 0; i < W.rows(); ++i) {
    W.unpack(i, 0, W.cols(), row.data());
    for (const float x : row) {
      if (!std::isfinite(x)) {
        return false;
      }
    }
  }
  return true;
}

// Whether both unpack to the same numbers.
inline bool equal(const stored_matrix& a, const stored_matrix& b) {
  bool same = a.rows() == b.rows() && a.cols() == b.cols();
  std::vector<float> row_a(static_cast<std::size_t>(a.cols())), row_b = row_a;
  for (index_t i = 0; same && i < a.rows(); ++i) {
    a.unpack(i, 0, a.cols(), row_a.data());
    b.unpack(i, 0, b.cols(), row_b.data());
    same = row_a == row_b;
  }
  return same;
}

// W as it is, in bf16 or in NF4; for `dense` there is frozen_weight::make_dense. Requires finite entries.
inline stored_matrix kept_as(weight_storage keep, stored_matrix W) {
  require(keep != weight_storage::dense, "kept_as: a stored type");
  if (keep == weight_storage::bf16) {
    return stored_matrix(std::make_shared<const bf16_rows>(W));
  }
  if (keep == weight_storage::nf4) {
    return stored_matrix(std::make_shared<const nf4_rows>(W));
  }
  return W;
}

// Whether a device keeps weights: in its second number type (bf16), in NF4, or in the blocks of a file.
template <class Be>
inline constexpr bool keeps_on_device = weight_storing_backend<Be> && !stored_matrix_backend<Be>;

// Refuses what a backend cannot keep.
template <class Be>
void require_keeps(weight_storage keep) {
  if constexpr (!weight_storing_backend<Be>) {
    require(keep == weight_storage::dense,
            "this backend keeps frozen weights in its scalar only: read them with "
            "weight_storage::dense");
  }
}

// A matrix of a file as W of a layer, from one of three functions: dense() reads it as the backend's matrix,
// stored(keep) as a stored_matrix, and as_it_is(be) what a file has, for a device.
template <class Be, class Dense, class Stored, class AsItIs>
weight_of<Be> kept_by(Be& be, weight_storage keep, Dense dense, Stored stored, AsItIs as_it_is) {
  if constexpr (stored_matrix_backend<Be>) {
    if (keep != weight_storage::dense) {
      return stored(keep);
    }
  } else if constexpr (weight_storing_backend<Be>) {
    if (keep == weight_storage::bf16) {
      return be.store(dense());
    }
    if (keep == weight_storage::nf4) {
      const nf4_rows rows(stored(weight_storage::as_stored));
      std::vector<float> room;
      return be.store(rows.coded(room));
    }
    if (keep == weight_storage::as_stored) {
      return as_it_is(be);
    }
  }
  return dense();
}

}  // namespace preheat::storage
