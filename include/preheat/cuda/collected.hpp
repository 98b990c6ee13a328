// Elementwise passes of one kernel over many matrices, in few launches: what an optimizer does to the factors of
// all layers, each of which is too small to fill a device or to be worth a launch.
//
//   be.collect([&] {
//     for (auto& s : layers) {
//       be.apply(kernel, s.A, s.gradient);  // held
//     }
//   });  // given to the device, about twenty matrices a launch
//
// A pass is held while only passes of the same kernel and the same types follow, over other matrices. Whatever
// else is asked of the context (a product, a copy, memory, a result) gives it first, so that the order of
// everything that depends on something is that of the calls.
#pragma once
#include <algorithm>
#include <array>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "elementwise.hpp"

namespace preheat {

namespace cuda_kernels {

// Several passes, one behind the other: thread k finds its pass by bisection.
template <class Pass>
struct several {
  struct entry {
    Pass pass;
    index_t end;  // first number of the next one
  };
  // A kernel's arguments are 4 KiB at most, and 32764 bytes from CUDA 12.1 on.
  static constexpr index_t bytes = CUDART_VERSION >= 12010 ? 16128 : 3840;
  static constexpr index_t most = std::max<index_t>(bytes / index_t(sizeof(entry)), 1);

  index_t count = 0;
  entry passes[std::size_t(most)];

  constexpr void operator()(index_t k) const {
    index_t low = 0;
    index_t high = count - 1;
    while (low < high) {
      const index_t middle = (low + high) / 2;
      if (k < passes[middle].end) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    passes[low].pass(k - (low == 0 ? 0 : passes[low - 1].end));
  }
};

}  // namespace cuda_kernels

namespace detail {

// The memory of a matrix, and whether a pass writes to it.
struct cuda_extent {
  const char* begin = nullptr;
  const char* end = nullptr;
  std::size_t height = 0;  // bytes of a column
  std::size_t step = 0;    // from one column to the next
  bool written = false;
  bool forbids(const cuda_extent& other) const {
    return (written || other.written) && begin < other.end && other.begin < end &&
           !lies_beside(other);
  }

 private:
  // Whether they are blocks of one matrix without a row in common.
  bool lies_beside(const cuda_extent& other) const {
    if (other.begin < begin) {
      return other.lies_beside(*this);
    }
    const std::size_t below = step == 0 ? 0 : std::size_t(other.begin - begin) % step;
    return step == other.step && below >= height && below + other.height <= step;
  }
};
template <class T>
cuda_extent extent_of(view<T> x) {
  const char* const begin = reinterpret_cast<const char*>(x.data());
  return {begin,
          x.empty() ? begin : begin + std::size_t((x.cols() - 1) * x.ld() + x.rows()) * sizeof(T),
          std::size_t(x.rows()) * sizeof(T), std::size_t(x.ld()) * sizeof(T), !std::is_const_v<T>};
}

template <class Pass, std::size_t Operands>
class cuda_held_passes : public cuda_held_work {
 public:
  using extents = std::array<cuda_extent, Operands>;

  // False if there is no room, or the pass depends on one that is held.
  bool add(const Pass& pass, index_t size, const extents& operands) {
    if (all_.count == all_.most || std::any_of(used_.begin(), used_.end(), [&](const auto& held) {
          return std::any_of(operands.begin(), operands.end(),
                             [&](const cuda_extent& x) { return held.forbids(x); });
        })) {
      return false;
    }
    const index_t begin = all_.count == 0 ? 0 : all_.passes[all_.count - 1].end;
    all_.passes[all_.count++] = {pass, begin + size};
    used_.insert(used_.end(), operands.begin(), operands.end());
    return true;
  }
  void give(const cuda_context& context) override {
    launch(context, all_.passes[all_.count - 1].end, all_);
  }

 private:
  cuda_kernels::several<Pass> all_;
  std::vector<cuda_extent> used_;
};

// f over all entries, now or, where passes are collected, together with others.
template <class F, class... Ts>
void pass_over(const cuda_context& context, F f, view<Ts>... all) {
  const auto pass = pass_of(f, all...);
  const index_t size = pass.threads();
  if (!context.collects()) {
    return launch(context, size, pass);
  }
  if (size == 0) {
    return;
  }
  using held_passes = cuda_held_passes<std::remove_const_t<decltype(pass)>, sizeof...(Ts)>;
  const typename held_passes::extents operands{extent_of(all)...};
  auto* held = dynamic_cast<held_passes*>(context.held().get());
  if (held == nullptr || !held->add(pass, size, operands)) {
    context.give_held();
    auto fresh = std::make_unique<held_passes>();
    fresh->add(pass, size, operands);
    context.held() = std::move(fresh);
  }
}

}  // namespace detail
}  // namespace preheat
