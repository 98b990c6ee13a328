// What the processes of a run exchange: the gradients of the adapters and, at a start, the
// parameters of process 0.
//
//   all_reduce.open();                   // before the backward pass that completes the gradients
//   all_reduce.start(l, gradient);       // layer l's gradient is final, and its sum begins
//   all_reduce.finish(linear.layers());  // begins what is left, waits, unpacks
//
// A layer's trained parameters are packed into one buffer, which is summed in place while the
// layers before it are still being differentiated: one message per layer and step, for LoRA of r·(m
// + n) numbers. The gradients must become final in the same order of layers in every process, which
// holds because every process runs the same network. Memory: a second copy of the gradients.
#pragma once
#include <array>
#include <tuple>
#include <vector>

#include "../core/communicator.hpp"
#include "../linalg/elementwise.hpp"

namespace preheat {

namespace detail {
// The trained parameters of p, whatever the adapter.
template <backend Be>
struct trained_views {
  static constexpr std::size_t most = 8;
  std::array<view_of<Be>, most> views;
  std::size_t count = 0;

  template <class P>
  explicit trained_views(P& p) {
    for_each_trained(
        [&](auto, auto& x) {
          static_assert(std::tuple_size_v<decltype(P::parameters())> <= most);
          views[count++] = x;
        },
        p);
  }
  auto begin() const { return views.begin(); }
  auto end() const { return views.begin() + count; }
};
}  // namespace detail

template <backend Be>
class gradient_all_reduce {
 public:
  using T = scalar_of<Be>;

  gradient_all_reduce(Be& be, process_group processes, std::size_t layers);

  void open() { open_ = !processes_.alone(); }

  template <class P>
  void start(index_t l, P& gradient) {
    if (open_ && started_[l] == 0) {
      start_sum(l, detail::trained_views<Be>(gradient));
    }
  }

  template <class Layers>
  void finish(Layers& adapted_layers) {
    if (open_) {
      finish_sums(adapted_layers);
    }
  }

  // x becomes the mean of what the processes have, or what process 0 has.
  void mean(view_of<Be> x);
  void broadcast(view_of<Be> x);
  template <class P>
  void broadcast_all(P& p) {
    for_each([&](auto, auto& x) { broadcast(x); }, p);
  }

 private:
  template <class Layers>
  [[gnu::cold]] void finish_sums(Layers& adapted_layers) {  // (most programs are one process)
    for (std::size_t l = adapted_layers.size();
         l-- > 0;) {  // a layer that no pass has used is not started
      if (adapted_layers[l].attached) {
        start(index_t(l), adapted_layers[l].gradient);
      }
    }
    processes_.wait();
    for (std::size_t l = 0; l < adapted_layers.size(); ++l) {
      if (started_[l] != 0) {
        unpack(index_t(l), detail::trained_views<Be>(adapted_layers[l].gradient));
      }
    }
    open_ = false;
  }
  void start_sum(index_t l, const detail::trained_views<Be>& gradient);
  void unpack(index_t l, const detail::trained_views<Be>& gradient);
  T* room(mat<Be>& buffer, index_t count) {
    be_->resize(buffer, count, 1);
    return buffer.data();
  }
  template <class F>
  void through_buffer(view_of<Be> x, F f) {
    if (processes_.alone() || x.empty()) {
      return;
    }
    T* const packed = room(scratch_, x.size());
    const view_of<Be> place(packed, x.rows(), x.cols());
    be_->copy(transpose::no, x, place);
    f(std::span<T>(packed, std::size_t(x.size())));
    be_->copy(transpose::no, place, x);
  }

  Be* be_;
  process_group processes_;
  std::vector<mat<Be>> buffers_;  // one per layer
  std::vector<char> started_;     // in this step
  mat<Be> scratch_;
  bool open_ = false;
};

// (Outside the class, and so not inline, that preheat::kernels can have them compiled.)
template <backend Be>
[[gnu::cold]] gradient_all_reduce<Be>::gradient_all_reduce(Be& be, process_group processes,
                                                           std::size_t layers)
    : be_(&be), processes_(processes), buffers_(layers), started_(layers, 0) {
  require_reached_memory<Be>(processes);
}
template <backend Be>
void gradient_all_reduce<Be>::start_sum(index_t l, const detail::trained_views<Be>& gradient) {
  index_t count = 0;
  for (const view_of<Be>& parameter : gradient) {
    count += parameter.size();
  }
  if (count == 0) {
    return;
  }
  started_[l] = 1;
  T* const packed = room(buffers_[l], count);
  T* place = packed;
  for (const view_of<Be>& parameter : gradient) {
    be_->copy(transpose::no, parameter, view_of<Be>(place, parameter.rows(), parameter.cols()));
    place += parameter.size();
  }
  processes_.start_sum(std::span<T>(packed, std::size_t(count)));
}
template <backend Be>
void gradient_all_reduce<Be>::unpack(index_t l, const detail::trained_views<Be>& gradient) {
  T* place = buffers_[l].data();
  for (const view_of<Be>& parameter : gradient) {
    be_->copy(transpose::no, view_of<Be>(place, parameter.rows(), parameter.cols()), parameter);
    place += parameter.size();
  }
  started_[l] = 0;
}
template <backend Be>
void gradient_all_reduce<Be>::mean(view_of<Be> x) {
  through_buffer(x, [&](std::span<T> packed) {
    processes_.start_sum(packed);
    processes_.wait();
    be_->apply(linalg::scale<T>{T(1) / T(processes_.size())},
               view_of<Be>(packed.data(), index_t(packed.size()), 1));
  });
}
template <backend Be>
[[gnu::cold]] void gradient_all_reduce<Be>::broadcast(view_of<Be> x) {
  through_buffer(x, [&](std::span<T> packed) { processes_.broadcast(packed); });
}

}  // namespace preheat
