// What a context asks of the libraries, and that each of its failures is an exception.
#include <doctest/doctest.h>

#include <preheat/cuda/backend.hpp>

#include "double/control.hpp"

using namespace preheat;

TEST_CASE("context: each of its calls that fails is an exception, and leaves nothing behind") {
  const long alive = cuda_double::alive();
  const long before = cuda_double::calls();
  { const cuda_context context; }
  const long calls = cuda_double::calls() - before;
  REQUIRE(calls == 12);
  {
    const cuda_context without_pool(cuda_options{.keep_memory = false});
    CHECK(cuda_double::calls() - before == calls + 9);
  }
  for (long n = 1; n <= calls; ++n) {
    cuda_double::fail_call(n);
    CHECK_THROWS_AS(cuda_context(), cuda_error);
    CHECK(cuda_double::alive() == alive);
  }
}

TEST_CASE("context: each call of each operation that fails is an exception") {
  using Be = cuda<float>;
  Be be(std::make_shared<cuda_context>(cuda_options{.svd = cuda_svd::gesvdj}));
  auto A = be.zeros(4, 3);
  auto S = be.zeros(4, 4);
  std::vector<float> host(12);
  const auto fails_each = [](const auto& f) {
    f();  // the first time it may allocate what it keeps
    const long before = cuda_double::calls();
    f();
    const long calls = cuda_double::calls() - before;
    CHECK(calls > 0);
    for (long n = 1; n <= calls; ++n) {
      cuda_double::fail_call(n);
      CHECK_THROWS_AS(f(), cuda_error);
    }
    f();
  };
  fails_each([&] { be.upload(host, A); });
  fails_each([&] { be.download(A); });
  fails_each([&] { be.copy(transpose::no, A, be.zeros(4, 3)); });
  fails_each([&] { be.copy(transpose::yes, A, be.zeros(3, 4)); });
  fails_each([&] { be.apply(kernel_archetype<float>{}, A, A); });
  fails_each([&] { be.gemm(1, transpose::no, S, transpose::no, A, 0, be.zeros(4, 3)); });
  fails_each([&] { be.gram(transpose::no, A, S); });
  auto X = be.zeros(4, 3);
  fails_each([&] { be.solve_upper(transpose::no, S, X); });
  fails_each([&] { be.dot(A, A); });
  fails_each([&] { be.qr(A); });
  fails_each([&] { be.svd(A); });
  fails_each([&] { be.eigh(S); });
  fails_each([&] { be.cholesky(S); });
  fails_each([&] { be.describe(); });
}
