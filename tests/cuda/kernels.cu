// Every kernel that the library's policies have, for no_empty_kernel.sh, which names one that is
// missing here. What they compute is tested elsewhere.
#include <preheat/cuda/adapted_linear.hpp>
#include <preheat/cuda/mixed.hpp>
#include <preheat/nn/bert.hpp>
#include <preheat/nn/decoder.hpp>
#include <preheat/preheat.hpp>

using namespace preheat;

template <class T>
void launch_all(cuda<T>& be, cuda_matrix<T>& x, cuda_matrix<T>& y) {
  be.apply(adapter::add_over_norm<T>{}, x, y, y);
  be.apply(adapter::magnitude_over_norm<T>{}, x, y, y);
  be.apply(adapter::inverse_of_norms<T>{}, x, y, y);
  be.apply(adapter::pull_of_norm<T>{}, x, y, y, y);
  be.apply(adapter::reciprocal<T>{}, x);
  be.apply_indexed(linalg::add_to_diagonal<T>{}, x);
  be.apply(optim::moment_update<T>{}, x, x, y);
  be.apply_indexed(init::shard_pattern<T>{}, x);
  be.apply(init::sign_step<T>{}, x);
  be.apply(init::spectral_share<T>{}, x);
  be.apply(linalg::axpby<T>{}, x, y);
  be.apply(linalg::damped_inverse<T>{}, x);
  be.apply(linalg::guarded_quotient<T>{}, x, y);
  be.apply(linalg::multiply<T>{}, x, y);
  be.apply_indexed(linalg::uniform_kernel<T>{}, x);
  be.apply_indexed(linalg::normal_kernel<T>{}, x);
  be.apply_indexed(linalg::shifted_copy<T>{}, x);
  be.apply(linalg::root<T>{}, x);
  be.apply(linalg::root_above<T>{}, x);
  be.apply(linalg::scale<T>{}, x);
  be.apply(nn::gelu_kernel<T>{}, x, x, y);
  be.apply(nn::gelu_gradient_kernel<T>{}, x, y, y);
  be.apply(nn::activation_kernel<nn::silu<T>>{}, x, y);
  be.apply(nn::activation_gradient_kernel<nn::silu<T>>{}, x, y);
  be.apply(nn::gate_kernel<nn::gelu_tanh<T>>{}, x, y, y);
  be.apply(nn::gate_gradient_kernel<nn::gelu_tanh<T>>{}, x, x, y, y);
  be.apply(nn::split_gate_gradient_kernel<nn::silu<T>>{}, x, x, y, y, y);
  be.apply(nn::gate_again_kernel<nn::silu<T>>{}, x, x, x, y, y, y);
  be.apply(nn::rotation_kernel<T>{}, x, x, y, y);
  be.apply(nn::back_rotation_kernel<T>{}, x, x, y, y);
  be.apply(nn::add_two_kernel<T>{}, x, y, y);
  be.apply_indexed(nn::block_dropout_kernel<T>{0.5, generator(1), 2, 3}, x, y);
  be.apply(optim::adam_kernel<T>{}, x, x, x, y);
  be.apply(optim::adam_kernel<T>{}, x, x, x, x, y);
  be.apply(optim::adam_direction_kernel<T>{}, x, x, x);
  be.apply(optim::lasso_gradient_kernel<T>{}, x, y);
  be.apply(optim::inverse_root_plus<T>{}, x);
  be.apply(optim::lora_fa_kernel<T>{}, x, x, x, y);
  be.apply(optim::momentum_kernel<T>{}, x, x, y);
  be.apply(optim::sgd_kernel<T>{}, x, y);
  be.apply(optim::soft_threshold_kernel<T>{}, x);
  be.apply(optim::corrected_quotient<T>{}, x, y);
  be.apply(optim::root_quotient<T>{}, x, y);
  be.apply(optim::square_mean<T>{}, x, y);
  be.apply(init::inverse_of_sum<T>{}, x);
  be.apply(init::magnitude_of_product<T>{}, x, y);
  be.apply(init::square<T>{}, x);
  be.apply(rank::keep_kernel<T>{}, x, y);
  be.apply(rank::sensitivity_kernel<T>{}, x, x, y, y);
  be.apply(kernel_archetype<T>{}, x, y);
  be.apply_indexed(indexed_kernel_archetype<T>{}, x, y);
  be.apply_indexed(dropout_kernel<T>{0.5, generator(1)}, x, y);
  be.apply_indexed(add_dropout_kernel<T>{0.5, generator(1)}, x, y);
  be.apply(nn::add_kernel<T>{}, x, y);
  be.apply(nn::add_three_kernel<T>{}, x, y, y, y);
  be.apply(nn::inverse_norm<T>{}, x);
  be.apply(nn::tanh_kernel<T>{}, x);
  be.apply(nn::tanh_gradient_kernel<T>{}, x, y);
  be.softmax_cross_entropy(x, y, x);
  be.softmax_cols(x);
  be.softmax_cols_gradient(y, x);
  be.layer_norm(1, y, y, x, x, x);
  be.layer_norm_gradient(y, y, y, x);
  be.softmax_cols_causal(0, 1, x);
  be.turn_heads(1, y, y, x);
  be.add_softmax_cross_entropy(1, x, y, x);
  be.rms_norm(1, y, y, x, x);
  be.rms_norm_gradient(y, y, y, y, x);
  be.gather_cols(y, {}, x);
  be.cholesky_or_nan(x);
  be.signs_of_largest(y, x);
  be.add_row_sums(1, y, x);
  be.add_row_dots(1, y, y, x);
  cuda_matrix<double> widened;
  be.apply(cuda_kernels::convert<T>{}, widened, y);
  be.apply(linalg::converted<double>{}, widened, y);
  be.apply(linalg::converted<T>{}, x, widened);
  be.apply(scaled_copy<T>{}, x, y);
}

// A stored weight is read and written.
void launch_storage(cuda<float, cuda_bf16>& be, const frozen_weight<cuda<float, cuda_bf16>>& W,
                    cuda_matrix<float>& y) {
  be.gemm(1, transpose::no, weight_view<cuda<float, cuda_bf16>>(W), transpose::no, y, 0, y);
  weight_room<cuda<float, cuda_bf16>> room;
  be.unpack(be.store(y), room.scratch, y);
}
void launch_unpacking(cuda_mixed<float, cuda_bf16>& be, const cuda_stored_weight<cuda_bf16>& W,
                      cuda_matrix<cuda_bf16>& x) {
  be.unpack(W, x);
}

template void launch_all(cuda<float>&, cuda_matrix<float>&, cuda_matrix<float>&);
template void launch_all(cuda<double>&, cuda_matrix<double>&, cuda_matrix<double>&);
