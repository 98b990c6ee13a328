// A small BERT of random weights on any backend, batches for it, and derivatives by differences.
#pragma once
#include <preheat/nn/bert.hpp>
#include <string>
#include <vector>

#include "table.hpp"

namespace conformance {

inline preheat::nn::bert_config small_config() {
  preheat::nn::bert_config c;
  c.vocab_size = 13;
  c.hidden_size = 8;
  c.num_hidden_layers = 2;
  c.num_attention_heads = 2;
  c.intermediate_size = 12;
  c.max_position_embeddings = 7;
  c.type_vocab_size = 2;
  c.layer_norm_eps = 1e-5;
  return c;
}
inline constexpr index_t small_outputs = 3;

template <class Be>
preheat::nn::layer_norm_weights<Be> small_norm(Be& be, index_t size, std::uint64_t seed) {
  return {matrix(be, table(size, 1, 1) + 0.3 * random_table(size, 1, seed)),
          matrix(be, 0.3 * random_table(size, 1, seed + 1))};
}

template <class Be>
preheat::nn::bert_weights<Be> small_weights(Be& be) {
  namespace nn = preheat::nn;
  nn::bert_weights<Be> w;
  w.config = small_config();
  const index_t size = w.config.hidden_size;
  std::uint64_t seed = 1000;
  const auto random = [&](index_t rows, index_t cols, double scale) {
    return matrix(be, scale * random_table(rows, cols, ++seed));
  };
  w.frozen.embeddings = {random(size, w.config.vocab_size, 1),
                         random(size, w.config.max_position_embeddings, 0.5),
                         random(size, w.config.type_vocab_size, 0.5)};
  w.frozen.norm = small_norm(be, size, 1);
  const auto shapes = nn::linear_layer_shapes(w.config);
  for (index_t i = 0; i < w.config.num_hidden_layers; ++i) {
    for (std::size_t k = 0; k < shapes.size(); ++k) {
      w.layers.push_back({"encoder.layer." + std::to_string(i) + "." + nn::linear_layer_names[k],
                          random(shapes[k][0], shapes[k][1], 0.6), random(shapes[k][0], 1, 0.2)});
    }
    w.frozen.blocks.push_back({small_norm(be, size, std::uint64_t(10 * i + 10)),
                               small_norm(be, size, std::uint64_t(10 * i + 15))});
  }
  w.pooler = preheat::base_layer<Be>{"pooler.dense", random(size, size, 0.6), random(size, 1, 0.2)};
  return w;
}

template <class Be>
preheat::head_params<Be> small_head(Be& be) {
  return {matrix(be, random_table(small_outputs, small_config().hidden_size, 70)),
          matrix(be, random_table(small_outputs, 1, 71))};
}

template <class Net>
Net small_encoder(typename Net::backend_type& be) {
  using Be = typename Net::backend_type;
  return Net(be, small_weights<Be>(be), small_head<Be>(be));
}

// Three sequences of 4, 1 and 7 tokens with labels; two types.
template <class Be>
preheat::nn::token_batch<Be> small_batch(Be& be) {
  preheat::nn::token_batch<Be> batch;
  batch.ids = {1, 5, 12, 3, 7, 0, 2, 2, 9, 11, 4, 6};
  batch.types = {0, 0, 1, 1, 0, 0, 0, 0, 0, 1, 1, 1};
  batch.lengths = {4, 1, 7};
  table labels(1, 3);
  labels(0, 1) = 2;
  labels(0, 2) = 1;
  batch.target = matrix(be, labels);
  return batch;
}

// The same batch for ever, with a stream of its own for every step.
template <class Be>
struct repeated_batch {
  preheat::nn::token_batch<Be>* batch;
  void load(const preheat::generator& stream, index_t step, preheat::nn::token_batch<Be>& to) {
    Be be;
    to.ids = batch->ids;
    to.types = batch->types;
    to.lengths = batch->lengths;
    to.stream = stream.fork(preheat::purpose::dropout, std::uint64_t(step));
    be.resize(to.target, batch->target.rows(), batch->target.cols());
    be.copy(preheat::transpose::no, batch->target, to.target);
  }
};

// ∂f/∂x of a function of a table, by differences of fourth order: they err by h⁴ and by ε/h.
template <class F>
table difference(F f, const table& x, double h = 1e-4) {
  table g = x;
  for (std::size_t k = 0; k < x.values.size(); ++k) {
    const auto at = [&](double step) {
      table moved = x;
      moved.values[k] += step;
      return f(moved);
    };
    g.values[k] = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h);
  }
  return g;
}
// The same for a matrix of a backend that f() reads.
template <class Be, class F>
table difference_at(Be& be, F f, preheat::mat<Be>& x) {
  const table start = read<Be>(be, x);
  const table g = difference(
      [&](const table& moved) {
        write<Be>(be, moved, x);
        return double(f());
      },
      start);
  write<Be>(be, start, x);
  return g;
}

}  // namespace conformance
