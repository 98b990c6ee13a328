// A program that uses an installed package: a product of factors and its singular values.
#include <cstdio>

#include <preheat/cpu/backend.hpp>
#include <preheat/version.hpp>

int main() {
  preheat::cpu<float> be;
  const preheat::cpu_matrix<float> M = Eigen::MatrixXf::Identity(3, 3);
  std::printf("preheat %s, %s: %g\n", preheat::version(), be.describe().c_str(),
              double(be.dot(M, M)));
  return be.dot(M, M) == 3 ? 0 : 1;
}
