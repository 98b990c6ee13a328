// A decoder, the network of a causal language model: Llama, Mistral, Qwen2, Qwen3 and GPT-2 by the
// fields of nn/decoder_config.hpp. Its linear layers are all adaptable, with Hugging Face's names:
// "model.layers.0.self_attn.q_proj", …, "lm_head"; "transformer.h.0.attn.c_attn", ….
//
//   X₀ = words (+ positions),  X_{i+1} = block_i(X_i)           (nn/decoder_block.hpp)
//   loss = cross entropy of the next token of head(norm(X_last))  (nn/token_head.hpp)
//
// Hidden states and gradients are activations<Be>, which a backend may round (nn/rounding_linear.hpp). Embedding and
// norms are frozen and shared by copies. A tied head is the embedding and has no layer; untie_head
// (nn/decoder_weights.hpp) makes one. Texts are stored without padding (nn/causal_batch.hpp). Nothing below the lowest
// trained layer is differentiated.
//
//   auto net = nn::decoder<Be>(be, huggingface::read_decoder(be, "SmolLM2-135M"));
//   fit(lora{}, net, batches, {.rank = 8, .targets = {"q_proj", "v_proj"}});
//
// The embedding has no adapter: its dense input X would be one-hot, vocab_size × tokens.
// Errors: invalid_argument. A step allocates nothing once its shapes have been seen.
#pragma once
#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "decoder_block.hpp"
#include "gather.hpp"
#include "rounding_linear.hpp"
#include "token_head.hpp"

namespace preheat::nn {

template <decoder_backend Be, template <class> class Attention = causal_attention>
class decoder {
 public:
  using backend_type = Be;
  using T = scalar_of<Be>;
  using batch_type = causal_batch<Be>;

  decoder(Be& be, decoder_weights<Be> weights) : be_(&be) {
    nn::require_valid(be, weights);
    config_ = std::make_shared<const decoder_config>(weights.config);
    layers_ = std::move(weights.layers);
    round_words(be, weights.frozen);
    frozen_ = std::make_shared<const decoder_frozen<Be>>(std::move(weights.frozen));
    make_parts();
  }
  decoder(decoder&&) = default;

  // An independent copy of the linear layers; embedding and norms are shared.
  decoder copy() const {
    decoder other(*be_, config_, frozen_);
    for (const base_layer<Be>& l : layers_) {
      other.layers_.push_back({l.name, clone(*be_, l.W), clone(*be_, l.b)});
    }
    other.head_->chunk = head_->chunk;
    other.set_recompute(recompute_);
    return other;
  }

  Be& backend() const { return *be_; }
  const decoder_config& config() const { return *config_; }
  std::span<base_layer<Be>> layers() { return layers_; }
  // Columns of logits that exist at a time in a loss.
  void set_head_chunk(index_t columns) {
    require(columns >= 1, "columns of a chunk of logits >= 1", columns, 1);
    head_->chunk = columns;
  }

  // What training passes compute again instead of keeping it; recompute::norms_and_gates unless set.
  void set_recompute(recompute what) {
    recompute_ = what;
    blocks_.clear();
    const index_t count = what == recompute::blocks ? 1 : config_->blocks;
    for (index_t i = 0; i < count; ++i) {
      blocks_.emplace_back(*config_, i);
    }
    inputs_.clear();
    inputs_.resize(std::size_t(what == recompute::blocks ? config_->blocks : 0));
  }

  // The logits of every token, vocab_size × tokens, computed through any linear operator; valid until
  // the next pass.
  template <class Linear>
  const_view_of<Be> forward(const batch_type& batch, Linear& given) {
    auto&& linear = with_activations<Be>(*be_, given, rounding_);
    linear.begin(pass_kind::evaluation);
    return head_->logits(*be_, *frozen_, run_blocks(batch, false, linear), linear);
  }
  template <class Linear>
  T loss(const batch_type& batch, Linear& given) {
    auto&& linear = with_activations<Be>(*be_, given, rounding_);
    linear.begin(pass_kind::evaluation);
    const const_activation_view<Be> X = run_blocks(batch, true, linear);
    head_->loss(*be_, *frozen_, batch, X, linear, {}, false);
    return head_->total(*be_);
  }
  template <class Linear>
  T loss_and_gradient(const batch_type& batch, Linear& given) {
    auto&& linear = with_activations<Be>(*be_, given, rounding_);
    linear.begin(pass_kind::training);
    const const_activation_view<Be> X = run_blocks(batch, true, linear);
    const index_t lowest = linear.first_trained();
    const bool in_blocks = lowest < block_layers();
    activation_view<Be> dX;
    index_t room = 0;
    if (in_blocks) {
      for (index_t i = 0; i < config_->blocks; ++i) {
        room = std::max(room, block_at(i).gradient_room(linear));
      }
      be_->resize(dX_, X.rows() + room, X.cols());
      dX = view(dX_).row_range(0, X.rows());
    }
    head_->loss(*be_, *frozen_, batch, X, linear, dX, true);
    const pass_type pass = pass_of(nullptr);
    for (index_t i = config_->blocks; i-- > 0 && lowest < first_layer_after(i);) {
      block_type& block = block_at(i);
      if (recompute_ == recompute::blocks) {
        repeat_block(i, block, pass, linear);
      }
      block.backward(*be_, frozen_->blocks[i], pass, dX, room, linear);
    }
    return head_->total(*be_);
  }

  // The logits of the token after these, which follow the tokens of the cache and are added to it:
  // vocab_size × 1, valid until the next pass.
  template <class Linear>
  const_view_of<Be> next_logits(std::span<const index_t> ids, key_value_cache<Be>& cache,
                                Linear& given) {
    auto&& linear = with_activations<Be>(*be_, given, rounding_);
    const index_t count = index_t(ids.size());
    const index_t past = cache.length();
    require(count >= 1, "next_logits: at least one token", count, 1);
    require(past + count <= cache.capacity(), "tokens of a text <= capacity of the cache",
            past + count, cache.capacity());
    linear.begin(pass_kind::evaluation);
    sequences_.assign(1, {0, count, 0, past + count});
    const const_activation_view<Be> X = run(ids, &cache, linear);
    cache.advance(count);
    return head_->logits(*be_, *frozen_, X.col_range(count - 1, 1), linear);
  }

  // Of the last pass, for tests: the input of the first block and the output of every block, hidden ×
  // tokens. Not with recompute::blocks.
  std::vector<const_activation_view<Be>> hidden_states() const {
    std::vector<const_activation_view<Be>> states{embedded_};
    for (const block_type& block : blocks_) {
      states.push_back(block.output_states());
    }
    return states;
  }

 private:
  using block_type = decoder_block<Be, Attention>;
  using pass_type = decoder_pass<Be, Attention>;

  decoder(Be& be, std::shared_ptr<const decoder_config> config,
          std::shared_ptr<const decoder_frozen<Be>> frozen)
      : be_(&be), config_(std::move(config)), frozen_(std::move(frozen)) {
    make_parts();
  }
  void make_parts() {
    set_recompute(recompute_);
    head_.emplace(*config_, block_layers());
    if (config_->positions == position_kind::rotary) {
      rotary_.emplace(config_->rotary, config_->head_size);
    }
  }
  index_t block_layers() const { return config_->blocks * layers_per_block(*config_); }
  index_t first_layer_after(index_t block) const {
    return (block + 1) * layers_per_block(*config_);
  }
  // The block's own buffers, or those of the only one there is.
  block_type& block_at(index_t i) {
    block_type& block = blocks_[recompute_ == recompute::blocks ? 0 : i];
    block.set_number(*config_, i);
    return block;
  }

  pass_type pass_of(key_value_cache<Be>* cache) {
    return {*config_, sequences_, rotary_ ? &*rotary_ : nullptr, cache, recompute_, scratch_};
  }
  // Blocks compute one after the other, and so do their backward passes: they share what is not kept.
  template <class Linear>
  void share_buffers(Linear& linear) {
    const index_t per_block = layers_per_block(*config_);
    if constexpr (requires { linear.share_buffers(index_t(), index_t(), index_t()); }) {
      for (index_t l = 0; l < block_layers(); ++l) {
        linear.share_buffers(l, recompute_ == recompute::blocks ? l % per_block : l, l % per_block);
      }
    } else {
      require(recompute_ != recompute::blocks,
              "decoder: recompute::blocks needs a linear operator with the members of "
              "operators/layer_uses.hpp");
    }
  }
  template <class Linear>
  const_activation_view<Be> run_blocks(const batch_type& batch, bool labelled, Linear& linear) {
    require_consistent(batch, labelled);
    sequences_.clear();
    index_t first = 0;
    for (const index_t length : batch.lengths) {
      sequences_.push_back({first, length, first, length});
      first += length;
    }
    return run(batch.ids, nullptr, linear);
  }
  // The tokens of sequences_ through embedding and blocks.
  template <class Linear>
  const_activation_view<Be> run(std::span<const index_t> ids, key_value_cache<Be>* cache,
                                Linear& linear) {
    share_buffers(linear);
    embed(ids);
    unfinished_sum<Be> X{embedded_};
    const pass_type pass = pass_of(cache);
    for (index_t i = 0; i < config_->blocks; ++i) {
      if (recompute_ == recompute::blocks) {
        be_->resize(inputs_[i], X.states.rows(), X.states.cols());
        be_->copy(transpose::no, finished(X), inputs_[i]);
        X = {inputs_[i]};
      }
      X = block_at(i).forward(*be_, frozen_->blocks[i], pass, X, linear);
      if (recompute_ == recompute::blocks) {
        forget_block(i, linear);
      }
    }
    return finished(X);
  }
  const_activation_view<Be> finished(const unfinished_sum<Be>& X) {
    if (X.branch.cols() > 0) {
      be_->apply(add_kernel<T>{}, X.states, X.branch);
    }
    return X.states;
  }
  template <class Linear>
  void forget_block(index_t i, Linear& linear) {
    if constexpr (requires { linear.forget_use(index_t()); }) {
      for (index_t l = first_layer_after(i - 1); l < first_layer_after(i); ++l) {
        linear.forget_use(l);
      }
    }
  }
  template <class Linear>
  void repeat_block(index_t i, block_type& block, const pass_type& pass, Linear& linear) {
    if constexpr (requires { linear.repeat(true); }) {
      linear.repeat(true);
      block.forward(*be_, frozen_->blocks[i], pass, {inputs_[i]}, linear);
      linear.repeat(false);
    }
  }
  void embed_words(std::span<const index_t> ids, activation_view<Be> X) {
    if constexpr (stored_matrix_backend<Be>) {
      if (!frozen_->word_rows.empty()) {
        for (std::size_t t = 0; t < ids.size(); ++t) {
          be_->unpack_rows(frozen_->word_rows, ids[t], X.col_range(index_t(t), 1));
        }
        return;
      }
    }
    gather<Be, activation_of<Be>>(*be_, words_of(*frozen_), ids, X);
  }
  void embed(std::span<const index_t> ids) {
    be_->resize(embedded_, config_->hidden_size, index_t(ids.size()));
    const activation_view<Be> X(embedded_);
    for (const index_t id : ids) {
      require(0 <= id && id < config_->vocab_size, "0 <= id of a token < vocab_size", id,
              config_->vocab_size);
    }
    embed_words(ids, X);
    for (const attention_span& s : sequences_) {
      require(s.keys <= config_->max_positions, "tokens of a sequence <= max_positions", s.keys,
              config_->max_positions);
      if (!rotary_) {
        be_->apply(add_kernel<T>{}, X.col_range(s.first_query, s.queries),
                   view(frozen_->positions).col_range(s.past(), s.queries));
      }
    }
    if (rotary_) {
      rotary_->prepare(*be_, sequences_);
    }
  }

  Be* be_;
  std::shared_ptr<const decoder_config> config_;
  std::shared_ptr<const decoder_frozen<Be>> frozen_;
  std::vector<base_layer<Be>> layers_;

  recompute recompute_ = recompute::norms_and_gates;
  std::optional<rotary<Be>> rotary_;
  std::vector<block_type> blocks_;
  std::vector<activations<Be>> inputs_;  // of the blocks, with recompute::blocks
  std::optional<token_head<Be>> head_;
  std::vector<attention_span> sequences_;
  decoder_scratch<Be, Attention> scratch_;
  rounding_buffers<Be> rounding_;
  activations<Be> embedded_, dX_;
};

}  // namespace preheat::nn
