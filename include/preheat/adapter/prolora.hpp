// PRoLoRA: sharing inside a layer by broadcast and rotation ("PRoLoRA: Partial Rotation Empowers
// More Parameter-Efficient LoRA", arXiv 2402.16902). Of r ranks, u are plain; the other r' = r − u
// are built from a chunk A₀ (r'×⌈n/m_A⌉), repeated m_A times along the inputs, and a chunk B₀
// (⌈m/m_B⌉×r'), repeated m_B times along the outputs, each replica rotated along the ranks:
//
//   A = [A_0 | A_1 | …] cut to n columns, then the u rows A_u below;   A_i[k,:] = A₀[(k + i·s_A) mod r',:]
//   B = B_0 over B_1 over … cut to m rows, then the u columns B_u;     B_i[:,k] = B₀[:,(k + i·s_B) mod r']
//   s_A = max(⌊r'/m_A⌋, 1), s_B likewise;   ΔW = s·B·A, s of the total rank r
//
// Trained: r'·(⌈n/m_A⌉ + ⌈m/m_B⌉) + u·(m + n) numbers. u = r, or m_A = m_B = 1, is LoRA bitwise.
// Start: A₀ and A_u are the first columns and the last rows of the init's A, so that with
// init::kaiming both are U(±1/√n) with the full n ("rectified"); B = 0. It cannot hold an arbitrary
// product, and singular vectors of a whole A (init::hrp) are none in a chunk.
//
// A rotation is two contiguous blocks of ranks, so every product is computed from A₀ and B₀
// themselves: only `product` forms A and B, for export and merging. Cost: LoRA's operations, in 2·m_A
// and 2·m_B thin products instead of one each.
#pragma once
#include <algorithm>
#include <tuple>

#include "frozen.hpp"

namespace preheat::adapter {

struct prolora {
  using axis = axes::adapter;
  static constexpr bool has_factors = true;
  static constexpr bool represents_any_product = false;
  static constexpr singular_side side = singular_side::automatic;

  index_t share_a = 2;   // m_A
  index_t share_b = 2;   // m_B
  index_t unshared = 0;  // u

  template <class Be>
  struct params {
    mat<Be> A0;
    mat<Be> Au;  // u×n, also when u = 0
    mat<Be> B0;
    mat<Be> Bu;  // m×u, also when u = 0
    static constexpr auto parameters() {
      return std::tuple(make_parameter<parameter_role::A>("A0", &params::A0),
                        make_parameter<parameter_role::A>("Au", &params::Au),
                        make_parameter<parameter_role::B>("B0", &params::B0),
                        make_parameter<parameter_role::B>("Bu", &params::Bu));
    }
  };
  template <class Be>
  struct saved_activations {
    mat<Be> H;
    mat<Be> D;
  };

  template <backend Be>
  params<Be> start(Be& be, const frozen_linear<Be>&, const factors<Be>& f, const generator&) const {
    require_no_core(f);
    const index_t r = f.A.rows();
    require(share_a >= 1 && share_b >= 1, "adapter::prolora: shares >= 1", share_a, share_b);
    require(0 <= unshared && unshared <= r, "adapter::prolora: 0 <= unshared <= rank", unshared, r);
    const index_t shared = r - unshared;
    const const_view_of<Be> A = f.A;
    const const_view_of<Be> B = f.B;
    return {clone(be, A.block(0, 0, shared, chunk(A.cols(), share_a))),
            clone(be, A.row_range(shared, unshared)),
            clone(be, B.block(0, 0, chunk(B.rows(), share_b), shared)),
            clone(be, B.col_range(shared, unshared))};
  }

  template <backend Be>
  void forward(Be& be, const params<Be>& p, const frozen_linear<Be>& base, const layer_input<Be>& x,
               view_of<Be> Y, saved_activations<Be>& t) const {
    const scalar_of<Be> s = base.scaling;
    const index_t shared = p.A0.rows();
    be.resize(t.H, rank(p), x.adapter_input.cols());
    const view_of<Be> H = t.H;
    frozen_forward(be, base, x.base, Y);
    for_each_block(x.adapter_input.rows(), shared, share_a, [&](const block& b) {
      be.gemm(1, transpose::no, ranks_of_a(p.A0, b), transpose::no,
              x.adapter_input.row_range(b.at, b.length), b.keep_old(),
              H.row_range(b.rank, b.ranks));
    });
    for_each_block(Y.rows(), shared, share_b, [&](const block& b) {
      be.gemm(s, transpose::no, ranks_of_b(p.B0, b), transpose::no, H.row_range(b.rank, b.ranks), 1,
              Y.row_range(b.at, b.length));
    });
    if (p.Au.rows() > 0) {
      const view_of<Be> plain = H.row_range(shared, p.Au.rows());
      be.gemm(1, transpose::no, p.Au, transpose::no, x.adapter_input, 0, plain);
      be.gemm(s, transpose::no, p.Bu, transpose::no, plain, 1, Y);
    }
  }

  template <backend Be>
  void backward(Be& be, const params<Be>& p, const frozen_linear<Be>& base,
                const layer_input<Be>& x, const_view_of<Be> dY, params<Be>& gradient,
                const input_gradient<Be>& dx, saved_activations<Be>& t) const {
    const scalar_of<Be> s = base.scaling;
    const index_t shared = p.A0.rows();
    be.resize(t.D, rank(p), dY.cols());
    const const_view_of<Be> H = t.H;
    const view_of<Be> D = t.D;
    if (dx.wanted()) {
      frozen_backward(be, base, dY, dx.base);
    }
    for_each_block(dY.rows(), shared, share_b, [&](const block& b) {
      const const_view_of<Be> dY_part = dY.row_range(b.at, b.length);
      be.gemm(s, transpose::no, dY_part, transpose::yes, H.row_range(b.rank, b.ranks), 1,
              ranks_of_b(gradient.B0, b));
      be.gemm(1, transpose::yes, ranks_of_b(p.B0, b), transpose::no, dY_part, b.keep_old(),
              D.row_range(b.rank, b.ranks));
    });
    for_each_block(x.adapter_input.rows(), shared, share_a, [&](const block& b) {
      const const_view_of<Be> D_part = D.row_range(b.rank, b.ranks);
      be.gemm(s, transpose::no, D_part, transpose::yes, x.adapter_input.row_range(b.at, b.length),
              1, ranks_of_a(gradient.A0, b));
      if (dx.wanted()) {
        be.gemm(s, transpose::yes, ranks_of_a(p.A0, b), transpose::no, D_part, 1,
                dx.adapter_input.row_range(b.at, b.length));
      }
    });
    if (p.Au.rows() > 0) {
      const view_of<Be> plain = D.row_range(shared, p.Au.rows());
      be.gemm(s, transpose::no, dY, transpose::yes, H.row_range(shared, p.Au.rows()), 1,
              gradient.Bu);
      be.gemm(1, transpose::yes, p.Bu, transpose::no, dY, 0, plain);
      be.gemm(s, transpose::no, plain, transpose::yes, x.adapter_input, 1, gradient.Au);
      if (dx.wanted()) {
        be.gemm(s, transpose::yes, p.Au, transpose::no, plain, 1, dx.adapter_input);
      }
    }
  }

  // A and B themselves, for export and merging.
  template <backend Be>
  factors<Be> product(Be& be, const params<Be>& p) const {
    const index_t shared = p.A0.rows();
    const index_t n = p.Au.cols();
    const index_t m = p.Bu.rows();
    factors<Be> f{be.zeros(rank(p), n), be.zeros(m, rank(p))};
    const view_of<Be> A = f.A;
    const view_of<Be> B = f.B;
    for_each_block(n, shared, share_a, [&](const block& b) {
      be.copy(transpose::no, ranks_of_a(p.A0, b), A.block(b.rank, b.at, b.ranks, b.length));
    });
    for_each_block(m, shared, share_b, [&](const block& b) {
      be.copy(transpose::no, ranks_of_b(p.B0, b), B.block(b.at, b.rank, b.length, b.ranks));
    });
    be.copy(transpose::no, p.Au, A.row_range(shared, p.Au.rows()));
    be.copy(transpose::no, p.Bu, B.col_range(shared, p.Bu.cols()));
    return f;
  }
  template <class Be>
  index_t rank(const params<Be>& p) const {
    return p.A0.rows() + p.Au.rows();
  }

 private:
  // One contiguous piece of a replica: positions at … at + length of the inputs (or outputs), where
  // the ranks rank … rank + ranks of A (or B) are the ranks source … source + ranks of the chunk.
  struct block {
    index_t at, length;
    index_t rank, source, ranks;
    // What a sum over replicas multiplies its old value by: the first replica overwrites.
    int keep_old() const { return at == 0 ? 0 : 1; }
  };

  static index_t chunk(index_t size, index_t share) { return (size + share - 1) / share; }

  template <class F>
  static void for_each_block(index_t size, index_t shared, index_t share, F f) {
    if (shared == 0) {
      return;
    }
    const index_t stride = std::max<index_t>(shared / share, 1);
    const index_t length = chunk(size, share);
    for (index_t i = 0; i * length < size; ++i) {
      const index_t at = i * length;
      const index_t turn = i * stride % shared;
      const index_t cut = std::min(length, size - at);
      f(block{at, cut, 0, turn, shared - turn});
      if (turn > 0) {
        f(block{at, cut, shared - turn, 0, turn});
      }
    }
  }
  template <class M>
  static auto ranks_of_a(M& A0, const block& b) {
    return view(A0).block(b.source, 0, b.ranks, b.length);
  }
  template <class M>
  static auto ranks_of_b(M& B0, const block& b) {
    return view(B0).block(0, b.source, b.length, b.ranks);
  }
};

}  // namespace preheat::adapter
