// Where the blocks of a grid product begin, as cuBLAS takes them: arrays of pointers on the device. A step multiplies
// the same buffers in every pass, so what a kernel has written once is kept, and the next step finds it.
#pragma once
#include <compare>
#include <map>
#include <memory>
#include <utility>

#include "../core/block_grid.hpp"
#include "column_kernels.hpp"
#include "launch.hpp"
#include "matrix.hpp"

namespace preheat::detail {

template <class T>
struct cuda_block_starts {
  cuda_matrix<const T*> left, right;
  cuda_matrix<T*> results;
};

template <class T>
class cuda_known_starts {
 public:
  // Valid until the next call.
  const cuda_block_starts<T>& operator()(const std::shared_ptr<const cuda_context>& context,
                                         const block_grid<const T>& a, const block_grid<const T>& b,
                                         const block_grid<T>& c) {
    const product wanted{place_of(a), place_of(b), place_of(c)};
    if (const auto found = known_.find(wanted); found != known_.end()) {
      return found->second;
    }
    cuda_block_starts<T> starts;
    if (known_.size() >= most) {
      starts = std::move(known_.begin()->second);
      known_.erase(known_.begin());
    }
    const index_t count = c.count();
    starts.left.resize(context, count, 1);
    starts.right.resize(context, count, 1);
    starts.results.resize(context, count, 1);
    launch(*context, count,
           cuda_kernels::block_starts<T>{a.first.data(), b.first.data(), c.first.data(), a.steps,
                                         b.steps, c.steps, a.first.ld(), b.first.ld(), c.first.ld(),
                                         starts.left.data(), starts.right.data(),
                                         starts.results.data()});
    return known_.emplace(wanted, std::move(starts)).first->second;
  }

 private:
  // Of 32 blocks with sequences of 4096 tokens a step has 4096 products.
  static constexpr std::size_t most = 8192;

  // The pointers are a function of these numbers alone.
  struct place {
    const T* first;
    index_t ld, inner, outer, inner_rows, inner_cols, outer_cols, shared;
    auto operator<=>(const place&) const = default;
  };
  struct product {
    place a, b, c;
    auto operator<=>(const product&) const = default;
  };
  template <class X>
  static place place_of(const block_grid<X>& x) {
    const grid_steps& s = x.steps;
    return {x.first.data(), x.first.ld(), s.inner,      s.outer,
            s.inner_rows,   s.inner_cols, s.outer_cols, s.shared};
  }
  std::map<product, cuda_block_starts<T>> known_;
};

}  // namespace preheat::detail
