// What the processes of a run send one another: the gradients of the adapters, and at a start the
// parameters of process 0.
//
//   exchange.open();                       // the backward pass that completes the gradients begins
//   exchange.start(l, gradient);           // layer l's gradient is final: its sum begins at once
//   exchange.finish(lin.slots());          // begins what is left, waits, unpacks
//
// A layer's trained parts are packed into one buffer, which is summed in place: of LoRA r·(m + n)
// numbers a layer and step cross, one message a layer, while the layers before it are still being
// differentiated. Layers must become final in the same order in every process, as they do where
// every process runs the same network. Memory: a second copy of the gradients.
#pragma once
#include <vector>

#include "../core/communicator.hpp"
#include "../linalg/elementwise.hpp"

namespace preheat {

template <backend Be>
class gradient_exchange {
 public:
  using T = scalar_of<Be>;

  gradient_exchange(Be& be, process_group processes, std::size_t layers)
      : be_(&be), processes_(processes), buffers_(layers), started_(layers, 0) {
    if (!processes.alone() && processes.reaches() != memory_of<Be>()) {
      throw invalid_argument(memory_of<Be>() == memory::device
                                 ? "a backend on a device needs a communicator that reaches its "
                                   "memory: comm::nccl"
                                 : "a backend on the host needs a communicator that reaches its "
                                   "memory: comm::mpi");
    }
  }

  void open() { open_ = !processes_.alone(); }

  template <class P>
  void start(index_t l, P& gradient) {
    const index_t count = trained_size(gradient);
    if (!open_ || started_[std::size_t(l)] != 0 || count == 0) {
      return;
    }
    started_[std::size_t(l)] = 1;
    T* const packed = room(buffers_[std::size_t(l)], count);
    for_parts(gradient, packed,
              [&](out<Be> part, out<Be> place) { be_->copy(op::none, part, place); });
    processes_.start_sum(std::span<T>(packed, std::size_t(count)));
  }

  template <class Slots>
  void finish(Slots& slots) {
    if (!open_) {
      return;
    }
    for (std::size_t l = slots.size(); l-- > 0;) {  // a layer that no pass has used is not started
      if (slots[l].attached) {
        start(index_t(l), slots[l].gradient);
      }
    }
    processes_.wait();
    for (std::size_t l = 0; l < slots.size(); ++l) {
      if (started_[l] != 0) {
        for_parts(slots[l].gradient, buffers_[l].data(),
                  [&](out<Be> part, out<Be> place) { be_->copy(op::none, place, part); });
        started_[l] = 0;
      }
    }
    open_ = false;
  }

  // x becomes the mean of what the processes have, or what process 0 has.
  void mean(out<Be> x) {
    through_buffer(x, [&](std::span<T> packed) {
      processes_.start_sum(packed);
      processes_.wait();
      be_->each(linalg::scale<T>{T(1) / T(processes_.size())},
                out<Be>(packed.data(), index_t(packed.size()), 1));
    });
  }
  void broadcast(out<Be> x) {
    through_buffer(x, [&](std::span<T> packed) { processes_.broadcast(packed); });
  }
  template <class P>
  void broadcast_all(P& p) {
    visit_all([&](auto, auto& x) { broadcast(x); }, p);
  }

 private:
  T* room(mat<Be>& buffer, index_t count) {
    be_->resize(buffer, count, 1);
    return buffer.data();
  }
  // f(part, its place in the buffer) for each trained part.
  template <class P, class F>
  void for_parts(P& gradient, T* packed, F f) {
    visit(
        [&](auto, auto& x) {
          f(out<Be>(x), out<Be>(packed, x.rows(), x.cols()));
          packed += x.rows() * x.cols();
        },
        gradient);
  }
  template <class F>
  void through_buffer(out<Be> x, F f) {
    if (processes_.alone() || x.empty()) {
      return;
    }
    T* const packed = room(scratch_, x.size());
    const out<Be> place(packed, x.rows(), x.cols());
    be_->copy(op::none, x, place);
    f(std::span<T>(packed, std::size_t(x.size())));
    be_->copy(op::none, place, x);
  }

  Be* be_;
  process_group processes_;
  std::vector<mat<Be>> buffers_;  // one a layer
  std::vector<char> started_;     // in this step
  mat<Be> scratch_;
  bool open_ = false;
};

}  // namespace preheat
