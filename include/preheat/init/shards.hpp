// MiSS, Matrix Shard Sharing (Kang, Yin, "MiSS: Revisiting the Trade-off in LoRA with an Efficient
// Shard-Sharing Structure", ICLR 2026, arXiv 2409.15371): the input is cut into shards of r features, the
// shards are summed, and one trained matrix D (r×m) maps the sum to the output, y = W·x + b + Dᵀ·Σ x_shard.
// That is LoRA exactly, with B = Dᵀ and a fixed A of zeros and ones,
//
//   A_kj = 1 where j mod r = k, else 0;   B = 0 at the start;   s = 1: scaling::constant(1) [PEFT]
//
// so MiSS is this init under adapter::asymmetric<parameter_role::B>, is saved as plain LoRA, merges, and
// composes like any other. The last shard may be shorter. PEFT's variants "bat" and "mini" are others.
// Errors: an adapter that freezes B. Cost: none. A training step computes A·x as a product, 2·r·n·N
// operations where a sum of shards needs n·N.
#pragma once
#include <utility>

#include "../linalg/elementwise.hpp"

namespace preheat::init {

// x = 1 where the column's number, modulo the rows, is the row's
template <class T>
struct shard_pattern {
  index_t rows;
  constexpr void operator()(index_t at, T& x) const {
    x = (at / rows) % rows == at % rows ? T(1) : T(0);
  }
};

struct shards {
  using axis = axes::init;
  static constexpr initial_product product = initial_product::zero;

  template <backend Be>
  factors<Be> operator()(Be& be, const target_layer<Be>& s) const {
    require(s.side != singular_side::left,
            "init::shards gives A, which must not be the trained factor alone: use "
            "adapter::asymmetric<parameter_role::B>");
    mat<Be> A = be.zeros(s.rank, s.W.cols());
    be.apply_indexed(shard_pattern<scalar_of<Be>>{s.rank}, A);
    return {std::move(A), be.zeros(s.W.rows(), s.rank)};
  }
};

}  // namespace preheat::init
