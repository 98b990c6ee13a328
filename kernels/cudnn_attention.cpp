// cuda/fused_attention.hpp by cuDNN. This is the only file that includes cuDNN's front end, which takes half a minute and
// a gigabyte to compile.
#include <map>

#include "cudnn_plan.hpp"

namespace preheat {

using namespace by_cudnn;

namespace {

void check(cudnnStatus_t status, const char* call,
           detail::call_site at = {__builtin_FILE(), __builtin_LINE()}) {
  if (status != CUDNN_STATUS_SUCCESS) {
    detail::throw_cuda_error(call, cudnnGetErrorString(status), int(status), at);
  }
}

// A call only reads what it is given as constant.
void* place_of(view<const number> x) {
  return const_cast<number*>(x.data());
}

}  // namespace

struct cuda_fused_attention::state {
  state(std::shared_ptr<const cuda_context> given, options wanted)
      : context(std::move(given)), chosen(wanted) {
    check(cudnnCreate(handle.address()), "cudnnCreate");
    check(cudnnSetStream(handle, context->stream()), "cudnnSetStream");
  }

  void run(const shape_type& shape, std::span<const index_t> lengths, const token_steps& steps,
           const addresses& at) {
    (void)context->stream();  // gives the stream what was held before this
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
    plan& p = found->second;
    if (p.workspace() > bytes) {
      workspace = detail::cuda_memory(p.workspace(), context->stream());
      bytes = p.workspace();
    }
    p.run(handle, *context, lengths, at, workspace.data());
  }

  std::shared_ptr<const cuda_context> context;
  options chosen;
  detail::cuda_handle<cudnnHandle_t, cudnnDestroy> handle;
  std::map<std::pair<plan_shape, token_steps>, plan> plans;
  detail::cuda_memory workspace;
  std::size_t bytes = 0;
};

cuda_fused_attention::cuda_fused_attention(std::shared_ptr<const cuda_context> context,
                                           options chosen)
    : state_(std::make_unique<state>(std::move(context), chosen)) {}
cuda_fused_attention::cuda_fused_attention(cuda_fused_attention&&) noexcept = default;
cuda_fused_attention& cuda_fused_attention::operator=(cuda_fused_attention&&) noexcept = default;
cuda_fused_attention::~cuda_fused_attention() = default;

void cuda_fused_attention::forward(const shape_type& shape, std::span<const index_t> lengths,
                                   view<const number> Q, view<const number> K, view<const number> V,
                                   view<number> C, float* statistics) {
  require_operands(shape, lengths, Q, K, V, C);
  state_->run(shape, lengths, {Q.ld(), K.ld(), V.ld(), C.ld()},
              {{in_Q, place_of(Q)},
               {in_K, place_of(K)},
               {in_V, place_of(V)},
               {in_C, place_of(C)},
               {log_sums, statistics}});
}

void cuda_fused_attention::backward(const shape_type& shape, std::span<const index_t> lengths,
                                    view<const number> Q, view<const number> K,
                                    view<const number> V, view<const number> C,
                                    const float* statistics, view<const number> dC, view<number> dQ,
                                    view<number> dK, view<number> dV) {
  require_operands(shape, lengths, Q, K, V, C);
  require_gradients(shape, lengths, Q, K, V, dC, dQ, dK, dV);
  state_->run(shape, lengths, {Q.ld(), K.ld(), V.ld(), C.ld(), dC.ld(), dQ.ld(), dK.ld(), dV.ld()},
              {{in_Q, place_of(Q)},
               {in_K, place_of(K)},
               {in_V, place_of(V)},
               {in_C, place_of(C)},
               {in_dC, place_of(dC)},
               {in_dQ, place_of(dQ)},
               {in_dK, place_of(dK)},
               {in_dV, place_of(dV)},
               {log_sums, const_cast<float*>(statistics)}});
}

std::size_t cuda_fused_attention::workspace() const {
  return state_->bytes;
}

}  // namespace preheat
