// The adapted step: forward, dX, dA, dB of one LoRA layer; and, as its bound, the two products with
// the frozen W alone (W·X and Wᵀ·dY). On one thread and, by the wall clock, on two.
#include "bench.hpp"

namespace bench {

namespace {

struct shape {
  index_t tokens, in, out, rank;
};

template <class Be>
struct problem {
  Be be;
  mat<Be> W, X, dY, Y, dX;
  problem(const shape& s, int threads)
      : be(threads),
        W(random(be, s.out, s.in, 1)),
        X(random(be, s.in, s.tokens, 2)),
        dY(random(be, s.out, s.tokens, 3)),
        Y(be.zeros(s.out, s.tokens)),
        dX(be.zeros(s.in, s.tokens)) {}
};

double frozen_flops(const shape& s) {
  return 4.0 * double(s.tokens) * double(s.in) * double(s.out);
}
double thin_flops(const shape& s) {
  return 6.0 * double(s.tokens) * double(s.rank) * double(s.in + s.out);
}

struct step_body {
  shape s;
  int threads = 1;
  template <class Be>
  auto operator()() const {
    return [s = s, threads = threads](benchmark::State& state) {
      problem<Be> p(s, threads);
      Be& be = p.be;
      const adapter::lora lora;
      const frozen_linear<Be> base{.W = p.W, .b = {}, .scaling = 2};
      auto parameters = lora.start(
          be, base, {random(be, s.rank, s.in, 4), random(be, s.out, s.rank, 5)}, generator());
      auto gradient = zeros_like(be, parameters);
      adapter::lora::saved_activations<Be> saved_activations;
      const layer_input<Be> x{p.X, p.X};
      const input_gradient<Be> dx{p.dX, p.dX};
      for (auto _ : state) {
        set_zero(be, gradient);
        lora.forward(be, parameters, base, x, view_of<Be>(p.Y), saved_activations);
        lora.backward(be, parameters, base, x, const_view_of<Be>(p.dY), gradient, dx,
                      saved_activations);
        benchmark::ClobberMemory();
      }
      count_flops(state, frozen_flops(s) + thin_flops(s));
    };
  }
};

struct frozen_body {
  shape s;
  int threads = 1;
  template <class Be>
  auto operator()() const {
    return [s = s, threads = threads](benchmark::State& state) {
      problem<Be> p(s, threads);
      for (auto _ : state) {
        p.be.gemm(1, transpose::no, p.W, transpose::no, p.X, 0, p.Y);
        p.be.gemm(1, transpose::yes, p.W, transpose::no, p.dY, 0, p.dX);
        benchmark::ClobberMemory();
      }
      count_flops(state, frozen_flops(s));
    };
  }
};

void add_both(const std::string& name, const shape& s) {
  add("adapted_step", name, step_body{s});
  add("frozen_products", name, frozen_body{s});
  add("adapted_step", name + "_2_threads", step_body{s, 2}, timing::wall);
  add("frozen_products", name + "_2_threads", frozen_body{s, 2}, timing::wall);
}

}  // namespace

void register_adapted_step() {
  add_both("N512_768x768_r8", {512, 768, 768, 8});
  add_both("N2048_768x3072_r16_large", {2048, 768, 3072, 16});
  add_both("N512_4096x4096_r16_large", {512, 4096, 4096, 16});
}

}  // namespace bench
