// Every kernel that the library's policies have, for no_empty_kernel.sh, which names one that is
// missing here. What they compute is tested elsewhere.
#include <preheat/cuda/adapted_linear.hpp>
#include <preheat/nn/bert.hpp>
#include <preheat/preheat.hpp>

using namespace preheat;

template <class T>
void launch_all(cuda<T>& be, cuda_matrix<T>& x, cuda_matrix<T>& y) {
  be.each(adapter::add_over_norm<T>{}, x, y, y);
  be.each(adapter::magnitude_over_norm<T>{}, x, y, y);
  be.each(adapter::reciprocal<T>{}, x);
  be.each_indexed(linalg::add_to_diagonal<T>{}, x);
  be.each(optim::moment_update<T>{}, x, x, y);
  be.each(init::sign_step<T>{}, x);
  be.each(init::spectral_share<T>{}, x);
  be.each(linalg::axpby<T>{}, x, y);
  be.each(linalg::damped_inverse<T>{}, x);
  be.each(linalg::guarded_quotient<T>{}, x, y);
  be.each(linalg::root<T>{}, x);
  be.each(linalg::scale<T>{}, x);
  be.each(nn::gelu_kernel<T>{}, x, x, y);
  be.each(nn::gelu_gradient_kernel<T>{}, x, y, y);
  be.each(optim::adam_kernel<T>{}, x, x, x, y);
  be.each(optim::adam_kernel<T>{}, x, x, x, x, y);
  be.each(optim::adam_direction_kernel<T>{}, x, x, x);
  be.each(optim::lasso_gradient_kernel<T>{}, x, y);
  be.each(optim::lora_fa_kernel<T>{}, x, x, x, y);
  be.each(optim::momentum_kernel<T>{}, x, x, y);
  be.each(optim::sgd_kernel<T>{}, x, y);
  be.each(optim::soft_threshold_kernel<T>{}, x);
  be.each(rank::sensitivity_kernel<T>{}, x, x, y, y);
  be.each(kernel_archetype<T>{}, x, y);
  be.each_indexed(indexed_kernel_archetype<T>{}, x, y);
  be.each_indexed(dropout_kernel<T>{0.5, generator(1)}, x, y);
  be.each_indexed(add_dropout_kernel<T>{0.5, generator(1)}, x, y);
  be.each(nn::add_kernel<T>{}, x, y);
  be.each(nn::add_three_kernel<T>{}, x, y, y, y);
  be.each(nn::inverse_norm<T>{}, x);
  be.each(nn::tanh_kernel<T>{}, x);
  be.each(nn::tanh_gradient_kernel<T>{}, x, y);
  be.softmax_cross_entropy(x, y, x);
  be.softmax_cols(x);
  be.softmax_cols_gradient(y, x);
  be.layer_norm(1, y, y, x, x, x);
  be.layer_norm_gradient(y, y, y, x);
  cuda_matrix<double> widened;
  be.each(cuda_kernels::convert<double, T>{}, widened, y);
}

template void launch_all(cuda<float>&, cuda_matrix<float>&, cuda_matrix<float>&);
template void launch_all(cuda<double>&, cuda_matrix<double>&, cuda_matrix<double>&);
