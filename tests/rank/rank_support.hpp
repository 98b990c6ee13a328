// Ranks one at a time: a run of regressions whose ranks are read and written as pairs of a row of A
// and a column of B; and runs that are saved and resumed.
#pragma once
#include <preheat/methods.hpp>
#include <preheat/train/fit.hpp>

#include "support/regressions.hpp"

namespace conformance {

using shape_list = std::vector<std::pair<index_t, index_t>>;

// Data, network and batches of a regression; the validation batch is the whole set.
template <preheat::backend Be>
struct regression_task {
  Be be;
  regression_data data;
  regressions<Be> net;
  typename regressions<Be>::batches batches;
  column_range validation = regression_data::everything();

  explicit regression_task(regression_data d) : data(std::move(d)), net(be, data) {}
  explicit regression_task(const shape_list& shapes) : regression_task(regression_data(shapes)) {}
  regression_task(const regression_task&) = delete;
  regression_task& operator=(const regression_task&) = delete;

  template <class Method>
  auto start(const Method& m, const preheat::fit_options& options) {
    return preheat::start_run(m, net, batches, options, validation);
  }
};

template <class Run>
void take_steps(Run& run, index_t count) {
  for (index_t k = 0; k < count; ++k) {
    run.step();
  }
}

// One rank: a is 1×n, b is m×1.
struct rank_pair {
  table a, b;
};
using layer_ranks = std::vector<rank_pair>;

inline table row(const table& t, index_t k) {
  return transposed(columns(transposed(t), k, 1));
}
inline layer_ranks split(const table& A, const table& B) {
  layer_ranks ranks;
  for (index_t k = 0; k < A.rows; ++k) {
    ranks.push_back({row(A, k), columns(B, k, 1)});
  }
  return ranks;
}
template <class Run>
layer_ranks read_ranks(Run& run, index_t l) {
  using Be = typename Run::backend_type;
  const auto& p = run.adapters.layers()[l].parameters;
  return split(read<Be>(run.backend(), p.A), read<Be>(run.backend(), p.B));
}
template <class Run>
std::vector<layer_ranks> read_all_ranks(Run& run) {
  std::vector<layer_ranks> all;
  for (std::size_t l = 0; l < run.layers().size(); ++l) {
    all.push_back(read_ranks(run, index_t(l)));
  }
  return all;
}
template <class Run>
void write_ranks(Run& run, index_t l, const layer_ranks& ranks) {
  using Be = typename Run::backend_type;
  auto& p = run.adapters.layers()[l].parameters;
  for (std::size_t k = 0; k < ranks.size(); ++k) {
    write<Be>(run.backend(), ranks[k].a,
              preheat::view_of<Be>(preheat::view(p.A).row_range(index_t(k), 1)));
    write<Be>(run.backend(), ranks[k].b,
              preheat::view_of<Be>(preheat::view(p.B).col_range(index_t(k), 1)));
  }
}
template <class Run>
index_t active_ranks(Run& run) {
  index_t sum = 0;
  for (const index_t l : run.targets()) {
    sum += run.rank_of(l);
  }
  return sum;
}

// W + s·Σ_k b_k·a_k
inline table whole_weight(const table& W, const layer_ranks& ranks, double s) {
  table sum = W;
  for (const rank_pair& r : ranks) {
    sum = sum + s * (r.b * r.a);
  }
  return sum;
}
// S = −loss of a network with these ranks.
inline double score(const regression_data& data, const std::vector<layer_ranks>& all, double s,
                    column_range c) {
  std::vector<table> weights;
  for (std::size_t l = 0; l < all.size(); ++l) {
    weights.push_back(whole_weight(data.layers[l].W, all[l], s));
  }
  return -data.loss(weights, c);
}

// The mean square of every feature of a batch.
inline table mean_squares(const table& X, column_range c) {
  table t(X.rows, 1);
  for (index_t i = 0; i < X.rows; ++i) {
    for (index_t j = c.first; j < c.first + c.count; ++j) {
      t(i, 0) += X(i, j) * X(i, j) / double(c.count);
    }
  }
  return t;
}
// PRILoRA's pruning: zeroes the ⌊ρ·size⌋ entries of least |A_kj|·√(mean square of feature j) of every
// row, or of all rows together.
inline void prune(layer_ranks& ranks, bool by_row, double fraction, const table& mean_square) {
  const std::size_t group = by_row ? 1 : ranks.size();
  for (std::size_t first = 0; first < ranks.size(); first += group) {
    std::vector<std::pair<double, double*>> entries;
    for (std::size_t k = first; k < first + group; ++k) {
      table& a = ranks[k].a;
      for (index_t j = 0; j < a.cols; ++j) {
        entries.emplace_back(std::abs(a(0, j)) * std::sqrt(mean_square(j, 0)), &a(0, j));
      }
    }
    std::sort(entries.begin(), entries.end());
    const auto pruned = std::size_t(fraction * double(entries.size()));
    for (std::size_t i = 0; i < pruned; ++i) {
      *entries[i].second = 0;
    }
  }
}
// The largest difference of two lists of ranks; infinite if they are not as long.
inline double gap(const layer_ranks& x, const layer_ranks& y) {
  double most = x.size() == y.size() ? 0 : std::numeric_limits<double>::infinity();
  for (std::size_t k = 0; k < std::min(x.size(), y.size()); ++k) {
    most = std::max({most, gap(x[k].a, y[k].a), gap(x[k].b, y[k].b)});
  }
  return most;
}

// Whether a run that is saved after `stop` steps and resumed in a fresh task ends with the bits of
// one that goes on.
template <preheat::backend Be, class Method>
bool resumes_exactly(const Method& m, const regression_data& data,
                     const preheat::fit_options& options, index_t stop) {
  regression_task<Be> task(data);
  auto run = task.start(m, options);
  take_steps(run, stop);
  const preheat::training_state saved = run.state();
  const auto whole = run.run_to_end();

  regression_task<Be> other(data);
  preheat::fit_options rest = options;
  rest.resume = &saved;
  const auto resumed = other.start(m, rest).run_to_end();
  bool equal = whole.losses == resumed.losses && whole.steps == resumed.steps &&
               whole.validation_passes == resumed.validation_passes;
  for (std::size_t l = 0; equal && l < whole.layers.size(); ++l) {
    const auto& x = whole.layers[l];
    const auto& y = resumed.layers[l];
    equal = x.rank == y.rank && x.attached == y.attached &&
            (!x.attached ||
             (same(read<Be>(task.be, x.parameters.A), read<Be>(other.be, y.parameters.A)) &&
              same(read<Be>(task.be, x.parameters.B), read<Be>(other.be, y.parameters.B))));
  }
  return equal;
}

}  // namespace conformance
