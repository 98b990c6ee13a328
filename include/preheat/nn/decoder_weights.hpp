// The weights of a decoder as they are in a file, for nn::decoder. huggingface/decoder.hpp reads them.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "../core/concepts.hpp"
#include "../linalg/elementwise.hpp"
#include "decoder_config.hpp"
#include "weight_checks.hpp"

namespace preheat::nn {

// γ of a normalization, and β of a layer norm (empty with RMS norms).
template <class Be>
struct norm_weights {
  mat<Be> gamma;
  mat<Be> beta{};
};

template <class Be>
struct decoder_block_norms {
  norm_weights<Be> attention;  // input_layernorm, ln_1
  norm_weights<Be> mlp;        // post_attention_layernorm, ln_2
  mat<Be> query{};             // q_norm, head_size×1; empty unless qk_norm
  mat<Be> key{};
};

// The weights that are never trained, and so shared by copies of a network.
template <class Be>
struct decoder_frozen {
  mat<Be>
      words;  // hidden × vocab_size, one column per token; empty if the embedding is kept stored
  stored_matrix word_rows{};  // then it is here, vocab_size × hidden, one row per token
  activations<Be>
      rounded_words{};  // words in the type of activations, if that is another; words is then empty
  mat<Be> positions{};  // hidden × max_positions; empty with rotary positions
  std::vector<decoder_block_norms<Be>> blocks;
  norm_weights<Be> norm;  // after the last block
};

// The embedding as the passes of a network read it, unless it is kept stored.
template <class Be>
const activations<Be>& words_of(const decoder_frozen<Be>& frozen) {
  if constexpr (rounds_activations<Be>) {
    return frozen.rounded_words;
  } else {
    return frozen.words;
  }
}
template <backend Be>
void round_words([[maybe_unused]] Be& be, [[maybe_unused]] decoder_frozen<Be>& frozen) {
  if constexpr (rounds_activations<Be>) {
    be.resize(frozen.rounded_words, frozen.words.rows(), frozen.words.cols());
    be.copy(transpose::no, frozen.words, frozen.rounded_words);
    frozen.words = {};
  }
}

template <class Be>
struct decoder_weights {
  decoder_config config;
  decoder_frozen<Be> frozen{};
  std::vector<base_layer<Be>> layers{};  // block by block, then "lm_head" unless it is tied
};

// A tied head is computed with the embedding and is no linear layer. This gives it a matrix of its
// own, "lm_head", a copy, so that it can have an adapter. Cost: vocab_size·hidden_size numbers.
// A stored embedding is shared by a stored head.
template <backend Be>
void untie_head(Be& be, decoder_weights<Be>& w) {
  require(w.config.tied_head, "untie_head: the head is tied");
  w.config.tied_head = false;
  if constexpr (stored_matrix_backend<Be>) {
    if (!w.frozen.word_rows.empty()) {
      w.layers.push_back({"lm_head", w.frozen.word_rows});
      return;
    }
  }
  w.layers.push_back({"lm_head", linalg::transposed(be, const_view_of<Be>(w.frozen.words))});
}

// Errors: invalid_argument, naming the weight that does not fit the config.
template <backend Be>
void require_valid(Be& be, const decoder_weights<Be>& w) {
  const decoder_config& c = w.config;
  require_valid(c);
  const auto vector = [&](const_view_of<Be> v, index_t rows, const std::string& name) {
    require_weight(be, v, rows, rows > 0 ? 1 : v.cols(), name);
  };
  const auto normed = [&](const norm_weights<Be>& norm, const std::string& name) {
    vector(norm.gamma, c.hidden_size, name + ".weight");
    vector(norm.beta, c.norm == norm_kind::layer ? c.hidden_size : 0, name + ".bias");
  };
  if (w.frozen.word_rows.empty()) {
    require_weight<Be>(be, w.frozen.words, c.hidden_size, c.vocab_size, "the embedding");
  } else {
    require(stored_matrix_backend<Be>, "an embedding that is kept stored needs a CPU");
    require_shape(w.frozen.word_rows, c.vocab_size, c.hidden_size, "the stored embedding");
  }
  if (c.positions == position_kind::learned) {
    require_weight<Be>(be, w.frozen.positions, c.hidden_size, c.max_positions, "the positions");
  }
  normed(w.frozen.norm, "the last norm");
  require(index_t(w.frozen.blocks.size()) == c.blocks, "norms of every block",
          w.frozen.blocks.size(), c.blocks);
  const auto shapes = linear_layers_of_block(c);
  const index_t expected = c.blocks * index_t(shapes.size()) + (c.tied_head ? 0 : 1);
  require(index_t(w.layers.size()) == expected, "linear layers of all blocks, and of an own head",
          w.layers.size(), expected);
  for (index_t i = 0; i < c.blocks; ++i) {
    const std::string prefix = block_prefix(c, i);
    for (std::size_t k = 0; k < shapes.size(); ++k) {
      const decoder_layer_shape& s = shapes[k];
      require_linear(be, w.layers[std::size_t(i) * shapes.size() + k], prefix + s.name, s.rows,
                     s.cols, s.bias);
    }
    const decoder_block_norms<Be>& norms = w.frozen.blocks[i];
    normed(norms.attention, prefix + "the norm before the attention");
    normed(norms.mlp, prefix + "the norm before the mlp");
    vector(norms.query, c.qk_norm ? c.head_size : 0, prefix + "q_norm");
    vector(norms.key, c.qk_norm ? c.head_size : 0, prefix + "k_norm");
  }
  if (!c.tied_head) {
    require_linear(be, w.layers.back(), "lm_head", c.vocab_size, c.hidden_size, false);
  }
}

}  // namespace preheat::nn
