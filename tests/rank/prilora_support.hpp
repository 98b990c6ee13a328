// Runs whose A is pruned every few steps, and counts of zeros.
#pragma once
#include "rank_support.hpp"

namespace conformance {

inline const shape_list pruned_shapes{{9, 12}, {11, 8}, {10, 13}};

template <class Method = preheat::prilora>
Method pruning(index_t every, preheat::rank::prune_mode mode,
               preheat::rank::prune_scope scope = preheat::rank::prune_scope::row) {
  Method m;
  m.optim.lr = 0.02;
  m.rank.every = every;
  m.rank.mode = mode;
  m.rank.scope = scope;
  return m;
}
template <class Run>
table read_a(Run& run, index_t l) {
  using Be = typename Run::backend_type;
  return read<Be>(run.backend(), run.adapters.layers()[l].parameters.A);
}
// 1 where an entry is zero.
inline table zeros(const table& t) {
  return mapped(t, [](double x) { return double(x == 0); });
}
template <class Run>
double zero_count(Run& run, index_t l) {
  return square_norm(zeros(read_a(run, l)));
}
// Zeros of A when half of each row is pruned.
inline double half_pruned(index_t rank, index_t n) {
  return double(rank * (n / 2));
}

// Whether two methods end with the same bits.
template <preheat::backend Be, class First, class Second>
bool same_runs(const First& first, const Second& second, const preheat::fit_options& options) {
  regression_task<Be> task(pruned_shapes);
  regression_task<Be> other(pruned_shapes);
  auto x = task.start(first, options);
  auto y = other.start(second, options);
  bool equal = true;
  while (!x.done()) {
    x.step();
    y.step();
    for (index_t l = 0; l < 3; ++l) {
      equal = equal && gap(read_ranks(x, l), read_ranks(y, l)) == 0;
    }
  }
  return equal && y.done() && x.finish().losses == y.finish().losses;
}

}  // namespace conformance
