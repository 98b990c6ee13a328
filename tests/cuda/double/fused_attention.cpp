// cuda/fused_attention.hpp on the host: plain loops, one group of heads of one sequence after another.
#include <cmath>
#include <preheat/cuda/fused_attention.hpp>
#include <preheat/cuda/launch.hpp>
#include <vector>

namespace preheat {

namespace {

using number = cuda_fused_attention::number;

// Columns of one sequence and head.
struct columns {
  number* data;
  index_t ld;
  index_t size;
  float operator()(index_t i, index_t token) const {
    return __bfloat162float(data[token * ld + i]);
  }
  void set(index_t i, index_t token, float x) const { data[token * ld + i] = __float2bfloat16(x); }
  columns head(index_t h) const { return {data + h * size, ld, size}; }
  float dot(index_t token, const columns& other, index_t other_token) const {
    float sum = 0;
    for (index_t i = 0; i < size; ++i) {
      sum += (*this)(i, token) * other(i, other_token);
    }
    return sum;
  }
};

// The heads of one sequence that share keys.
struct group {
  index_t heads, tokens, window;
  columns Q, K, V, C;
  float* log_sums;  // tokens of a head together
  columns dC{}, dQ{}, dK{}, dV{};

  index_t first_key(index_t query) const {
    return window > 0 ? std::max<index_t>(query - window + 1, 0) : 0;
  }
  float score(const columns& q, index_t query, index_t key) const {
    return q.dot(query, K, key) / std::sqrt(float(K.size));
  }
};

struct forward_of_group : group {
  void operator()(index_t) const {
    for (index_t h = 0; h < heads; ++h) {
      for (index_t j = 0; j < tokens; ++j) {
        float sum = 0;
        std::vector<float> c(std::size_t(K.size), 0);
        for (index_t k = first_key(j); k <= j; ++k) {
          const float p = std::exp(score(Q.head(h), j, k));
          sum += p;
          for (index_t i = 0; i < K.size; ++i) {
            c[std::size_t(i)] += p * V(i, k);
          }
        }
        for (index_t i = 0; i < K.size; ++i) {
          C.head(h).set(i, j, c[std::size_t(i)] / sum);
        }
        log_sums[h * tokens + j] = std::log(sum);
      }
    }
  }
};

struct backward_of_group : group {
  void operator()(index_t) const {
    const auto entries = std::size_t(K.size * tokens);
    std::vector<float> of_keys(entries, 0);
    std::vector<float> of_values(entries, 0);
    for (index_t h = 0; h < heads; ++h) {
      const columns q = Q.head(h);
      const columns d = dC.head(h);
      for (index_t j = 0; j < tokens; ++j) {
        std::vector<float> of_query(std::size_t(K.size), 0);
        const float mean = d.dot(j, C.head(h), j);
        for (index_t k = first_key(j); k <= j; ++k) {
          const float p = std::exp(score(q, j, k) - log_sums[h * tokens + j]);
          const float dS = p * (d.dot(j, V, k) - mean) / std::sqrt(float(K.size));
          for (index_t i = 0; i < K.size; ++i) {
            of_query[std::size_t(i)] += dS * K(i, k);
            of_keys[std::size_t(k * K.size + i)] += dS * q(i, j);
            of_values[std::size_t(k * K.size + i)] += p * d(i, j);
          }
        }
        for (index_t i = 0; i < K.size; ++i) {
          dQ.head(h).set(i, j, of_query[std::size_t(i)]);
        }
      }
    }
    for (index_t k = 0; k < tokens; ++k) {
      for (index_t i = 0; i < K.size; ++i) {
        dK.set(i, k, of_keys[std::size_t(k * K.size + i)]);
        dV.set(i, k, of_values[std::size_t(k * K.size + i)]);
      }
    }
  }
};

// Calls f(g) for every group of every sequence, with its part of all but the gradients.
template <class F>
void each_group(const cuda_fused_attention::shape_type& s, std::span<const index_t> lengths,
                view<const number> Q, view<const number> K, view<const number> V,
                view<const number> C, const float* log_sums, F f) {
  const index_t shared = s.heads / s.key_value_heads;
  index_t token = 0;
  for (const index_t n : lengths) {
    for (index_t g = 0; g < s.key_value_heads; ++g) {
      const auto part = [&](auto x, index_t head) {
        return columns{const_cast<number*>(x.data()) + token * x.ld() + head * s.head_size, x.ld(),
                       s.head_size};
      };
      f(group{shared, n, s.window, part(Q, g * shared), part(K, g), part(V, g), part(C, g * shared),
              const_cast<float*>(log_sums) + token * s.heads + g * shared * n},
        g, part);
    }
    token += n;
  }
}

}  // namespace

struct cuda_fused_attention::state {
  std::shared_ptr<const cuda_context> context;
};

cuda_fused_attention::cuda_fused_attention(std::shared_ptr<const cuda_context> context, options)
    : state_(std::make_unique<state>(state{std::move(context)})) {}
cuda_fused_attention::cuda_fused_attention(cuda_fused_attention&&) noexcept = default;
cuda_fused_attention& cuda_fused_attention::operator=(cuda_fused_attention&&) noexcept = default;
cuda_fused_attention::~cuda_fused_attention() = default;

void cuda_fused_attention::forward(const shape_type& shape, std::span<const index_t> lengths,
                                   view<const number> Q, view<const number> K, view<const number> V,
                                   view<number> C, float* statistics) {
  require_operands(shape, lengths, Q, K, V, C);
  each_group(shape, lengths, Q, K, V, C, statistics, [&](const group& g, index_t, auto) {
    launch(*state_->context, 1, forward_of_group{g});
  });
}

void cuda_fused_attention::backward(const shape_type& shape, std::span<const index_t> lengths,
                                    view<const number> Q, view<const number> K,
                                    view<const number> V, view<const number> C,
                                    const float* statistics, view<const number> dC, view<number> dQ,
                                    view<number> dK, view<number> dV) {
  require_operands(shape, lengths, Q, K, V, C);
  require_gradients(shape, lengths, Q, K, V, dC, dQ, dK, dV);
  const index_t shared = shape.heads / shape.key_value_heads;
  each_group(shape, lengths, Q, K, V, C, statistics, [&](group g, index_t key_head, auto part) {
    g.dC = part(dC, key_head * shared);
    g.dQ = part(dQ, key_head * shared);
    g.dK = part(dK, key_head);
    g.dV = part(dV, key_head);
    launch(*state_->context, 1, backward_of_group{g});
  });
}

std::size_t cuda_fused_attention::workspace() const {
  return 0;
}

}  // namespace preheat
