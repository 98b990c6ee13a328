// A graph of cuDNN for attention, forward or backward, through its front end: described, built, and run on the sequences
// of a batch.
#pragma once
#include <cudnn_frontend.h>

#include <cmath>
#include <unordered_map>

#include "cudnn_shape.hpp"

namespace preheat::by_cudnn {

namespace fe = cudnn_frontend;
using number = cuda_fused_attention::number;

// The operands of a graph, as a call finds them. The first eight are matrices, in the order of their token_steps;
// after the last there is one for each array of starts.
enum place : std::int64_t {
  in_Q = 1,
  in_K,
  in_V,
  in_C,
  in_dC,
  in_dQ,
  in_dK,
  in_dV,
  log_sums,
  sequence_lengths,
  first_starts
};
using addresses = std::unordered_map<std::int64_t, void*>;

class plan {
 public:
  plan(cudnnHandle_t handle, const plan_shape& shape, const token_steps& steps)
      : shape_(shape), steps_(steps) {
    graph_.set_io_data_type(fe::DataType_t::BFLOAT16)
        .set_intermediate_data_type(fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT);
    if (shape.packed) {
      lengths_ = graph_.tensor(of_numbers(sequence_lengths, shape.sequences));
    }
    steps.size() == 4 ? describe_forward() : describe_backward();
    check(graph_.build(handle, {fe::HeurMode_t::A}));
    std::int64_t bytes = 0;
    check(graph_.get_workspace_size(bytes));
    workspace_ = std::size_t(bytes);
  }

  // In bytes.
  std::size_t workspace() const { return workspace_; }

  void run(cudnnHandle_t handle, const cuda_context& context, std::span<const index_t> lengths,
           addresses at, void* workspace) {
    if (shape_.packed) {
      tell_lengths(context, lengths);
      auto* const numbers = static_cast<std::int32_t*>(numbers_.data());
      at[sequence_lengths] = numbers;
      for (std::size_t i = 0; i < starts_.size(); ++i) {
        at[first_starts + std::int64_t(i)] = numbers + offset_of_starts(i);
      }
    }
    check(graph_.execute(handle, at, workspace));
  }

 private:
  void check(fe::error_t status,
             detail::call_site at = {__builtin_FILE(), __builtin_LINE()}) const {
    if (status.is_bad()) {
      detail::throw_cuda_error(shape_.text().c_str(), "cuDNN: " + status.get_message(),
                               int(status.get_code()), at);
    }
  }

  // --- Descriptions
  using tensor = std::shared_ptr<fe::graph::Tensor_attributes>;
  using attributes = fe::graph::Tensor_attributes;

  void describe_forward() {
    fe::graph::SDPA_attributes a;
    a.set_generate_stats(true);
    describe_mask(a);
    auto [C, sums] = graph_.sdpa(input(in_Q), input(in_K), input(in_V), a);
    set_output(*C, matrix(in_C));
    set_output(*sums, statistics());
  }
  void describe_backward() {
    fe::graph::SDPA_backward_attributes a;
    a.set_deterministic_algorithm(shape_.repeatable);
    describe_mask(a);
    if (shape_.tokens > 0) {
      a.set_max_total_seq_len_q(shape_.tokens).set_max_total_seq_len_kv(shape_.tokens);
    }
    auto [dQ, dK, dV] = graph_.sdpa_backward(input(in_Q), input(in_K), input(in_V), input(in_C),
                                             input(in_dC), graph_.tensor(statistics()), a);
    set_output(*dQ, matrix(in_dQ));
    set_output(*dK, matrix(in_dK));
    set_output(*dV, matrix(in_dV));
  }
  template <class Attributes>
  void describe_mask(Attributes& a) const {
    a.set_attn_scale(float(1 / std::sqrt(double(shape_.head_size))))
        .set_diagonal_alignment(fe::DiagonalAlignment_t::TOP_LEFT)
        .set_diagonal_band_right_bound(0);
    if (shape_.window > 0 && shape_.window < shape_.longest) {
      a.set_diagonal_band_left_bound(int(shape_.window));
    }
    if (shape_.packed) {
      a.set_padding_mask(true).set_seq_len_q(lengths_).set_seq_len_kv(lengths_);
    }
  }

  tensor input(place name) { return graph_.tensor(matrix(name)); }
  static void set_output(attributes& output, attributes a) {
    output.set_output(true)
        .set_uid(a.get_uid())
        .set_dim(a.get_dim())
        .set_stride(a.get_stride())
        .set_data_type(a.get_data_type());
    if (a.get_ragged_offset() != nullptr) {
      output.set_ragged_offset(a.get_ragged_offset());
    }
  }
  // sequences × heads × tokens × rows
  attributes matrix(place name) {
    const bool of_keys = name == in_K || name == in_V || name == in_dK || name == in_dV;
    const index_t step = steps_[std::size_t(name) - 1];
    attributes a;
    a.set_uid(name)
        .set_dim({shape_.sequences, of_keys ? shape_.key_value_heads : shape_.heads, shape_.longest,
                  shape_.head_size})
        .set_stride({shape_.longest * step, shape_.head_size, step, 1})
        .set_data_type(fe::DataType_t::BFLOAT16);
    if (shape_.packed) {
      a.set_ragged_offset(starts_for(step));
    }
    return a;
  }
  attributes statistics() {
    const index_t of_sequence = shape_.heads * shape_.longest;
    attributes a;
    a.set_uid(log_sums)
        .set_dim({shape_.sequences, shape_.heads, shape_.longest, 1})
        .set_data_type(fe::DataType_t::FLOAT);
    if (shape_.packed) {
      a.set_stride({of_sequence, 1, shape_.heads, 1}).set_ragged_offset(starts_for(shape_.heads));
    } else {
      a.set_stride({of_sequence, shape_.longest, 1, 1});
    }
    return a;
  }
  static attributes of_numbers(std::int64_t name, index_t count) {
    attributes a;
    a.set_uid(name)
        .set_dim({count, 1, 1, 1})
        .set_stride({1, 1, 1, 1})
        .set_data_type(fe::DataType_t::INT32);
    return a;
  }

  // --- Where the sequences of a packed batch begin, in numbers of a matrix with this step from token to token.
  struct starts {
    index_t step;
    tensor in_graph;
  };
  tensor starts_for(index_t step) {
    for (const starts& known : starts_) {
      if (known.step == step) {
        return known.in_graph;
      }
    }
    const auto name = first_starts + std::int64_t(starts_.size());
    starts_.push_back({step, graph_.tensor(of_numbers(name, shape_.sequences + 1))});
    return starts_.back().in_graph;
  }
  // On the device: the lengths, then one array of starts after another, each on a line of its own.
  index_t offset_of_starts(std::size_t i) const {
    return index_t(i + 1) * ((shape_.sequences + 1 + 31) / 32 * 32);
  }
  void tell_lengths(const cuda_context& context, std::span<const index_t> lengths) {
    if (std::equal(lengths.begin(), lengths.end(), told_.begin(), told_.end())) {
      return;
    }
    std::vector<std::int32_t> numbers(std::size_t(offset_of_starts(starts_.size())), 0);
    std::copy(lengths.begin(), lengths.end(), numbers.begin());
    for (std::size_t i = 0; i < starts_.size(); ++i) {
      // In index_t first: a start that 32 bits do not hold is an error.
      index_t start = 0;
      std::int32_t* const into = numbers.data() + offset_of_starts(i);
      for (index_t s = 0; s <= shape_.sequences; ++s) {
        into[s] = detail::library_int(start);
        start += s < index_t(lengths.size()) ? starts_[i].step * lengths[std::size_t(s)] : 0;
      }
    }
    const std::size_t bytes = numbers.size() * sizeof(std::int32_t);
    if (numbers_.data() == nullptr) {
      numbers_ = detail::cuda_memory(bytes, context.stream());
    }
    detail::check(cudaMemcpyAsync(numbers_.data(), numbers.data(), bytes, cudaMemcpyHostToDevice,
                                  context.stream()),
                  "cudaMemcpyAsync");
    told_.assign(lengths.begin(), lengths.end());
  }

  plan_shape shape_;
  token_steps steps_;
  fe::graph::Graph graph_;
  std::size_t workspace_ = 0;
  tensor lengths_;
  std::vector<starts> starts_;
  detail::cuda_memory numbers_;
  std::vector<index_t> told_;  // the lengths that numbers_ holds
};

}  // namespace preheat::by_cudnn
