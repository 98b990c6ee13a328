// A number of the device that the host reads while the device goes on: the host waits for this number, and not for
// what was asked of the device after it. That is how a step of `fit` reads its loss.
//
//   cuda<float>::sent_number loss;   // kept from step to step
//   be.send(total, loss);            // after the forward pass
//   …                                // the backward pass is asked for
//   be.receive(loss);                // waits until the forward pass is over
//
// The number is copied to pinned memory of the host, because only such a copy goes on while the host does, and an
// event of the stream behind the copy says that it is there. With cuda_options{.run_ahead = false} it is copied when
// it is received, behind everything that was asked for, and all of that is waited for.
// Cost: the first number allocates; later ones make two calls, and one to receive them.
#pragma once
#include <memory>
#include <utility>

#include "context.hpp"
#include "matrix.hpp"

namespace preheat::detail {

template <class T>
class cuda_sent_number {
 public:
  // Sends x, which is 1×1, as it will be when all that was asked for before is done. Without run_ahead x must stay
  // until the number is received.
  void send(const std::shared_ptr<const cuda_context>& context, view<const T> x) {
    require(x.rows() == 1 && x.cols() == 1, "send: one number", x.rows(), x.cols());
    from_ = x;
    if (!context->options().run_ahead) {
      return;
    }
    if (way_ == nullptr) {
      way_ = std::make_unique<way>(context);
    }
    way_->travels = true;
    cuda_transfer(*context, x, view<T>(way_->number(), 1, 1), cudaMemcpyDeviceToHost);
    check(cudaEventRecord(way_->arrived, context->wanted_stream()), "cudaEventRecord");
  }
  // The number that was sent last, once.
  T receive(const cuda_context& context) {
    require(!from_.empty(), "receive: a number has been sent");
    const view<const T> from = std::exchange(from_, {});
    if (way_ == nullptr) {
      T number = 0;
      cuda_transfer(context, from, view<T>(&number, 1, 1), cudaMemcpyDeviceToHost);
      context.synchronize();
      return number;
    }
    context.give_held();  // what was asked for later goes to the device before the host waits
    context.leave_graph();
    check(cudaEventSynchronize(way_->arrived), "cudaEventSynchronize");
    way_->travels = false;
    return *way_->number();
  }

 private:
  // Memory of the host, and the event behind the copy to it.
  struct way {
    explicit way(std::shared_ptr<const cuda_context> c) : context(std::move(c)) {
      check(cudaHostAlloc(memory.address(), sizeof(T), cudaHostAllocDefault), "cudaHostAlloc");
      check(cudaEventCreateWithFlags(arrived.address(), cudaEventDisableTiming),
            "cudaEventCreateWithFlags");
    }
    way(const way&) = delete;
    way& operator=(const way&) = delete;
    ~way() {
      if (travels) {  // an error came between, perhaps before the event
        (void)cudaStreamSynchronize(context->wanted_stream());
      }
    }
    T* number() const { return static_cast<T*>(static_cast<void*>(memory)); }

    std::shared_ptr<const cuda_context> context;
    cuda_handle<void*, cudaFreeHost> memory;
    cuda_handle<cudaEvent_t, cudaEventDestroy> arrived;
    bool travels = false;
  };

  view<const T> from_;
  std::unique_ptr<way> way_;
};

}  // namespace preheat::detail
