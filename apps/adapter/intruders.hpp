// Intruder dimensions (convert/intruders.hpp) of an adapter's layers against its base.
#pragma once
#include <vector>

#include <preheat/convert/intruders.hpp>
#include <preheat/peft/base_names.hpp>

#include "base_model.hpp"
#include "factors.hpp"

namespace apps::adapter {

// The triplets of one layer's W + ΔW that are intruders.
struct layer_intruders {
  std::vector<double> similarity;  // of all that were looked at
  std::vector<index_t> intruders;
  singular_triplets<float> d;  // of the intruders alone
};

class intruder_finder {
 public:
  // Errors: as the options' check, naming --top-k or --threshold.
  intruder_finder(const base_model& base, const preheat::intruder_options& options,
                  std::uint64_t seed);

  // Errors: invalid_argument, naming the module: the base lacks it, has it quantized, or of another shape; DoRA.
  layer_intruders of(const peft::reader& adapter, const peft::adapter_layer& layer) const;

 private:
  const base_model& base_;
  peft::base_names names_;
  preheat::intruder_options options_;
  preheat::generator gen_;
};

// The factors of f + (scale − 1)·Σ σ·u·vᵀ.
template <class T>
stored_factors<T> with_scaled(const stored_factors<T>& f, const layer_intruders& found,
                              double scale) {
  const index_t more = found.d.S.rows();
  const index_t r = f.At.cols();
  stored_factors<T> g{matrix<T>(f.At.rows(), r + more), matrix<T>(r + more, f.Bt.cols())};
  for (index_t k = 0; k < r + more; ++k) {
    for (index_t i = 0; i < f.At.rows(); ++i) {
      g.At.data()[i + k * g.At.ld()] = k < r ? f.At.data()[i + k * f.At.ld()]
                                             : T(found.d.V.data()[i + (k - r) * found.d.V.ld()]);
    }
    for (index_t j = 0; j < f.Bt.cols(); ++j) {
      g.Bt.data()[k + j * g.Bt.ld()] =
          k < r ? f.Bt.data()[k + j * f.Bt.ld()]
                : T((scale - 1) * double(found.d.S.data()[k - r]) *
                    double(found.d.U.data()[j + (k - r) * found.d.U.ld()]));
    }
  }
  return g;
}

}  // namespace apps::adapter
