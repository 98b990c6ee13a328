// Groups of threads on the host: every thread of a group is a fiber, and all of them go on together when each has
// handed in its number. There are five of them, which no loop is made for.
#include <ucontext.h>

#include <array>
#include <cstdlib>
#include <preheat/cuda/launch_groups.hpp>
#include <vector>

#include "machine.hpp"

using namespace cuda_double;

namespace {

constexpr codes<cudaError_t> usual{cudaErrorMemoryAllocation, cudaErrorInvalidValue,
                                   cudaErrorIllegalAddress};
constexpr int threads = 5;

using body = void (*)(const void*, const preheat::detail::host_group&, preheat::index_t);

class group_of_fibers {
 public:
  group_of_fibers(body f, const void* functor) : f_(f), functor_(functor) {
    for (auto& memory : stacks_) {
      memory.resize(std::size_t(256) << 10U);
    }
  }
  // f(group, k) by every thread, the last one first.
  void run(preheat::index_t k) {
    k_ = k;
    joins_.fill(0);
    for (int t = 0; t < threads; ++t) {
      done_[t] = false;
      getcontext(&fibers_[t]);
      fibers_[t].uc_stack.ss_sp = stacks_[t].data();
      fibers_[t].uc_stack.ss_size = stacks_[t].size();
      fibers_[t].uc_link = &host_;
      current = this;
      makecontext(&fibers_[t], &group_of_fibers::start, 0);
    }
    for (bool any = true; any;) {
      any = false;
      for (rank_ = threads - 1; rank_ >= 0; --rank_) {
        if (!done_[rank_]) {
          any = true;
          swapcontext(&host_, &fibers_[rank_]);
        }
      }
      // All of them have handed in a number, or all of them are at the end.
      for (int t = 1; t < threads; ++t) {
        expect(done_[t] == done_[0] && joins_[t] == joins_[0],
               "a thread of a group did not join what the others joined");
      }
    }
  }

 private:
  static void start() {
    group_of_fibers& me = *current;
    const int rank = me.rank_;
    me.f_(me.functor_, preheat::detail::host_group(rank, threads, &me, &group_of_fibers::all_of),
          me.k_);
    me.done_[rank] = true;
  }
  static const double* all_of(void* state, double x) {
    group_of_fibers& me = *static_cast<group_of_fibers*>(state);
    const int rank = me.rank_;
    // Two places in turn: a thread may hand in the next number before another has read these.
    auto& numbers = me.numbers_[std::size_t(me.joins_[rank]++ % 2)];
    numbers[rank] = x;
    swapcontext(&me.fibers_[rank], &me.host_);
    return numbers.data();
  }

  static group_of_fibers* current;
  body f_;
  const void* functor_;
  preheat::index_t k_ = 0;
  int rank_ = 0;
  ucontext_t host_{};
  std::array<ucontext_t, threads> fibers_{};
  std::array<std::vector<char>, threads> stacks_;
  std::array<bool, threads> done_{};
  std::array<long, threads> joins_{};
  std::array<std::array<double, threads>, 2> numbers_{};
};
group_of_fibers* group_of_fibers::current = nullptr;

}  // namespace

extern "C" cudaError_t preheat_compile_this_file_with_nvcc_to_use_a_gpu_for_groups(
    preheat::index_t n, const void* f, std::size_t size_of_f, body run, cudaStream_t s) {
  return call("kernel", usual, [&] {
    machine& m = machine::get();
    const auto* bytes = static_cast<const char*>(f);
    const std::vector<char> functor(bytes, bytes + size_of_f);
    m.enqueue(m.find_stream(s), [=] {
      machine::get().run_kernel(functor, [&] {
        group_of_fibers group(run, functor.data());
        for (preheat::index_t k = n; k-- > 0;) {
          group.run(k);
        }
      });
    });
  });
}
