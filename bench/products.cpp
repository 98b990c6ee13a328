// Matrix products of the shapes that a step of LoRA consists of.
#include "bench.hpp"

namespace bench {

namespace {

// op(a)·op(b), m×k by k×n.
template <class Be>
void gemm(benchmark::State& state, transpose ta, transpose tb, index_t m, index_t n, index_t k) {
  Be be;
  const mat<Be> a = ta == transpose::no ? random(be, m, k, 1) : random(be, k, m, 1);
  const mat<Be> b = tb == transpose::no ? random(be, k, n, 2) : random(be, n, k, 2);
  mat<Be> c = be.zeros(m, n);
  for (auto _ : state) {
    be.gemm(1, ta, a, tb, b, 0, c);
    benchmark::ClobberMemory();
  }
  count_flops(state, 2.0 * double(m) * double(n) * double(k));
  count_bytes(state, double(m * k + k * n + m * n) * sizeof(scalar_of<Be>));
}

struct gemm_body {
  transpose ta, tb;
  index_t m, n, k;
  template <class Be>
  auto operator()() const {
    return [self = *this](benchmark::State& state) {
      gemm<Be>(state, self.ta, self.tb, self.m, self.n, self.k);
    };
  }
};

void add_gemm(const std::string& what, transpose ta, transpose tb, index_t m, index_t n,
              index_t k) {
  const std::string shape =
      what + "_" + std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k);
  add("gemm", shape, gemm_body{ta, tb, m, n, k});
}

}  // namespace

// A layer of `out` × `in`, rank r, N tokens.
void register_products() {
  const index_t out = 768;
  const index_t in = 768;
  const index_t r = 8;
  const index_t N = 512;
  add_gemm("W.X", transpose::no, transpose::no, out, N, in);
  add_gemm("Wt.dY", transpose::yes, transpose::no, in, N, out);
  add_gemm("A.X", transpose::no, transpose::no, r, N, in);
  add_gemm("B.H", transpose::no, transpose::no, out, N, r);
  add_gemm("Bt.dY", transpose::yes, transpose::no, r, N, out);
  add_gemm("dY.Ht", transpose::no, transpose::yes, out, r, N);
  add_gemm("D.Xt", transpose::no, transpose::yes, r, in, N);
  add_gemm("W.X_large", transpose::no, transpose::no, 4096, 512, 4096);
}

}  // namespace bench
