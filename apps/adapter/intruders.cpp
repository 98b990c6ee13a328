#include "intruders.hpp"

#include <cmath>
#include <utility>

#include <fmt/format.h>
#include <preheat/cpu/backend.hpp>

#include "base.hpp"
#include "orientation.hpp"
#include "outputs.hpp"

namespace apps::adapter {

using preheat::transpose;

intruder_finder::intruder_finder(const base_model& base, const preheat::intruder_options& options,
                                 std::uint64_t seed)
    : base_(base), names_(base.tensors(), peft::name_map()), options_(options), gen_(seed) {
  refuse_if(options.first < 1,
            fmt::format("--top-k is {}; at least one direction is looked at", options.first));
  refuse_if(
      !(options.threshold > 0 && options.threshold <= 1),
      fmt::format("--threshold is {:g}; a cosine is above 0 and at most 1", options.threshold));
}

layer_intruders intruder_finder::of(const peft::reader& adapter,
                                    const peft::adapter_layer& l) const {
  refuse_if(!l.magnitude.empty(),
            "module " + l.module + " is DoRA; `convert --base` makes plain LoRA of it first");
  refuse_quantized(base_.tensors(), l.module);
  const auto name = names_.find(l.module, ".weight");
  if (!name) {
    names_.fail(l.module, ".weight");
  }
  require_weight(base_.tensors(), *name);
  const bool turned = is_transposed(adapter, l, base_, names_, *name);
  matrix<float> W =
      turned ? read_finite<float>(base_.tensors(), *name, l.in, l.out)  // out×in
             : transposed<float>(read_finite<float>(base_.tensors(), *name, l.out, l.in));
  matrix<float> tuned = zeros<float>(l.out, l.in);
  add<float>(1, W, tuned);
  const stored_factors<float> f = read_term<float>({&adapter, &l});
  add_product<float>(l.scaling, transpose::yes, f.Bt, transpose::yes, f.At, tuned);
  preheat::cpu<float> be;
  auto found = preheat::find_intruders(be, W, tuned, options_, gen_);
  const index_t count = index_t(found.intruders.size());
  layer_intruders result{
      std::move(found.similarity),
      std::move(found.intruders),
      {matrix<float>(l.out, count), matrix<float>(count, 1), matrix<float>(l.in, count)}};
  for (index_t k = 0; k < count; ++k) {
    const index_t j = result.intruders[std::size_t(k)];
    std::copy_n(found.d.U.data() + j * found.d.U.ld(), l.out,
                result.d.U.data() + k * result.d.U.ld());
    std::copy_n(found.d.V.data() + j * found.d.V.ld(), l.in,
                result.d.V.data() + k * result.d.V.ld());
    result.d.S.data()[k] = found.d.S.data()[j];
  }
  return result;
}

}  // namespace apps::adapter
