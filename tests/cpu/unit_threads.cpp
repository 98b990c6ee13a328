// The team of threads of the CPU backend, and how it cuts its operations into blocks.
#include <doctest/doctest.h>
#include <algorithm>
#include <atomic>
#include <preheat/cpu/blocks.hpp>
#include <preheat/cpu/thread_team.hpp>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace preheat;

namespace {

// Some work that takes about ten microseconds, so that other threads have the time to take a part.
double work(int part) {
  double sum = part;
  for (int i = 0; i < 5000; ++i) {
    sum = 0.999 * sum + 1;
  }
  return sum;
}

// Whether the blocks are in order, without gaps, and none is empty unless there is nothing to cut.
bool covers(const block_cut& cut) {
  index_t next = 0;
  bool holds = cut.count >= 1;
  for (int i = 0; i < cut.count; ++i) {
    holds = holds && cut.first(i) == next && (cut.size(i) > 0 || cut.length == 0);
    next += cut.size(i);
  }
  return holds && next == cut.length;
}

}  // namespace

TEST_CASE("thread team: every part is done once, and run waits for all of them") {
  for (const int size : {1, 2, 3, 5}) {
    thread_team team(size);
    CHECK(team.size() == size);
    bool holds = true;
    for (int round = 0; round < 300; ++round) {
      const int parts = round % 8;
      std::vector<double> done(8, 0);  // not atomic: a race would be one of run's own making
      team.run(parts, [&](int part) { done[part] += work(part); });
      for (int part = 0; part < 8; ++part) {
        holds = holds && done[part] == (part < parts ? work(part) : 0);
      }
    }
    CHECK(holds);
  }
}

TEST_CASE("thread team: parts do run on several threads") {
  thread_team team(2);
  // Each of the two parts waits for the other one to have begun.
  std::atomic<int> begun{0};
  team.run(2, [&](int) {
    ++begun;
    while (begun < 2) {
      std::this_thread::yield();
    }
  });
  CHECK(begun == 2);
}

TEST_CASE("thread team: an exception of a part comes out of run, after all parts have ended") {
  thread_team team(3);
  for (const int guilty : {0, 3, 6}) {
    std::atomic<int> ended{0};
    const auto run = [&] {
      team.run(7, [&](int part) {
        work(part);
        ++ended;
        if (part == guilty) {
          throw std::runtime_error("part " + std::to_string(part));
        }
      });
    };
    CHECK_THROWS_WITH(run(), ("part " + std::to_string(guilty)).c_str());
    CHECK(ended == 7);
  }
  int parts = 0;
  team.run(1, [&](int) { ++parts; });
  CHECK(parts == 1);
}

TEST_CASE("thread team: two callers, and calls from inside a part") {
  thread_team team(2);
  std::atomic<long> sum{0};
  const auto call = [&] {
    for (int round = 0; round < 200; ++round) {
      team.run(4, [&](int part) {
        work(part);
        team.run(3, [&](int inner) { sum += inner; });
      });
    }
  };
  std::thread other(call);
  call();
  other.join();
  CHECK(sum == 2L * 200 * 4 * (0 + 1 + 2));
}

TEST_CASE("thread team: at least one thread") {
  CHECK_THROWS_AS(thread_team(0), invalid_argument);
}

TEST_CASE("blocks: equal ones cover the length, and each has the least work") {
  for (const index_t length : {0, 1, 5, 16, 100, 768, 1000}) {
    for (const index_t each : {1, 40}) {
      for (const index_t least : {0, 1, 100, 4000, 1 << 20}) {
        for (const int threads : {1, 2, 3, 8}) {
          for (const index_t unit : {1, 16}) {
            const block_cut cut = equal_blocks(length, length * each, least, threads, unit);
            CHECK(covers(cut));
            CHECK(cut.count <= threads);
            for (int i = 0; i < cut.count; ++i) {
              CHECK(cut.first(i) % unit == 0);
              CHECK((cut.count == 1 || cut.size(i) * each + unit * each > least));
            }
          }
        }
      }
    }
  }
  CHECK(equal_blocks(768, 768 * 1000, 1000, 2, 16).size(0) == 384);
  CHECK(equal_blocks(768, 768 * 1000, 1000, 3, 16).count == 3);
}

TEST_CASE("blocks of a product: a large one by threads, a thin one by its shape") {
  constexpr block_sizes sizes;
  const auto cut = [&](transpose ta, transpose tb, index_t m, index_t n, index_t k, int threads) {
    const product_cut p = blocks_of_product(ta, tb, m, n, k, threads, sizes);
    CHECK(covers(p.cut));
    CHECK(p.cut.length == (p.along_columns ? n : m));
    return p;
  };
  // W·X: one block per thread, along the tokens unless there are few.
  CHECK(cut(transpose::no, transpose::no, 768, 512, 768, 1).cut.count == 1);
  CHECK(cut(transpose::no, transpose::no, 768, 512, 768, 2).along_columns);
  CHECK(cut(transpose::no, transpose::no, 768, 512, 768, 2).cut.size(0) == 256);
  CHECK(!cut(transpose::no, transpose::no, 4096, 512, 4096, 3).along_columns);
  CHECK(cut(transpose::no, transpose::no, 4096, 512, 4096, 3).cut.count == 3);
  // Small products are not worth a thread.
  CHECK(cut(transpose::no, transpose::no, 96, 96, 96, 8).cut.count == 1);
  CHECK(cut(transpose::no, transpose::no, 0, 5, 96, 2).cut.count == 1);
  CHECK(cut(transpose::no, transpose::no, 5, 7, 0, 2).cut.count == 1);
  // Thin ones: blocks that OpenBLAS does not pack, the same for any number of threads.
  for (const int threads : {1, 2, 3, 8}) {
    const product_cut ax = cut(transpose::no, transpose::no, 8, 512, 768, threads);
    CHECK(ax.along_columns);
    CHECK(ax.cut.step == 256);
    CHECK(ax.inner == 384);
    const product_cut dyh = cut(transpose::no, transpose::yes, 768, 8, 512, threads);
    CHECK(!dyh.along_columns);
    CHECK(dyh.inner == 256);
    const product_cut bdy = cut(transpose::yes, transpose::no, 8, 512, 768, threads);
    CHECK(bdy.cut.step == 64);
    CHECK(bdy.inner == 768);
  }
  for (const index_t rank : {1, 2, 8, 16, 32, 64}) {
    for (const index_t inner : {1, 8, 385, 1000, 4096, 20000}) {
      for (const transpose ta : {transpose::no, transpose::yes}) {
        for (const transpose tb : {transpose::no, transpose::yes}) {
          const product_cut p = cut(ta, tb, rank, 30000, inner, 1);
          CHECK(p.inner * ((inner + p.inner - 1) / p.inner) >= inner);
          CHECK((p.cut.count == 1 || p.cut.step * rank * p.inner < 1000000));
        }
      }
    }
  }
}
