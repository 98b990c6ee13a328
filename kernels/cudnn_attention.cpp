// cuda/fused_attention.hpp by cuDNN's graphs, one forward and one backward, through its front end. That is
// header-only, and takes a minute and two gigabytes to compile: so it is in this file alone.
#include <cudnn_frontend.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <compare>
#include <map>
#include <numeric>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <preheat/cuda/fused_attention.hpp>
#include <preheat/cuda/matrix.hpp>

namespace preheat {

namespace {

namespace fe = cudnn_frontend;
using tensor = std::shared_ptr<fe::graph::Tensor_attributes>;
using number = cuda_fused_attention::number;

void check(cudnnStatus_t status, const char* call,
           detail::call_site at = {__builtin_FILE(), __builtin_LINE()}) {
  if (status != CUDNN_STATUS_SUCCESS) {
    detail::throw_cuda_error(call, cudnnGetErrorString(status), int(status), at);
  }
}

// What a plan is made for. A packed one computes any sequences of at most these numbers.
struct plan_shape {
  index_t heads, key_value_heads, head_size, window;
  index_t sequences, longest;
  index_t tokens;  // of all sequences, where the plan's sums are as long as these; or 0
  bool packed, repeatable;
  auto operator<=>(const plan_shape&) const = default;

  index_t rows() const { return heads * head_size; }
  bool shares_keys() const { return heads > key_value_heads; }
  std::string text() const {
    return "attention of " + std::to_string(heads) + " heads and " +
           std::to_string(key_value_heads) + " of keys, each of " + std::to_string(head_size) +
           " rows, " + std::to_string(sequences) + " sequences of " + (packed ? "up to " : "") +
           std::to_string(longest) + " tokens";
  }
};

// The number rounded up, so that there are eight results between a power of two and the next.
index_t rounded_up(index_t n, index_t least) {
  const auto step = index_t(std::max<std::size_t>(std::bit_floor(std::size_t(n)) / 8, 1));
  return std::max((n + step - 1) / step * step, least);
}
// `steps` are from one token to the next: of Q, K, V and C, and backward of dC, dQ, dK and dV too.
plan_shape shape_of_plan(const cuda_fused_attention::shape_type& s,
                         std::span<const index_t> lengths, const std::vector<index_t>& steps,
                         bool repeatable) {
  const index_t longest = *std::max_element(lengths.begin(), lengths.end());
  const index_t shortest = *std::min_element(lengths.begin(), lengths.end());
  const bool packed = longest != shortest || longest % 128 != 0;
  const auto count = index_t(lengths.size());
  plan_shape p{s.heads, s.key_value_heads, s.head_size, s.window, count, longest, 0,
               packed,  repeatable};
  if (!packed) {
    return p;
  }
  p.sequences = rounded_up(count, 1);
  p.longest = (rounded_up(longest, 128) + 127) / 128 * 128;
  if (steps.size() > 4 && !repeatable) {
    // Backward cuDNN sums dQ in float, and has dK and dV of every head where heads share keys: for `longest` tokens of
    // every sequence, or for all tokens, then of dQ with as many rows as the result's step. It takes less memory.
    const index_t tokens =
        rounded_up(std::accumulate(lengths.begin(), lengths.end(), index_t(0)), p.longest);
    const index_t padded = (p.shares_keys() ? 8 : 4) * p.rows() * p.sequences * p.longest;
    const index_t of_tokens = 4 * (steps[5] + (p.shares_keys() ? 2 * p.rows() : 0)) * tokens;
    p.tokens = of_tokens < padded ? tokens : 0;
  }
  return p;
}

// The operands of a graph, by which they are found in a call; then one for each different array of starts.
enum place : std::int64_t {
  in_Q = 1,
  in_K,
  in_V,
  in_C,
  log_sums,
  in_dC,
  in_dQ,
  in_dK,
  in_dV,
  sequence_lengths,
  first_starts
};

using addresses = std::unordered_map<std::int64_t, void*>;

// A graph of cuDNN, built.
class plan {
 public:
  plan(cudnnHandle_t handle, const plan_shape& shape, const std::vector<index_t>& steps)
      : shape_(shape), steps_(steps) {
    graph_.set_io_data_type(fe::DataType_t::BFLOAT16)
        .set_intermediate_data_type(fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT);
    if (shape.packed) {
      lengths_ = graph_.tensor(of_numbers(sequence_lengths, shape.sequences));
    }
    if (steps.size() == 4) {
      describe_forward();
    } else {
      if (narrow()) {
        steps_[6] = steps_[7] = key_rows();
      }
      describe_backward();
    }
    check(graph_.build(handle, {fe::HeurMode_t::A}));
    std::int64_t bytes = 0;
    check(graph_.get_workspace_size(bytes));
    constexpr std::int64_t line = 256;
    of_graph_ = (bytes + line - 1) / line * line;
    steps_ = steps;
  }
  std::size_t workspace() const {
    return std::size_t(of_graph_) + (narrow() ? 2 * narrow_bytes() : 0);
  }

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
    if (!narrow()) {
      check(graph_.execute(handle, at, workspace));
      return;
    }
    char* const free = static_cast<char*>(workspace) + of_graph_;
    void* const dK = std::exchange(at[in_dK], free);
    void* const dV = std::exchange(at[in_dV], free + narrow_bytes());
    check(graph_.execute(handle, at, workspace));
    const auto tokens = std::accumulate(lengths.begin(), lengths.end(), index_t(0));
    const auto widen = [&](void* to, index_t step, const void* from) {
      const view<number> x(static_cast<number*>(to), key_rows(), tokens, step);
      const view<const number> y(static_cast<const number*>(from), key_rows(), tokens);
      detail::cuda_transfer(context, y, x, cudaMemcpyDeviceToDevice);
    };
    widen(dK, steps_[6], at[in_dK]);
    widen(dV, steps_[7], at[in_dV]);
  }

 private:
  // With sums of all tokens, those of dK and dV of every head have as many rows as the heads that share keys times the
  // steps of dK and dV. So these are without gaps, in the workspace, and are copied to their places.
  bool narrow() const { return shape_.tokens > 0 && shape_.shares_keys(); }
  index_t key_rows() const { return shape_.key_value_heads * shape_.head_size; }
  std::size_t narrow_bytes() const {
    return std::size_t(key_rows() * shape_.tokens) * sizeof(number);
  }

  void check(fe::error_t status,
             detail::call_site at = {__builtin_FILE(), __builtin_LINE()}) const {
    if (status.is_bad()) {
      detail::throw_cuda_error(shape_.text().c_str(), "cuDNN: " + status.get_message(),
                               int(status.get_code()), at);
    }
  }
  float scale() const { return float(1 / std::sqrt(double(shape_.head_size))); }

  template <class Attributes>
  void describe_mask(Attributes& a) const {
    a.set_attn_scale(scale())
        .set_diagonal_alignment(fe::DiagonalAlignment_t::TOP_LEFT)
        .set_diagonal_band_right_bound(0);
    if (shape_.window > 0 && shape_.window < shape_.longest) {
      a.set_diagonal_band_left_bound(int(shape_.window));
    }
    if (shape_.packed) {
      a.set_padding_mask(true).set_seq_len_q(lengths_).set_seq_len_kv(lengths_);
    }
  }
  void describe_forward() {
    const tensor Q = graph_.tensor(matrix(in_Q, shape_.heads, 0));
    const tensor K = graph_.tensor(matrix(in_K, shape_.key_value_heads, 1));
    const tensor V = graph_.tensor(matrix(in_V, shape_.key_value_heads, 2));
    fe::graph::SDPA_attributes attributes;
    attributes.set_generate_stats(true);
    describe_mask(attributes);
    auto [C, sums] = graph_.sdpa(Q, K, V, attributes);
    become(*C, matrix(in_C, shape_.heads, 3));
    become(*sums, statistics());
  }
  void describe_backward() {
    const tensor Q = graph_.tensor(matrix(in_Q, shape_.heads, 0));
    const tensor K = graph_.tensor(matrix(in_K, shape_.key_value_heads, 1));
    const tensor V = graph_.tensor(matrix(in_V, shape_.key_value_heads, 2));
    const tensor C = graph_.tensor(matrix(in_C, shape_.heads, 3));
    const tensor sums = graph_.tensor(statistics());
    const tensor dC = graph_.tensor(matrix(in_dC, shape_.heads, 4));
    fe::graph::SDPA_backward_attributes attributes;
    attributes.set_deterministic_algorithm(shape_.repeatable);
    describe_mask(attributes);
    if (shape_.tokens > 0) {
      attributes.set_max_total_seq_len_q(shape_.tokens).set_max_total_seq_len_kv(shape_.tokens);
    }
    auto [dQ, dK, dV] = graph_.sdpa_backward(Q, K, V, C, dC, sums, attributes);
    become(*dQ, matrix(in_dQ, shape_.heads, 5));
    become(*dK, matrix(in_dK, shape_.key_value_heads, 6));
    become(*dV, matrix(in_dV, shape_.key_value_heads, 7));
  }
  // sequences × heads × tokens × rows
  fe::graph::Tensor_attributes matrix(place name, index_t heads, std::size_t operand) {
    const index_t step = steps_[operand];
    fe::graph::Tensor_attributes a;
    a.set_uid(name)
        .set_dim({shape_.sequences, heads, shape_.longest, shape_.head_size})
        .set_stride({shape_.longest * step, shape_.head_size, step, 1})
        .set_data_type(fe::DataType_t::BFLOAT16);
    if (shape_.packed) {
      a.set_ragged_offset(starts_for(step));
    }
    return a;
  }
  fe::graph::Tensor_attributes statistics() {
    fe::graph::Tensor_attributes a;
    a.set_uid(log_sums)
        .set_dim({shape_.sequences, shape_.heads, shape_.longest, 1})
        .set_data_type(fe::DataType_t::FLOAT);
    const index_t all = shape_.heads * shape_.longest;
    if (shape_.packed) {
      a.set_stride({all, 1, shape_.heads, 1}).set_ragged_offset(starts_for(shape_.heads));
    } else {
      a.set_stride({all, shape_.longest, 1, 1});
    }
    return a;
  }
  static void become(fe::graph::Tensor_attributes& output, fe::graph::Tensor_attributes a) {
    output.set_output(true)
        .set_uid(a.get_uid())
        .set_dim(a.get_dim())
        .set_stride(a.get_stride())
        .set_data_type(a.get_data_type());
    if (a.get_ragged_offset() != nullptr) {
      output.set_ragged_offset(a.get_ragged_offset());
    }
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
  static fe::graph::Tensor_attributes of_numbers(std::int64_t name, index_t count) {
    fe::graph::Tensor_attributes a;
    a.set_uid(name)
        .set_dim({count, 1, 1, 1})
        .set_stride({1, 1, 1, 1})
        .set_data_type(fe::DataType_t::INT32);
    return a;
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
    for (std::size_t s = 0; s < lengths.size(); ++s) {
      numbers[s] = std::int32_t(lengths[s]);
    }
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
  std::vector<index_t> steps_;
  fe::graph::Graph graph_;
  std::int64_t of_graph_ = 0;  // bytes of workspace, a multiple of 256
  tensor lengths_;
  std::vector<starts> starts_;
  detail::cuda_memory numbers_;
  std::vector<index_t> told_;  // the lengths that numbers_ holds
};

}  // namespace

struct cuda_fused_attention::state {
  state(std::shared_ptr<const cuda_context> given, options wanted)
      : context(std::move(given)), chosen(wanted) {
    check(cudnnCreate(handle.address()), "cudnnCreate");
    check(cudnnSetStream(handle, context->stream()), "cudnnSetStream");
  }

  void run(const cuda_fused_attention::shape_type& shape, std::span<const index_t> lengths,
           const std::vector<index_t>& steps, const addresses& at) {
    const std::pair key(shape_of_plan(shape, lengths, steps, chosen.repeatable), steps);
    auto found = plans.find(key);
    if (found == plans.end()) {
      constexpr std::size_t most = 1024;
      if (plans.size() >= most) {
        context->synchronize();
        plans.clear();
      }
      found = plans.try_emplace(key, handle, key.first, steps).first;
    }
    if (found->second.workspace() > bytes) {
      workspace = detail::cuda_memory(found->second.workspace(), context->stream());
      bytes = found->second.workspace();
    }
    (void)context->stream();  // what was held is before this
    found->second.run(handle, *context, lengths, at, workspace.data());
  }

  std::shared_ptr<const cuda_context> context;
  options chosen;
  detail::cuda_handle<cudnnHandle_t, cudnnDestroy> handle;
  std::map<std::pair<plan_shape, std::vector<index_t>>, plan> plans;
  detail::cuda_memory workspace;
  std::size_t bytes = 0;
};

cuda_fused_attention::cuda_fused_attention(std::shared_ptr<const cuda_context> context,
                                           options chosen)
    : state_(std::make_unique<state>(std::move(context), chosen)) {}
cuda_fused_attention::cuda_fused_attention(cuda_fused_attention&&) noexcept = default;
cuda_fused_attention& cuda_fused_attention::operator=(cuda_fused_attention&&) noexcept = default;
cuda_fused_attention::~cuda_fused_attention() = default;

void cuda_fused_attention::forward(const cuda_fused_attention::shape_type& shape,
                                   std::span<const index_t> lengths, view<const number> Q,
                                   view<const number> K, view<const number> V, view<number> C,
                                   float* statistics) {
  require_operands(shape, lengths, Q, K, V, C);
  state_->run(shape, lengths, {Q.ld(), K.ld(), V.ld(), C.ld()},
              {{in_Q, const_cast<number*>(Q.data())},
               {in_K, const_cast<number*>(K.data())},
               {in_V, const_cast<number*>(V.data())},
               {in_C, C.data()},
               {log_sums, statistics}});
}

void cuda_fused_attention::backward(const cuda_fused_attention::shape_type& shape,
                                    std::span<const index_t> lengths, view<const number> Q,
                                    view<const number> K, view<const number> V,
                                    view<const number> C, const float* statistics,
                                    view<const number> dC, view<number> dQ, view<number> dK,
                                    view<number> dV) {
  require_operands(shape, lengths, Q, K, V, C);
  require_gradients(shape, lengths, dC, dQ, dK, dV);
  state_->run(shape, lengths, {Q.ld(), K.ld(), V.ld(), C.ld(), dC.ld(), dQ.ld(), dK.ld(), dV.ld()},
              {{in_Q, const_cast<number*>(Q.data())},
               {in_K, const_cast<number*>(K.data())},
               {in_V, const_cast<number*>(V.data())},
               {in_C, const_cast<number*>(C.data())},
               {log_sums, const_cast<float*>(statistics)},
               {in_dC, const_cast<number*>(dC.data())},
               {in_dQ, dQ.data()},
               {in_dK, dK.data()},
               {in_dV, dV.data()}});
}

std::size_t cuda_fused_attention::workspace() const {
  return state_->bytes;
}

}  // namespace preheat
