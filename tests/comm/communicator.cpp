// The laws of a communicator, for the one of MPI.
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <thread>

#include "world.hpp"

using namespace preheat;
using comm_test::world;

namespace {

// What process `rank` has at place i of its k-th vector.
double entry(int rank, std::size_t i, int k) {
  return std::sin(double(i) + 10 * k) * (rank + 1) + k;
}

template <class T>
std::vector<T> vector_of(int rank, std::size_t size, int k) {
  std::vector<T> x(size);
  for (std::size_t i = 0; i < size; ++i) {
    x[i] = T(entry(rank, i, k));
  }
  return x;
}

template <class T>
std::uint64_t hash(const std::vector<T>& x) {
  bit_hash h;
  h.add(std::span<const T>(x));
  return h.value();
}

}  // namespace

TEST_CASE_TEMPLATE("sums: several at a time, of any length, the same bits in every process", T,
                   float, double) {
  auto& w = world();
  const process_group all = w;
  const std::vector<std::size_t> sizes{1, 7, 1000, 300000};
  std::vector<std::vector<T>> x;
  for (std::size_t k = 0; k < sizes.size(); ++k) {
    x.push_back(vector_of<T>(w.rank(), sizes[k], int(k)));
  }
  for (auto& one : x) {
    all.start_sum(std::span<T>(one));
  }
  const double ranks = all.sum(w.rank());  // beside them
  all.wait();
  CHECK(ranks == w.size() * (w.size() - 1) / 2);
  for (std::size_t k = 0; k < sizes.size(); ++k) {
    double worst = 0;
    for (std::size_t i = 0; i < sizes[k]; ++i) {
      double sum = 0;
      for (int r = 0; r < w.size(); ++r) {
        sum += double(T(entry(r, i, int(k))));
      }
      worst = std::max(worst, std::abs(sum - double(x[k][i])));
    }
    CHECK(worst < 50 * double(std::numeric_limits<T>::epsilon()));
    CHECK_NOTHROW(all.require_same(hash(x[k]), "sum"));
  }
}

// Sums that were begun earlier are done before anybody waits, as soon as later ones begin. The machine
// may be busy, so this is tried a few times.
TEST_CASE("sums progress while others start") {
  auto& w = world();
  double done = 0;
  for (int attempt = 0; attempt < 20 && done == 0; ++attempt) {
    std::vector<std::vector<float>> x(24, std::vector<float>(1000, 1));
    w.barrier();
    for (auto& one : x) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));  // no call to MPI
      w.start_sum(std::span<float>(one));
    }
    const auto& first = x.front();
    const bool all_there =
        std::all_of(first.begin(), first.end(), [&](float sum) { return sum == float(w.size()); });
    w.wait();
    done = w.sum(all_there ? 1 : 0);
  }
  CHECK(done > 0);
}

TEST_CASE_TEMPLATE("broadcast: everybody has what the root had", T, float, double) {
  auto& w = world();
  for (int root = 0; root < w.size(); ++root) {
    std::vector<T> x = vector_of<T>(w.rank(), 33, 1);
    w.broadcast(std::span<T>(x), root);
    CHECK(x == vector_of<T>(root, 33, 1));
  }
}

TEST_CASE(
    "numbers of the host: sum, mean, any, that of the first; a difference is refused by all") {
  auto& w = world();
  const process_group all = w;
  const int n = w.size();
  CHECK(all.mean(w.rank()) == double(n - 1) / 2);
  CHECK(all.of_first(w.rank() + 0.25) == 0.25);
  CHECK(all.any(w.rank() == n - 1));
  CHECK_FALSE(all.any(false));
  CHECK(std::isnan(all.of_first(w.rank() == 0 ? std::nan("") : 1)));
  CHECK_NOTHROW(all.require_same(std::uint64_t(0xFEDCBA9876543210U), "number"));
  CHECK_NOTHROW(all.require_same(0.1, "number"));
  // The last bit of one process, the high half of another.
  const std::uint64_t low = w.rank() == n - 1 ? 1 : 0;
  CHECK_THROWS_WITH_AS(all.require_same(low, "seed"),
                       "preheat: the processes of a run have the same seed", invalid_argument);
  CHECK_THROWS_AS(all.require_same(low << 63U, "seed"), invalid_argument);
}

TEST_CASE("barrier: nobody leaves before the last has come") {
  using clock = std::chrono::steady_clock;
  auto& w = world();
  w.barrier();
  const auto begun = clock::now();
  const std::chrono::milliseconds late{100};
  if (w.rank() == w.size() - 1) {
    std::this_thread::sleep_for(late);
  }
  w.barrier();
  CHECK(clock::now() - begun > late / 2);
}

TEST_CASE("texts go between two processes in order, of any length") {
  auto& w = world();
  const std::string longer(200000, 'x');
  if (w.rank() != 0) {
    w.send(0, "");
    w.send(0, longer + std::to_string(w.rank()));
  } else {
    std::vector<int> came(std::size_t(w.size()), 0);
    for (int left = 2 * (w.size() - 1); left > 0;) {
      if (const auto m = w.receive()) {
        int& count = came[m->from];
        CHECK(m->text == (count == 0 ? "" : longer + std::to_string(m->from)));
        ++count;
        --left;
      }
    }
    CHECK_FALSE(w.receive());
  }
  w.barrier();
}

TEST_CASE("a failing call throws, with the call, what MPI says, the code and the place") {
  try {
    world().send(world().size(), "nobody");
    FAIL("there is no such process");
  } catch (const mpi_error& error) {
    const std::string text = error.what();
    CAPTURE(text);
    CHECK(text.starts_with("preheat: MPI_Send: MPI_ERR_RANK"));
    CHECK(text.find("(" + std::to_string(error.code) + "), mpi.hpp:") != std::string::npos);
    CHECK(error.code != MPI_SUCCESS);
  }
  world().barrier();
}
