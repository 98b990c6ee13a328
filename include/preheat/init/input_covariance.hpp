// The covariance of every layer's input in a few batches, at the base weights: what CorDA and LoRA-Null
// learn from.
//
//   C = mean over batches of x·xᵀ,  x = X/|max X|,  X n×tokens
//
// As in PEFT's preprocess for CorDA, |max X| is the magnitude of the largest entry, not the largest
// magnitude, and every use of a layer in a pass counts as a batch. [preheat] If |max X| is 0, X is
// divided by its largest magnitude.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "../linalg/elementwise.hpp"

namespace preheat::init {

namespace detail {
// |max X|; the largest magnitude if that is 0, and 1 if X is empty or all zero.
template <backend Be>
scalar_of<Be> scale_of_input(Be& be, const_view_of<Be> X) {
  if (X.empty()) {
    return 1;
  }
  const std::vector<scalar_of<Be>> host = be.download(X);
  const scalar_of<Be> peak = std::abs(*std::max_element(host.begin(), host.end()));
  const scalar_of<Be> largest = peak != 0 ? peak : be.max_abs(X);
  return largest != 0 ? largest : scalar_of<Be>(1);
}
}  // namespace detail

// C of each layer that is started. One that is not finite sets the context's status.
// Cost: `batches` steps; n²·tokens operations and n² numbers per layer.
template <class Context, class Be = typename Context::backend_type>
std::vector<mat<Be>> input_covariances(Context& context, index_t batches) {
  using T = scalar_of<Be>;
  Be& be = context.backend();
  std::vector<mat<Be>> C(context.layers().size());
  std::vector<index_t> uses(C.size(), 0);
  for (const index_t l : context.targets) {
    const index_t n = context.layers()[l].W.cols();
    C[l] = be.zeros(n, n);
  }
  context.watch_inputs(batches, [&](index_t l, const_view_of<Be> X) {
    mat<Be> x = clone(be, X);
    be.apply(linalg::scale<T>{1 / detail::scale_of_input(be, X)}, x);
    be.gemm(1, transpose::no, x, transpose::yes, x, 1, C[l]);
    ++uses[l];
  });
  for (const index_t l : context.targets) {
    be.apply(linalg::scale<T>{1 / T(std::max<index_t>(uses[l], 1))}, C[l]);
    context.require_finite(C[l]);
  }
  return C;
}

}  // namespace preheat::init
