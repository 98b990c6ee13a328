// A team of threads for the parts of one operation: the caller, and helpers that stay between calls.
//
//   thread_team team(2);
//   team.run(5, [&](int part) { … });   // part 0 … 4, each once; returns when all are done
//
// A part belongs to whoever takes it first. So a helper that wakes late, on a busy machine, costs
// nothing but its help: the caller goes on alone. A helper looks out for work for about half a
// millisecond, yielding its processor, before it sleeps: the products of a training step follow each
// other faster than a sleeping thread wakes (50 µs). Cost of a call: about 1 µs, no allocation.
//
// Errors: the first exception of a part is rethrown by run, after all parts have ended. A team serves
// one caller at a time; one that finds it at work, from another thread or from inside a part, does
// all parts itself.
#pragma once
#include <atomic>
#include <exception>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "../core/types.hpp"
#include "blocks.hpp"

namespace preheat {

class thread_team {
 public:
  // Of so many threads, the caller among them.
  explicit thread_team(int threads) {
    require(threads >= 1, "threads of a team >= 1", threads, 1);
    try {
      for (int i = 1; i < threads; ++i) {
        helpers_.emplace_back([this] { help(); });
      }
    } catch (...) {
      dismiss();
      throw;
    }
  }
  thread_team(const thread_team&) = delete;
  thread_team& operator=(const thread_team&) = delete;
  ~thread_team() { dismiss(); }

  int size() const { return int(helpers_.size()) + 1; }

  // f(0) … f(parts − 1), in any order and at the same time.
  template <class F>
  void run(int parts, const F& f) {
    run(parts, std::addressof(f),
        [](const void* context, int part) { (*static_cast<const F*>(context))(part); });
  }

 private:
  using counter = std::atomic<int>;
  using function = void(const void* context, int part);
  static constexpr int closed = -1;

  // Not a template: a program has hundreds of operations.
  void run(int parts, const void* context, function* call) {
    if (parts <= 1 || helpers_.empty() || at_work_.test_and_set(std::memory_order_acquire)) {
      for (int part = 0; part < parts; ++part) {
        call(context, part);
      }
      return;
    }
    context_ = context;
    call_ = call;
    error_ = nullptr;
    failed_.clear(std::memory_order_relaxed);
    unfinished_.store(parts, std::memory_order_relaxed);
    untaken_.store(parts, std::memory_order_release);
    untaken_.notify_all();
    take_parts();
    for (int left = unfinished_.load(std::memory_order_acquire); left > 0;
         left = unfinished_.load(std::memory_order_acquire)) {
      wait_while(unfinished_, left);
    }
    const std::exception_ptr error = std::exchange(error_, nullptr);
    at_work_.clear(std::memory_order_release);
    if (error) {
      std::rethrow_exception(error);
    }
  }

  // Takes parts until none is left. Whoever has taken one finds call_ and context_ as they are meant
  // for it: run does not return, and writes nothing, before that part has ended.
  void take_parts() {
    int left = untaken_.load(std::memory_order_acquire);
    while (left > 0) {
      if (!untaken_.compare_exchange_weak(left, left - 1, std::memory_order_acquire)) {
        continue;
      }
      try {
        call_(context_, left - 1);
      } catch (...) {
        if (!failed_.test_and_set(std::memory_order_relaxed)) {
          error_ = std::current_exception();
        }
      }
      if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        unfinished_.notify_one();
      }
      left = untaken_.load(std::memory_order_acquire);
    }
  }
  void help() {
    while (untaken_.load(std::memory_order_acquire) != closed) {
      take_parts();
      wait_while(untaken_, 0);
    }
  }
  static void wait_while(const counter& x, int value) {
    constexpr int looks = 1000;
    for (int i = 0; i < looks; ++i) {
      if (x.load(std::memory_order_acquire) != value) {
        return;
      }
      std::this_thread::yield();
    }
    x.wait(value, std::memory_order_acquire);
  }
  void dismiss() {
    untaken_.store(closed, std::memory_order_release);
    untaken_.notify_all();
    for (std::thread& helper : helpers_) {
      helper.join();
    }
  }

  function* call_ = nullptr;
  const void* context_ = nullptr;
  counter untaken_{0};
  counter unfinished_{0};
  std::atomic_flag at_work_;
  std::atomic_flag failed_;  // whoever sets it may write error_
  std::exception_ptr error_;
  std::vector<std::thread> helpers_;
};

// f(context, first, count) for every block: by the team, or without one by the caller.
using block_function = void(const void* context, index_t first, index_t count);
[[gnu::noinline]] inline void run_blocks(thread_team* team, const block_cut& cut,
                                         const void* context, block_function* f) {
  const auto block = [&](int i) { f(context, cut.first(i), cut.size(i)); };
  if (team != nullptr && cut.count > 1) {
    team->run(cut.count, block);
  } else {
    for (int i = 0; i < cut.count; ++i) {
      block(i);
    }
  }
}

}  // namespace preheat
