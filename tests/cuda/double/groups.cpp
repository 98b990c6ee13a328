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

// There is one group, whose fibers stay where they are between two launches: to make them costs more than most kernels.
class group_of_fibers {
 public:
  static group_of_fibers& get() {
    static group_of_fibers group;
    return group;
  }
  // f(group, k) by every thread for k = n − 1, …, 0, the last thread first.
  void run(body f, const void* functor, preheat::index_t n) {
    f_ = f;
    functor_ = functor;
    for (k_ = n; k_-- > 0;) {
      if (!between_columns_) {
        make_fibers();
      }
      between_columns_ = false;
      run_column();
      between_columns_ = true;
    }
  }

 private:
  group_of_fibers() {
    for (auto& memory : stacks_) {
      memory.resize(std::size_t(256) << 10U);
    }
  }
  void make_fibers() {
    for (int t = 0; t < threads; ++t) {
      getcontext(&fibers_[t]);
      fibers_[t].uc_stack.ss_sp = stacks_[t].data();
      fibers_[t].uc_stack.ss_size = stacks_[t].size();
      fibers_[t].uc_link = nullptr;  // none ends
      makecontext(&fibers_[t], &group_of_fibers::start, 0);
    }
  }
  void run_column() {
    joins_.fill(0);
    done_.fill(false);
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
  static void start() {
    group_of_fibers& me = get();
    const int rank = me.rank_;
    const preheat::detail::host_group group(rank, threads, &me, &group_of_fibers::all_of);
    for (;;) {
      me.f_(me.functor_, group, me.k_);
      me.done_[rank] = true;
      swapcontext(&me.fibers_[rank], &me.host_);
    }
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

  body f_ = nullptr;
  const void* functor_ = nullptr;
  preheat::index_t k_ = 0;
  int rank_ = 0;
  bool between_columns_ = false;  // no fiber is within a column, as after a failure
  ucontext_t host_{};
  std::array<ucontext_t, threads> fibers_{};
  std::array<std::vector<char>, threads> stacks_;
  std::array<bool, threads> done_{};
  std::array<long, threads> joins_{};
  std::array<std::array<double, threads>, 2> numbers_{};
};

}  // namespace

extern "C" cudaError_t preheat_compile_this_file_with_nvcc_to_use_a_gpu_for_groups(
    preheat::index_t n, const void* f, std::size_t size_of_f, body run, cudaStream_t s) {
  return call("kernel", usual, [&] {
    machine& m = machine::get();
    const auto* bytes = static_cast<const char*>(f);
    const std::vector<char> functor(bytes, bytes + size_of_f);
    m.enqueue(m.find_stream(s), [=] {
      machine::get().run_kernel(functor,
                                [&] { group_of_fibers::get().run(run, functor.data(), n); });
    });
  });
}
