// Many factored SVDs, those of the layers of a network: factored_svd.hpp for each. On a device some dozens at a time
// are asked; while the device computes for the next, threads of the host solve the eigenproblems of these.
//
//   const std::vector<linalg::factored_problem<Be>> problems{{B, A, 16, gen}, …};
//   std::vector<svd_result<mat<Be>>> all = linalg::factored_svds(be, problems);
//
// The results are those of factored_svd, each with its own generator. Errors: as there. Memory on a device
// besides the results: 3·R² doubles for each of 2·64 problems.
#pragma once
#include <algorithm>
#include <atomic>
#include <exception>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "factored_svd.hpp"

namespace preheat::linalg {

template <class Be>
struct factored_problem {
  const_view_of<Be> B;
  const_view_of<Be> A;
  index_t r = 0;
  generator gen{};
};

namespace detail {

// f(0) … f(count − 1), on as many threads as the machine has. Errors: the first of any f, when all have ended.
// (Not by std::async: every program would read <future>.)
template <class F>
void on_threads(std::size_t count, const F& f) {
  std::atomic<std::size_t> next{0};
  std::atomic_flag failed;  // whoever sets it may write error
  std::exception_ptr error;
  const auto work = [&] {
    try {
      for (std::size_t i = next++; i < count; i = next++) {
        f(i);
      }
    } catch (...) {
      if (!failed.test_and_set()) {
        error = std::current_exception();
      }
    }
  };
  {
    std::vector<std::jthread> helpers;  // joined where the block ends
    const std::size_t threads = std::min<std::size_t>(count, std::thread::hardware_concurrency());
    for (std::size_t t = 1; t < threads; ++t) {
      helpers.emplace_back(work);
    }
    work();
  }
  if (error) {
    std::rethrow_exception(error);
  }
}

template <wide_on_device Be>
std::vector<svd_result<mat<Be>>> overlapped_svds(Be& be,
                                                 const std::vector<factored_problem<Be>>& all) {
  constexpr std::size_t together = 64;
  constexpr index_t most = 256;  // numbers a side that one of many threads solves
  std::vector<svd_result<mat<Be>>> results;
  const auto ask = [&](std::size_t first) {
    std::vector<gram_question<Be>> questions;
    for (std::size_t i = first; i < std::min(first + together, all.size()); ++i) {
      questions.push_back(ask_gram_core<Be>(be, all[i].B, all[i].A));
    }
    return questions;
  };
  std::vector<gram_question<Be>> questions = ask(0);
  for (std::size_t first = 0; first < all.size(); first += together) {
    std::vector<std::vector<double>> asked;
    for (const gram_question<Be>& q : questions) {
      asked.push_back(in_higher_precision(be).download(q.K));
    }
    std::vector<gram_question<Be>> following = ask(first + together);
    std::vector<std::optional<host_eigenpairs>> pairs(asked.size());
    on_threads(asked.size(), [&](std::size_t i) {
      const factored_problem<Be>& p = all[first + i];
      if (host_solves(p.B.cols(), p.r, most)) {
        pairs[i] = eigenpairs_of_core(asked[i], p.B.cols(), p.r);
      }
    });
    for (std::size_t i = 0; i < asked.size(); ++i) {
      const factored_problem<Be>& p = all[first + i];
      auto found =
          answered_gram_svd<Be>(be, p.B, p.A, p.r, questions[i], asked[i], std::move(pairs[i]));
      if (!found) {
        found = careful_svd<Be>(be, p.B, p.A, p.r);
      }
      results.push_back(completed(be, std::move(*found), p.gen));
    }
    questions = std::move(following);
  }
  return results;
}

}  // namespace detail

template <backend Be>
std::vector<svd_result<mat<Be>>> factored_svds(Be& be,
                                               const std::vector<factored_problem<Be>>& problems) {
  for (const factored_problem<Be>& p : problems) {
    detail::require_factored_rank<Be>(p.B, p.A, p.r);
  }
  if constexpr (detail::wide_on_device<Be>) {
    return detail::overlapped_svds(be, problems);
  } else {
    std::vector<svd_result<mat<Be>>> results;
    for (const factored_problem<Be>& p : problems) {
      results.push_back(factored_svd<Be>(be, p.B, p.A, p.r, p.gen));
    }
    return results;
  }
}

}  // namespace preheat::linalg
